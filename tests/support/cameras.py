"""Cameras whose objects only the HR frames show: dim coloured 8×8 squares, which `write_detector` finds."""

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np

from regenhance_data.dataset.folder import Dataset
from regenhance_data.io.images import write_image
from tests.support.detectors import BLUE, RED, squares

SCALE = 2


def square_frames(count: int, height: int, width: int, empty: Collection[int] = (), seed: int = 0) -> list[np.ndarray]:
    """HR frames of two squares each, uint8 [height, width, 3]; those whose numbers are in `empty` have none."""
    rng = np.random.default_rng(seed)
    frames = []
    for number in range(count):
        columns, rows = rng.permutation(width // 8 - 1)[:2] * 8, rng.permutation(height // 8 - 2)[:2] * 8
        dim = [tuple(np.array(colour) * 5 // 8) for colour in (RED, BLUE)]
        frames.append(squares(height, width, *([] if number in empty else zip(columns, rows, dim, strict=True))))
    return frames


def fill_cameras(
    root: Path,
    clips: Mapping[str, int],
    sizes: Mapping[str, tuple[int, int]] | None = None,
    empty: Collection[int] = (),
) -> Dataset:
    """A dataset of clips {id: frames} at scale 2, every frame in the test split. sizes: (height, width) of the LR
    frames of a clip, else (48, 64), which are black. empty: the numbers of the frames without squares.
    """
    for seed, (clip, count) in enumerate(clips.items()):
        height, width = (sizes or {}).get(clip, (48, 64))
        for number, hr in enumerate(square_frames(count, SCALE * height, SCALE * width, empty, seed)):
            write_image(root / "hr_images" / clip / f"{number:06d}.png", hr)
            write_image(root / "origin_images" / clip / f"{number:06d}.png", np.zeros((height, width, 3), np.uint8))
    dataset = Dataset.open(root)
    dataset.save(scale=SCALE)
    dataset.write_split("test", dataset.all_frames())
    return dataset
