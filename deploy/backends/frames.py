"""Frames of any size, made to fit a predictor."""

from pathlib import Path

import cv2
import numpy as np

from regenhance_data.errors import InputError


def fitted(frame: np.ndarray, size_hw: tuple[int, int], video: Path) -> np.ndarray:
    """The frame at the model's size. InputError when it has another shape, which resizing would distort."""
    height, width = size_hw
    # the height that goes with the model's width, to the pixel that rounding may cost
    if abs(frame.shape[0] * width / frame.shape[1] - height) > 1:
        raise InputError(
            f"{video}: has {frame.shape[1]}x{frame.shape[0]} frames, the model takes {width}x{height}, which is "
            "another aspect; export the model with --input_size for this video"
        )
    if frame.shape[:2] == size_hw:
        return frame
    return cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
