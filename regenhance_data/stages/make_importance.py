"""LR and HR frames → the importance of every frame of a dataset, in importance/<clip>.npz."""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from regenhance_data.console import progress, tell
from regenhance_data.dataset.folder import LR_FRAMES, Dataset, Frame, evenly_spread
from regenhance_data.dataset.importance_file import write_importance
from regenhance_data.dataset.next_steps import refuse_missing_hr_frames
from regenhance_data.dataset.records import ImportanceRecord
from regenhance_data.dataset.staleness import (
    Renewal,
    importance_is_complete,
    refuse_unknown_importance,
    start_importance,
)
from regenhance_data.detectors.loading import detector_record, load_detector
from regenhance_data.detectors.settings import DetectorSettings
from regenhance_data.errors import InputError, resumable
from regenhance_data.importance.formulas import importance_map
from regenhance_data.importance.frame_pairs import read_pair
from regenhance_data.io.files import atomic_write
from regenhance_data.parallel.executors import Executor, chunks_of
from regenhance_data.parallel.threads import bounded_map

SAMPLED_FRAMES = 8  # to find out why nothing is detected


def make_importance(
    dataset: Dataset,
    settings: DetectorSettings,
    formula: str,
    hr_folder: str,
    executor: Executor | None = None,
    overwrite: bool = False,
    mb_size: int | None = None,
) -> tuple[int, int, int]:
    """Write importance/<clip>.npz of every clip; return (frames, frames made now, frames without any detection).

    Importance made from the same frames with the same settings is kept, down to the finished chunks of a killed run;
    other importance stays until all is made. The number of detections that are too large to count is printed. mb_size:
    of the macroblocks, by default the dataset's. A scale that is not recorded is that of the first HR frame.

    Files that are not recorded in dataset.yaml are refused unless `overwrite`. Memory does not grow with the clips'
    length, but for the importance of one clip.
    """
    if not overwrite:
        refuse_unknown_importance(dataset)
    size = dataset.mb_size if mb_size is None else mb_size
    refuse_missing_hr_frames(dataset, dataset.all_frames(), hr_folder)
    dataset.record_scale(hr_folder)
    record = ImportanceRecord(formula, hr_folder, dataset.scale, size)
    changes = {} if mb_size is None else {"mb_size": mb_size}
    renewal = start_importance(dataset, detector_record(settings), record, **changes)
    clips = {clip: dataset.frames(clip) for clip in dataset.clips()}
    todo = {clip: chunks_of(frames) for clip, frames in clips.items() if not _is_complete(renewal, clip)}
    for clip in clips.keys() - todo.keys():  # left by a run that was killed between the last two lines of _join
        shutil.rmtree(dataset.importance_parts(clip, renewal.folder(clip)), ignore_errors=True)
    missing = [chunk for chunks in todo.values() for chunk in chunks if not _part(renewal, chunk).exists()]
    make_worker = partial(_Worker, dataset.root, settings, formula, hr_folder, size)
    results = (executor or Executor(workers=1)).map(make_worker, missing)
    too_large: list[int] = []
    count, done, total = sum(map(len, missing)), 0, sum(map(len, clips.values()))
    try:
        for _ in progress(_write_parts(renewal, results, too_large), "importance", count):
            done += 1
        for clip, chunks in todo.items():
            _join(renewal, clip, chunks)
        renewal.finish()
    except KeyboardInterrupt:
        raise resumable(f"kept {total - count + done} of {total} frames") from None
    if any(too_large):
        tell(
            f"{sum(too_large)} detections are larger than --max_box_area {settings.max_box_area:g} of the frame and do "
            "not count; --max_box_area 1 keeps them"
        )
    empty = sum(int((maps.max((1, 2)) == 0).sum()) for c in clips for _, maps in dataset.importance_file(c).blocks())
    return total, count, empty


def _is_complete(renewal: Renewal, clip: str) -> bool:
    return importance_is_complete(renewal.dataset, clip, renewal.folder(clip))


def sampled_hr_frames(dataset: Dataset, hr_folder: str, frames: Sequence[Frame] = ()) -> np.ndarray:
    """Some HR frames of the size of the first, spread over `frames` (all of the dataset): uint8 [n, H, W, 3] RGB."""
    frames = frames or dataset.all_frames()
    images = [dataset.read(hr_folder, frame) for frame in evenly_spread(frames, SAMPLED_FRAMES)]
    return np.stack([image for image in images if image.shape == images[0].shape])


class _Worker:
    """Computes the importance of a chunk of frames, float32 [n, rows, cols], and counts what is too large to count."""

    def __init__(self, root: Path, settings: DetectorSettings, formula: str, hr_folder: str, mb_size: int) -> None:
        self._dataset, self._detector = Dataset(root), load_detector(settings)
        self._dataset.record = self._dataset.record.changed(mb_size=mb_size)
        self._formula, self._hr_folder = formula, hr_folder

    def __call__(self, chunk: Sequence[Frame]) -> tuple[np.ndarray, int]:
        too_large = self._detector.too_large
        pairs = bounded_map(lambda frame: read_pair(self._dataset, frame, self._hr_folder), chunk, workers=2)
        maps = []
        for frame, pair in zip(chunk, pairs, strict=True):
            maps.append(importance_map(self._detector, pair, self._formula)[0])
            if not np.isfinite(maps[-1]).all():
                raise InputError(
                    f"{self._dataset.path(LR_FRAMES, frame)}: its importance is NaN or infinite; the weights of "
                    f"--detector {self._detector.settings.spec} are damaged"
                )
            _refuse_other_size(self._dataset, frame, maps[-1], maps[0])
        return np.stack(maps), self._detector.too_large - too_large


def _write_parts(
    renewal: Renewal, results: Iterable[tuple[Sequence[Frame], tuple[np.ndarray, int]]], too_large: list[int]
) -> Iterator[Frame]:
    """Write the importance of each finished chunk; yield the frames of it, and add to `too_large` its number of
    detections that are too large to count.
    """
    for chunk, (maps, dropped) in results:
        with atomic_write(_part(renewal, chunk)) as temporary:
            np.save(temporary, maps)
        too_large.append(dropped)
        yield from chunk


def _join(renewal: Renewal, clip: str, chunks: Sequence[Sequence[Frame]]) -> None:
    dataset, folder = renewal.dataset, renewal.folder(clip)
    parts = [np.load(_part(renewal, chunk), allow_pickle=False) for chunk in chunks]
    for chunk, part in zip(chunks, parts, strict=True):
        _refuse_other_size(dataset, chunk[0], part[0], parts[0][0])
    numbers = np.array([frame.number for chunk in chunks for frame in chunk])
    write_importance(dataset.importance_path(clip, folder), np.concatenate(parts), numbers)
    shutil.rmtree(dataset.importance_parts(clip, folder))


def _refuse_other_size(dataset: Dataset, frame: Frame, importance: np.ndarray, first: np.ndarray) -> None:
    if importance.shape != first.shape:
        raise InputError(
            f"{dataset.path(LR_FRAMES, frame)}: differs in size from the clip's first frame; extract again"
        )


def _part(renewal: Renewal, chunk: Sequence[Frame]) -> Path:
    folder = renewal.dataset.importance_parts(chunk[0].clip, renewal.folder(chunk[0].clip))
    return folder / f"{chunk[0].number}-{chunk[-1].number}.npy"
