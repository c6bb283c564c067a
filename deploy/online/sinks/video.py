"""CAMERA.mp4: the annotated video of a camera."""

from pathlib import Path

from deploy.online.sinks.frame import FrameResult
from regenhance_data.io.video import VideoWriter


class AnnotatedVideo:
    """The video at `path`, there after `finish`. fps: its frames a second."""

    def __init__(self, path: Path, fps: float) -> None:
        self._path = path
        self._video: VideoWriter | None = VideoWriter(path, fps)
        self._video.__enter__()

    def take(self, result: FrameResult) -> FrameResult:
        return result

    def write(self, result: FrameResult) -> None:
        assert self._video is not None
        self._video.write(result.picture())

    def finish(self) -> list[Path]:
        video, self._video = self._video, None
        assert video is not None
        video.__exit__(None, None, None)
        return [self._path]

    def close(self) -> None:
        if self._video is not None:  # unfinished: no file
            error = InterruptedError()
            self._video.__exit__(type(error), error, None)
            self._video = None
