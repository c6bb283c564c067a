"""The table of sinks, and all sinks of a run."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.online.loop import EnhancedFrame
from deploy.online.sinks.annotation import Annotator
from deploy.online.sinks.class_maps import CLASS_MAPS, ClassMaps
from deploy.online.sinks.coco import COCO, Coco
from deploy.online.sinks.frame import FrameResult
from deploy.online.sinks.json_lines import LINES, JsonLines
from deploy.online.sinks.mot import MOT, Mot
from deploy.online.sinks.mqtt import Mqtt
from deploy.online.sinks.push import Push
from deploy.online.sinks.settings import SinkSettings
from deploy.online.sinks.threads import ConnectionThread, SinkThread
from deploy.online.sinks.video import AnnotatedVideo
from regenhance_data.dataset.folder import clip_id


@dataclass(frozen=True)
class SinkKind:
    """A row of the table.

    depth: how many frames may wait. make: a sink, from the settings and the id of a camera; of a kind that has one for
    each camera, else "". file: the file or folder that it writes, `{camera}` for each camera's; "" for a connection,
    which may lose frames and never blocks; files lose none. is_complete: whether the file is there only when the sink
    is finished.
    """

    depth: int
    make: Callable[[SinkSettings, str], Any]
    file: str = ""
    is_per_camera: bool = False
    is_complete: bool = False

    @property
    def is_connection(self) -> bool:
        return not self.file


def _mqtt(to: SinkSettings) -> Mqtt:
    assert to.wanted.broker is not None
    return Mqtt(to.wanted.broker)


_VIDEO = "{camera}.mp4"
# pictures wait in twos: each has several megabytes
SINKS = {
    "jsonl": SinkKind(64, lambda to, _: JsonLines(to.folder, to.wanted.append), LINES),
    "coco": SinkKind(64, lambda to, _: Coco(to.folder, to.names), COCO, is_complete=True),
    "mot": SinkKind(64, lambda to, _: Mot(to.folder), f"{MOT}/{{camera}}.txt"),
    "class_maps": SinkKind(2, lambda to, _: ClassMaps(to.folder), f"{CLASS_MAPS}/{{camera}}"),
    "video": SinkKind(
        2,
        lambda to, camera: AnnotatedVideo(to.folder / _VIDEO.format(camera=camera), to.rates[camera]),
        _VIDEO,
        is_per_camera=True,
        is_complete=True,
    ),
    "push": SinkKind(2, lambda to, camera: Push(str(to.wanted.push), camera), is_per_camera=True),
    "mqtt": SinkKind(1000, lambda to, _: _mqtt(to)),
}


def file_names(kinds: Iterable[str], cameras: Iterable[str]) -> list[str]:
    """The names of what sinks of these kinds write for these cameras, in the folder of a run."""
    files, cameras = [SINKS[kind].file for kind in kinds if SINKS[kind].file], list(cameras)
    return list(dict.fromkeys(file.format(camera=one) for file in files for one in (cameras if "{" in file else [""])))


def is_file_name(name: Any) -> bool:
    """Whether `file_names` may give this name."""
    if not isinstance(name, str):
        return False
    path = Path(name)
    ids = [one for one in (path.name, path.stem) if clip_id(one) == one]
    return name in file_names(SINKS, ids)


class Sinks:
    """All sinks of a run, each in a thread of its own.

    A sink for all cameras is opened at once, one of a camera with its first frame. An error of a file is raised by the
    next `put` or by `finish`; of one that ended, by `finish` or when it is opened again.
    """

    def __init__(self, settings: SinkSettings) -> None:
        self._settings = settings
        self._draw = Annotator(settings.names, settings.hr_grid).draw
        self._threads: dict[tuple[str, str], SinkThread] = {}
        self._ended: list[SinkThread] = []  # of cameras that are removed; they may still be writing
        try:
            for kind in settings.wanted.kinds:
                if not SINKS[kind].is_per_camera:
                    self._thread(kind, "")
        except BaseException:
            self.close()
            raise

    @property
    def threads(self) -> list[SinkThread]:
        """Those that are running, in the order of the table."""
        return _by_table(self._threads.copy().values())

    @property
    def all_threads(self) -> list[SinkThread]:
        """Those of cameras that are removed too."""
        return _by_table([*self._ended, *self._threads.values()])

    @property
    def connections(self) -> list[ConnectionThread]:
        """Those of `all_threads` that send."""
        return [one for one in self.all_threads if isinstance(one, ConnectionThread)]

    def _thread(self, kind: str, camera: str) -> SinkThread:
        if (kind, camera) not in self._threads:
            row = SINKS[kind]
            for former in self._ended:
                if (former.kind, former.camera) == (kind, camera) and not row.is_connection:
                    former.join()  # both write one file
            start = ConnectionThread if row.is_connection else SinkThread
            self._threads[kind, camera] = start((kind, camera), row.make(self._settings, camera), row.depth)
        return self._threads[kind, camera]

    def put(self, item: EnhancedFrame, tracks: Sequence[int | None] | None = None) -> None:
        """Give one more frame to all of them. tracks: of each detection."""
        result = FrameResult(item, self._settings.names, self._draw, tracks)
        for kind in self._settings.wanted.kinds:
            self._thread(kind, result.listing.camera if SINKS[kind].is_per_camera else "").put(result)

    def end(self, camera: str) -> list[str]:
        """Let those of a camera complete what they have, without waiting for them; its next frame opens new ones.
        Returns their kinds.
        """
        keys = [key for key in self._threads if key[1] == camera]
        for key in keys:
            thread = self._threads.pop(key)
            thread.end(finish=True)
            self._ended.append(thread)
        return [kind for kind, _ in keys]

    def finish(self) -> list[Path]:
        """Complete all of them; the files that were made."""
        for thread in self.threads:
            thread.end(finish=True)
        return list(dict.fromkeys(path for thread in self.all_threads for path in thread.join()))

    def close(self) -> None:
        """Let go of all of them, complete or not."""
        for thread in self.all_threads:
            thread.end(finish=False)
        for thread in self.all_threads:
            thread.join()


def _by_table(threads: Iterable[SinkThread]) -> list[SinkThread]:
    return sorted(threads, key=lambda one: list(SINKS).index(one.kind))
