"""Super-resolution of a dataset: LR frames → HR frames in sr_images/."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from regenhance_data.console import progress, tell
from regenhance_data.dataset.folder import HR_IMAGES, LR_FRAMES, SR_IMAGES, Dataset, Frame
from regenhance_data.dataset.staleness import Renewal, refuse_unknown_sr_images, start_sr_images, without_words
from regenhance_data.errors import InputError, refuse_below_one, resumable
from regenhance_data.io.images import write_image
from regenhance_data.parallel.executors import Executor, chunks_of
from regenhance_data.parallel.threads import bounded_map
from regenhance_data.upscalers.likeness import refuse_unlike_result
from regenhance_data.upscalers.loading import load_upscaler, upscaler_record
from regenhance_data.upscalers.settings import UpscalerSettings

_TRIED_FRAMES = 60  # over all clips, of which the first with enough contrast are tried


def super_resolve(
    dataset: Dataset,
    settings: UpscalerSettings,
    batch_size: int = 1,
    overwrite: bool = False,
    executor: Executor | None = None,
) -> tuple[int, int]:
    """Write sr_images/ for every clip; return (frames, frames made now). Memory does not grow with the clips' length.

    HR frames that the same upscaler made from the same LR frames are kept; others stay until all new ones are made. A
    folder that is not recorded in dataset.yaml is refused unless `overwrite`. InputError, before anything is written,
    for an upscaler that does not work, and for one whose results are unlike the LR frames.
    """
    refuse_below_one(batch_size=batch_size)
    if (dataset.root / HR_IMAGES).is_dir() and settings.scale != dataset.scale:
        raise InputError(f"--scale {settings.scale}: hr_images/ have {dataset.scale} times the size of the LR frames")
    if not overwrite:
        refuse_unknown_sr_images(dataset)
    upscaler = load_upscaler(settings)  # refuses here what a worker would refuse later
    tell(f"{settings.argument or settings.spec}: read as {upscaler.read_as}")
    frames = dataset.all_frames()
    record = upscaler_record(settings)
    if not _is_done(dataset, record, frames):
        every = max(len(frames) // _TRIED_FRAMES, 1)
        refuse_unlike_result(settings, upscaler, (dataset.read(LR_FRAMES, frame) for frame in frames[::every]))
    renewal = start_sr_images(dataset, record, settings.scale, upscaler.read_as)
    chunks = [chunk for clip in dataset.clips() for chunk in chunks_of(_missing(renewal, clip))]
    folders = {clip: renewal.folder(clip) for clip in dataset.clips()}
    make_worker = partial(_Worker, dataset.root, settings, batch_size, folders)
    results = (executor or Executor(workers=1)).map(make_worker, chunks)
    made = (frame for chunk, _ in results for frame in chunk)
    try:
        count = sum(1 for _ in progress(made, SR_IMAGES, sum(map(len, chunks))))
        renewal.finish()
    except KeyboardInterrupt:
        kept = len(frames) - sum(len(_missing(renewal, clip)) for clip in dataset.clips())
        raise resumable(f"kept {kept} of {len(frames)} frames") from None
    return len(frames), count


def _is_done(dataset: Dataset, record: Mapping[str, Any], frames: Sequence[Frame]) -> bool:
    """Whether all HR frames are there, by the upscaler of the record."""
    return without_words(dataset.record.upscaler or {}) == record and all(
        dataset.path(SR_IMAGES, frame).exists() for frame in frames
    )


def _missing(renewal: Renewal, clip: str) -> list[Frame]:
    folder = renewal.folder(clip)
    return [frame for frame in renewal.dataset.frames(clip) if not renewal.dataset.path(folder, frame).exists()]


class _Worker:
    """Writes the HR frames of a chunk."""

    def __init__(self, root: Path, settings: UpscalerSettings, batch_size: int, folders: Mapping[str, str]) -> None:
        self._dataset, self._upscale, self._batch_size = Dataset(root), load_upscaler(settings), batch_size
        self._folders = folders

    def __call__(self, chunk: Sequence[Frame]) -> None:
        lr_frames = bounded_map(lambda frame: self._dataset.read(LR_FRAMES, frame), chunk, workers=2)
        made = self._upscaled(chunk, lr_frames)
        for _ in bounded_map(lambda job: write_image(*job), made, workers=2):
            pass

    def _upscaled(self, chunk: Sequence[Frame], lr_frames: Iterator[np.ndarray]) -> Iterator[tuple[Path, np.ndarray]]:
        """The path of each HR frame, and the frame."""
        for start in range(0, len(chunk), self._batch_size):
            batch = chunk[start : start + self._batch_size]
            images = [next(lr_frames) for _ in batch]
            if len({image.shape for image in images}) > 1:
                raise InputError(
                    f"{self._dataset.path(LR_FRAMES, batch[0])}: the following frames differ in size; extract again"
                )
            for frame, hr in zip(batch, self._upscale(np.stack(images)), strict=True):
                yield self._dataset.path(self._folders[frame.clip], frame), hr
