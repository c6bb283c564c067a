"""A frame in its three forms: LR, upsampled and HR."""

from dataclasses import dataclass

import numpy as np

from regenhance_data.dataset.folder import LR_FRAMES, Dataset, Frame
from regenhance_data.errors import InputError
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
    lr, hr = dataset.read(LR_FRAMES, frame), dataset.read(hr_folder, frame)
    height, width = lr.shape[:2]
    scale = dataset.scale
    if hr.shape[:2] != (height * scale, width * scale):
        raise InputError(
            f"{dataset.path(hr_folder, frame)}: is {hr.shape[1]}x{hr.shape[0]}, expected "
            f"{width * scale}x{height * scale} ({scale} times the LR frame's {width}x{height}); make it again"
        )
    return FramePair(lr, hr, upsample_frame(lr, scale), MacroblockGrid(height, width, dataset.mb_size).scaled(scale))
