"""OpenCV's bicubic interpolation, as an upscaler to compare networks with."""

import cv2
import numpy as np

from regenhance_data.upscalers.base import UpscalingNetwork
from regenhance_data.upscalers.settings import UpscalerSettings

_RADIUS = 3  # LR pixels that an HR pixel depends on: two, and one for rounding


def load(_: str, settings: UpscalerSettings) -> UpscalingNetwork:
    """Bicubic interpolation at the scale of the settings."""
    return BicubicNetwork("bicubic", settings.scale, overlap=_RADIUS, name="bicubic interpolation")


def identity(_: str) -> None:
    """There are no weights."""
    return None


class BicubicNetwork(UpscalingNetwork):
    """cv2.INTER_CUBIC at any scale."""

    def run(self, frames: np.ndarray) -> np.ndarray:
        height, width = frames.shape[1:3]
        size_wh = width * self.scale, height * self.scale
        return np.stack([cv2.resize(frame, size_wh, interpolation=cv2.INTER_CUBIC) for frame in frames])
