"""A frame in its three forms: LR, upsampled and HR."""

from dataclasses import dataclass

import numpy as np

from regenhance_data.dataset.folder import LR_FRAMES, Dataset, Frame
from regenhance_data.grid import MacroblockGrid
from regenhance_data.regions.composite import upsample_frame


@dataclass(frozen=True)
class FramePair:
    """LR uint8 [H/scale, W/scale, 3], HR and upsampled uint8 [H, W, 3], all RGB; grid: on the HR frame."""

    lr: np.ndarray
    hr: np.ndarray
    upsampled: np.ndarray
    grid: MacroblockGrid


def read_pair(dataset: Dataset, frame: Frame, hr_folder: str) -> FramePair:
    """The three forms of a frame. InputError when the HR frame is not exactly `scale` times as large as the LR one."""
    lr, scale = dataset.read(LR_FRAMES, frame), dataset.scale
    hr = dataset.read_hr(hr_folder, frame, lr)
    grid = MacroblockGrid(lr.shape[0], lr.shape[1], dataset.mb_size)
    return FramePair(lr, hr, upsample_frame(lr, scale), grid.scaled(scale))
