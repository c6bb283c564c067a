"""What a run of the loop writes and sends: detections, annotated videos, run.json."""

import shutil
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from deploy.online.metrics import Metrics
from deploy.online.rounds import Round
from deploy.online.run_record import RunRecord
from deploy.online.sinks.class_maps import CLASS_MAPS
from deploy.online.sinks.coco import COCO
from deploy.online.sinks.json_lines import LINES
from deploy.online.sinks.mot import MOT
from deploy.online.sinks.registry import Sinks
from deploy.online.sinks.settings import SinkSettings
from deploy.online.tracking import Tracks
from deploy.online.watch import Watch
from regenhance_data.dataset.folder import clip_id
from regenhance_data.errors import InputError
from regenhance_data.io.files import read_json, write_json

RUN = "run.json"


class RunOutputs:
    """The results of a run, from its first round to `finish`.

    with RunOutputs(settings, record) as outputs:
        outputs.add(one)                    # every round
        outputs.finish(failed)

    The command holds the folder's lock. tracks: follows objects, where wanted. metrics: counts for Prometheus. watch:
    takes the predictor's recall. What an earlier run wrote to the folder is removed first, but for the lines where they
    go on. Without `finish`, as after an error, the lines that were written are left, and no run.json.
    """

    def __init__(
        self,
        settings: SinkSettings,
        record: RunRecord,
        tracks: Tracks | None = None,
        metrics: Metrics | None = None,
        watch: Watch | None = None,
    ) -> None:
        self._settings, self._record, self._tracks, self._metrics = settings, record, tracks, metrics
        self._watch = watch

    def __enter__(self) -> "RunOutputs":
        with ExitStack() as opened:
            _remove_earlier(self._settings.folder, not self._settings.wanted.append)
            self.sinks = Sinks(self._settings)
            opened.callback(self.sinks.close)
            if self._metrics:
                self._metrics.sinks = lambda: self.sinks.threads
            self._opened = opened.pop_all()
        if self._watch:
            self._watch.start()
        return self

    def __exit__(self, *error: Any) -> None:
        if self._watch:
            self._watch.close(at_once=True)
        self._opened.__exit__(*error)

    @property
    def frames(self) -> int:
        """How many frames have a line."""
        return next((one.written for one in self.sinks.threads if one.kind == "jsonl"), self._record.frames)

    def add(self, one: Round) -> None:
        """Write and send one more round."""
        with one.timed("write"):
            for item in one.done:
                self.sinks.put(item, self._tracks.assign(item) if self._tracks else None)
        self._record.add(one)
        if self._metrics:
            self._metrics.add(one)
        if self._watch:
            self._watch.add(one)

    def finish(self, failed: Mapping[str, Exception], interrupted: bool = False) -> list[Path]:
        """Write what is still to be written; the files and folders of the run."""
        made = self.sinks.finish()
        self._record.end()
        if self._watch:
            self._watch.close(at_once=interrupted)
        write_json(self._settings.folder / RUN, self._record.summary(failed, interrupted, self.sinks.threads))
        return [*made, self._settings.folder / RUN]


def _remove_earlier(folder: Path, lines_too: bool) -> None:
    """Remove what an earlier run wrote, which its run.json names."""
    with suppress(InputError):  # there is none
        ran = read_json(folder / RUN)
        for camera in ran["cameras"] if isinstance(ran, dict) and isinstance(ran.get("cameras"), dict) else ():
            if clip_id(camera) == camera:
                (folder / f"{camera}.mp4").unlink(missing_ok=True)
    for name in (RUN, COCO, *([LINES] if lines_too else [])):
        (folder / name).unlink(missing_ok=True)
    for name in (CLASS_MAPS, MOT):
        shutil.rmtree(folder / name, ignore_errors=True)
