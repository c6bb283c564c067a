"""Frames on which an export is compared and calibrated, and the frame size that it takes."""

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from regenhance_data import console
from regenhance_data.dataset.folder import LR_FRAMES, Dataset, Frame, evenly_spread
from regenhance_data.errors import InputError

COMPARED_FRAMES = 4
_EXAMINED = 200  # frames of a clip whose size is looked at


def asked_sizes(
    dataset: Dataset | None, input_size_hw: tuple[int, int] | None, all_sizes: bool
) -> list[tuple[tuple[int, int], tuple[int, int] | None]]:
    """The frame sizes to export for, (height, width), each with itself where file names must tell it from others.

    InputError where the dataset has several and none is asked for, and for a size that is one of the dataset's with
    height and width swapped. Another shape than the dataset's is told.
    """
    found = frame_sizes(dataset) if dataset else {}
    if input_size_hw is None and len(found) > 1 and not all_sizes:
        listed = " and ".join(f"{w}x{h} ({', '.join(clips[:3]) or 'flat'})" for (h, w), clips in found.items())
        height, width = next(iter(found))
        raise InputError(
            f"--dataset_root {dataset.root if dataset else ''}: its frames are {listed}, and a file takes one size; "
            f"give one, as --input_size {height} {width}, or --all_sizes for a file of each"
        )
    if input_size_hw is None:
        return [(size, size if len(found) > 1 else None) for size in found]
    _refuse_swapped(input_size_hw, [*found])
    return [(input_size_hw, None if [input_size_hw] == [*found] else input_size_hw)]


def warn_if_high(size_hw: tuple[int, int], flag: str) -> None:
    """Say where frames of a size (height, width) that a flag gives are higher than wide, which few cameras deliver."""
    height, width = size_hw
    if height > width:
        console.warn(f"{flag} {height} {width}: frames of {width}x{height}, higher than wide; height comes first")


def _refuse_swapped(size_hw: tuple[int, int], found: Sequence[tuple[int, int]]) -> None:
    height, width = size_hw
    if not found:
        warn_if_high(size_hw, "--input_size")
    if not found or any(abs(h * width / w - height) <= 1 for h, w in found):
        return
    seen = ", ".join(f"{w}x{h}" for h, w in found)
    if any(abs(h * height / w - width) <= 1 for h, w in found):
        raise InputError(
            f"--input_size {height} {width}: is {width}x{height}, the dataset's frames are {seen}; height comes first: "
            f"--input_size {width} {height}"
        )
    console.warn(f"--input_size {height} {width}: is {width}x{height}, another aspect ratio than the frames' ({seen})")


def frame_sizes(dataset: Dataset) -> dict[tuple[int, int], list[str]]:
    """The clips by the size of their LR frames, (height, width), from the headers of some frames of each clip."""
    found: dict[tuple[int, int], list[str]] = {}
    for clip in dataset.clips():
        for size in {_size_hw(dataset, frame): None for frame in evenly_spread(dataset.frames(clip), _EXAMINED)}:
            found.setdefault(size, []).append(clip)
    return found


def _size_hw(dataset: Dataset, frame: Frame) -> tuple[int, int]:
    path = dataset.path(LR_FRAMES, frame)
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError, Image.DecompressionBombError):
        raise InputError(f"{path}: does not decode as an image; extract it again") from None


def _pictures(dataset: Dataset, frames: Sequence[Frame], most: int, size_hw: tuple[int, int]) -> np.ndarray:
    """At most `most` of the frames, evenly, uint8 RGB [n, H, W, 3]: of that size where some are, else resized."""
    height, width = size_hw
    if len(frame_sizes(dataset)) > 1:
        frames = [frame for frame in frames if _size_hw(dataset, frame) == size_hw] or frames
    images = (dataset.read(LR_FRAMES, frame) for frame in evenly_spread(frames, most))
    return np.stack([cv2.resize(image, (width, height)) for image in images])


def compared_frames(dataset: Dataset | None, input_size_hw: tuple[int, int] | None) -> np.ndarray:
    """LR frames to compare on, uint8 RGB [n, H, W, 3]: evenly from the test list, else the training list, else a clip.

    They have the given size, else that of the first. Without a dataset: noise of the given size.
    """
    if dataset is None:
        assert input_size_hw is not None
        return np.random.default_rng(0).integers(256, size=(COMPARED_FRAMES, *input_size_hw, 3), dtype=np.uint8)
    lists = [dataset.split_frames(name) for name in ("test", "train") if (dataset.root / f"{name}.txt").is_file()]
    frames = next((listed for listed in lists if listed), None) or dataset.frames(dataset.clips()[0])
    return _pictures(dataset, frames, COMPARED_FRAMES, input_size_hw or _size_hw(dataset, frames[0]))


def training_frames(dataset: Dataset | None, input_size_hw: tuple[int, int], most: int) -> np.ndarray:
    """At most `most` LR frames to calibrate on, uint8 BGR [n, H, W, 3] of that size: evenly from the training list.

    From the first clip where the dataset is not split. Without a dataset: noise, for random weights.
    """
    if dataset is None:
        return np.random.default_rng(1).integers(256, size=(most, *input_size_hw, 3), dtype=np.uint8)
    is_split = (dataset.root / "train.txt").is_file()
    listed = dataset.split_frames("train") if is_split else dataset.frames(dataset.clips()[0])
    if not listed:
        raise InputError(f"{dataset.root}/train.txt: lists no frame to calibrate on; run tools/make_seg_dataset.py")
    return np.ascontiguousarray(_pictures(dataset, listed, most, input_size_hw)[..., ::-1])
