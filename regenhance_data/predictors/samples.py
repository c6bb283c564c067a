"""The frames and labels of a split list, for training and validation."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from regenhance_data.console import progress, warn
from regenhance_data.dataset.folder import Dataset
from regenhance_data.dataset.importance_source import refuse_labels_of_other_importance
from regenhance_data.dataset.label_png import read_label
from regenhance_data.dataset.levels import IGNORED_LEVEL
from regenhance_data.errors import InputError
from regenhance_data.grid import MacroblockGrid
from regenhance_data.io.files import digest, sha256
from regenhance_data.io.images import read_image
from regenhance_data.parallel.threads import bounded_map


class Samples:
    """The (LR frame, label) pairs of one split list, checked: every file, its size and its levels.

    `sizes_hw` is the (height, width) of each frame. separator: between the names of a line, None: any. InputError names
    the first file that is wrong, or that the labels were not made from.
    """

    def __init__(self, dataset: Dataset, list_name: str, num_classes: int, separator: str | None = None) -> None:
        self.dataset, self.num_classes = dataset, num_classes
        pairs = dataset.read_split(list_name, separator)
        if not pairs:
            raise InputError(f"{dataset.root / list_name}.txt: lists no frames; make it with tools/make_seg_dataset.py")
        self.frames = dataset.split_frames(list_name, separator)
        for clip in {frame.clip for frame in self.frames}:
            refuse_labels_of_other_importance(dataset, clip)
        self.paths = [(dataset.root / image, dataset.root / label) for image, label in pairs]
        if dataset.record.is_empty:
            warn(f"{dataset.root}: has no dataset.yaml; assuming {num_classes} levels, macroblocks of {self.mb_size}")
        elif dataset.levels != num_classes:
            new = " ".join(f"{part}.num_classes={dataset.levels}" for part in ("model", "train_dataset", "val_dataset"))
            raise InputError(
                f"{dataset.root}/dataset.yaml: has {dataset.levels} levels, the config num_classes {num_classes}; "
                f"make the labels again with --levels {num_classes} or add --opts {new}"
            )
        checks = bounded_map(self._checked_size_hw, self.paths)
        self.sizes_hw = list(progress(checks, f"check {list_name}", len(pairs)))

    @property
    def mb_size(self) -> int:
        return self.dataset.mb_size

    def _checked_size_hw(self, paths: tuple[Path, Path]) -> tuple[int, int]:
        image, levels = (read_image(paths[0]), read_label(paths[1]))
        height, width = image.shape[:2]
        if levels.shape != (height, width):
            raise InputError(f"{paths[1]}: is {levels.shape[1]}x{levels.shape[0]}, its image {width}x{height}")
        wrong = levels[(levels >= self.num_classes) & (levels != IGNORED_LEVEL)]
        if wrong.size:
            raise InputError(
                f"{paths[1]}: has value {wrong.max()}, with num_classes {self.num_classes} levels go to "
                f"{self.num_classes - 1}; make the labels again with tools/make_seg_dataset.py"
            )
        return height, width

    def __len__(self) -> int:
        return len(self.paths)

    def digest(self) -> str:
        """Identifies the frames by name, their labels, and the importance that ranks them, wherever the dataset is."""
        of_clips = map(self.dataset.importance_path, sorted({frame.clip for frame in self.frames}))
        files = [*(label for _, label in self.paths), *(path for path in of_clips if path.is_file())]
        return digest([[(frame.clip, frame.name) for frame in self.frames], *map(sha256, files)])

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """(LR frame RGB uint8 [H, W, 3], label uint8 [H, W])."""
        image, label = self.paths[index]
        return read_image(image), read_label(label)

    def importance(self) -> Iterator[np.ndarray]:
        """The true importance of each frame, [rows, cols].

        From importance/<clip>.npz, which also ranks within a level; frames that it lacks have the level of their
        label, NaN where that is ignored.
        """
        known: dict[tuple[str, int], np.ndarray] = {}
        for clip in {frame.clip for frame in self.frames}:
            if self.dataset.importance_path(clip).is_file():
                known |= {(clip, number): cells for number, cells in self.dataset.importance(clip).items()}
        for frame, (_, label_path), (height, width) in zip(self.frames, self.paths, self.sizes_hw, strict=True):
            grid = MacroblockGrid(height, width, self.mb_size)
            cells = known.get((frame.clip, frame.number))
            if cells is not None and cells.shape != grid.shape:
                path = self.dataset.importance_path(frame.clip)
                raise InputError(f"{path}: has a grid of {cells.shape}, frames of this clip have {grid.shape}")
            if cells is None:
                label = read_label(label_path)
                counted = grid.mean(label != IGNORED_LEVEL)
                levels = grid.mean(np.where(label == IGNORED_LEVEL, 0, label))
                cells = np.divide(levels, counted, out=np.full(grid.shape, np.nan), where=counted > 0)
            yield cells


def shrunk_frame(image: np.ndarray, factor: int) -> np.ndarray:
    """A frame at 1/factor of its size, the mean of each `factor`×`factor` pixels: [H, W, 3] → float32 [h, w, 3].

    h = ceil(H / factor): the grid stays that of the frame; the last row and column are repeated to fill it.
    """
    if factor == 1:
        return image.astype(np.float32)
    down, right = (-size % factor for size in image.shape[:2])
    image = np.pad(image, ((0, down), (0, right), (0, 0)), mode="edge")
    height, width = (size // factor for size in image.shape[:2])
    return image.reshape(height, factor, width, factor, 3).mean((1, 3), dtype=np.float32)


def shrunk_label(label: np.ndarray, factor: int) -> np.ndarray:
    """The label of a shrunk frame: uint8 [H, W] → [h, w], where mb_size is a multiple of `factor`."""
    return label[::factor, ::factor]


def one_size_batches(sizes_hw: Sequence[tuple[int, int]], batch_size: int, rng: np.random.Generator) -> list[list[int]]:
    """One epoch of frames in random order, in batches of frames of one size: lists of indices into `sizes_hw`."""
    of_size: dict[tuple[int, int], list[int]] = {}
    for index in rng.permutation(len(sizes_hw)).tolist():
        of_size.setdefault(sizes_hw[index], []).append(index)
    batches = []
    for group in of_size.values():
        # frames left over after the last full batch are not used in this epoch
        whole = max(len(group) - len(group) % batch_size, min(len(group), batch_size))
        batches += [group[at : at + batch_size] for at in range(0, whole, batch_size)]
    return [batches[at] for at in rng.permutation(len(batches))]
