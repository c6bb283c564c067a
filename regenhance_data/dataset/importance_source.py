"""The importance that labels are made from: a file in importance/, or one that another program wrote."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from regenhance_data.console import warn
from regenhance_data.dataset.folder import LR_FRAMES, Dataset, Frame
from regenhance_data.dataset.importance_import import read_importance_file
from regenhance_data.dataset.staleness import refuse_stale_importance, refuse_stale_labels
from regenhance_data.errors import InputError
from regenhance_data.grid import MacroblockGrid
from regenhance_data.io.files import digest, sha256


@dataclass(frozen=True)
class ImportanceSource:
    """The importance of one clip. frames: those with importance, by number. blocks: reads it from the start, in blocks
    of (numbers int64 [n], importance float32 [n, rows, cols]). file_digest: of the file it is read from.
    """

    frames: dict[int, Frame]
    grid: MacroblockGrid
    blocks: Callable[[], Iterator[tuple[np.ndarray, np.ndarray]]]
    file_digest: str

    def label_digest(self) -> str:
        """A digest of what the labels of the clip depend on besides their settings."""
        return _label_digest(self.file_digest, self.grid)


def _label_digest(file_digest: str, grid: MacroblockGrid) -> str:
    return digest([file_digest, grid.height, grid.width, grid.mb_size])


def refuse_labels_of_other_importance(dataset: Dataset, clip: str) -> None:
    """InputError where the labels of a clip were not made from the importance that lies there."""
    path = dataset.importance_path(clip)
    if path.is_file():
        refuse_stale_labels(dataset, clip, _label_digest(sha256(path), dataset.grid(clip)))


def importance_source(dataset: Dataset, clip: str, file: Path | None, mb_size: int) -> ImportanceSource:
    """The importance of a clip, from importance/ or, if given, from `file`. InputError where it does not fit."""
    frames = dataset.frames(clip)
    _refuse_unusable_names(dataset, clip, frames)
    if file is None:
        refuse_stale_importance(dataset, clip)
        path, stored = dataset.importance_path(clip), dataset.importance_file(clip)
        numbers, shape, blocks = stored.numbers, stored.shape, stored.blocks
    else:
        path = file
        numbers, importance = _imported(file, dataset, clip, frames)
        shape, blocks = importance.shape, lambda: iter([(numbers, importance)])
    height, width = dataset.read(LR_FRAMES, frames[0]).shape[:2]
    grid = MacroblockGrid(height, width, mb_size)
    if shape[1:] != grid.shape:
        raise InputError(
            f"{path}: importance on a grid of {shape[1]}x{shape[2]}, "
            f"{width}x{height} frames with --mb_size {mb_size} have {grid.rows}x{grid.cols}; "
            "make it again with tools/make_importance.py --mb_size"
        )
    by_number = {frame.number: frame for frame in frames}
    listed = numbers.tolist()
    unknown_frames = set(listed) - by_number.keys()
    if unknown_frames or len(set(listed)) != len(listed):
        what = f"of frame {min(unknown_frames)}, which is not in the clip" if unknown_frames else "of one frame twice"
        raise InputError(f"{path}: has importance {what}; make it again with tools/make_importance.py")
    if len(listed) < len(frames):
        taken = ""
        if file is not None and dataset.is_sampled(clip):  # numbers of the video, where all are in the clip, look alike
            taken = f"; numbers count as those of the files in {dataset.root / LR_FRAMES / clip}, not as in the video"
        warn(f"{path}: {len(frames) - len(listed)} of {len(frames)} frames have no importance and get no label{taken}")
    file_digest, names = sha256(path), [frame.name for frame in frames]
    if file is not None and names != sorted(names):  # earlier versions took them by letters: labels of then are stale
        file_digest = digest([file_digest, names])
    return ImportanceSource({number: by_number[number] for number in sorted(listed)}, grid, blocks, file_digest)


def _imported(file: Path, dataset: Dataset, clip: str, frames: list[Frame]) -> tuple[np.ndarray, np.ndarray]:
    """(frame numbers int64 [T], importance float32 [T, rows, cols]) of a clip in an imported file."""
    importance, numbers = read_importance_file(file, clip, dataset.clips())
    if numbers is None:
        if len(importance) != len(frames):
            raise InputError(f"{file}: has importance of {len(importance)} frames, the clip has {len(frames)}")
        numbers = np.array([frame.number for frame in frames])
    dataset.refuse_numbers_of_video(file, clip, numbers.tolist())
    return numbers, importance


def _refuse_unusable_names(dataset: Dataset, clip: str, frames: list[Frame]) -> None:
    stems = {frame.stem for frame in frames}
    if len(stems) < len(frames) or any(" " in stem for stem in stems):
        raise InputError(
            f"{dataset.root / LR_FRAMES / clip}: file names must have no spaces and must differ in more than the "
            "suffix, so that each frame has its own label and line in a list"
        )
