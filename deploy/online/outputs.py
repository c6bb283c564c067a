"""What a run of the loop writes and sends: detections, annotated videos, run.json."""

from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from deploy.online.loop import Round
from deploy.online.metrics import Metrics
from deploy.online.run_record import RunRecord
from deploy.online.sinks.json_lines import LINES
from deploy.online.sinks.registry import SINKS, Sinks, file_names, is_file_name
from deploy.online.sinks.settings import SinkSettings
from deploy.online.tracking import Tracks
from deploy.online.watch import Watch
from regenhance_data.console import tell
from regenhance_data.dataset.staging import remove_folder
from regenhance_data.errors import InputError
from regenhance_data.io.files import read_json, write_json

RUN = "run.json"
_MOST_TOLD = 8
_RUNNING = ".running.json"  # what a run writes, until run.json lists it: of one that was killed


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
            self._listed: list[str] = []
            self._growing = [kind for kind in self._settings.wanted.files if not SINKS[kind].is_complete]
            self._list(file_names(self._growing, ()))
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

    def _list(self, names: list[str]) -> None:
        """These files are the run's from now on, and removed by the next one if it is killed."""
        if new := [name for name in names if name not in self._listed]:
            self._listed += new
            write_json(self._settings.folder / _RUNNING, {"files": self._listed})

    @property
    def frames(self) -> int:
        """How many frames have a line."""
        return next((one.written for one in self.sinks.threads if one.kind == "jsonl"), self._record.frames)

    def add(self, one: Round) -> None:
        """Write and send one more round."""
        with one.timed("write"):
            for camera in one.removed:
                self._remove(camera)
            for item in one.done:
                self._list(file_names(self._growing, [item.frame.camera]))
                self.sinks.put(item, self._tracks.assign(item) if self._tracks else None)
        self._record.add(one)
        if self._metrics:
            self._metrics.add(one)
        if self._watch:
            self._watch.add(one)

    def _remove(self, camera: str) -> None:
        self._list(file_names(self.sinks.end(camera), [camera]))
        self._settings.rates.pop(camera, None)  # it may come back with another one
        if self._tracks:
            self._tracks.forget(camera)

    def finish(self, failed: Mapping[str, Exception], interrupted: bool = False) -> list[Path]:
        """Write what is still to be written; the files and folders of the run."""
        made = self.sinks.finish()
        self._record.end()
        if self._watch:
            self._watch.close(at_once=interrupted)
        folder = self._settings.folder
        about = self._record.summary(failed, interrupted, self.sinks.all_threads)
        names = file_names(self._settings.wanted.files, self._record.cameras)
        write_json(folder / RUN, about | {"files": [name for name in names if (folder / name).exists()]})
        (folder / _RUNNING).unlink(missing_ok=True)
        return [*made, folder / RUN]


def earlier_files(folder: Path) -> list[Path]:
    """What an earlier run wrote to a folder, as it lists it; other files of these names may be anybody's."""
    names: list[str] = []
    for record in (folder / RUN, folder / _RUNNING):
        with suppress(InputError):  # there is none
            ran = read_json(record)
            ran = ran if isinstance(ran, dict) else {}
            listed, cameras = ran.get("files"), ran.get("cameras")
            if listed is None and isinstance(cameras, dict):  # earlier versions list none
                listed = file_names(SINKS, cameras)
            names += filter(is_file_name, listed if isinstance(listed, list) else ())
    return [folder / name for name in dict.fromkeys(names)]


def _remove_earlier(folder: Path, lines_too: bool) -> None:
    earlier = [path for path in earlier_files(folder) if path.exists() and (path.name != LINES or lines_too)]
    if earlier:
        tell(f"{folder}: removed what an earlier run wrote: {', '.join(path.name for path in earlier[:_MOST_TOLD])}")
    for path in earlier:
        if path.is_dir():
            remove_folder(path)
        else:
            path.unlink()
        if path.parent != folder:
            with suppress(OSError):  # there are others in it
                path.parent.rmdir()
    for name in (RUN, _RUNNING):
        (folder / name).unlink(missing_ok=True)
