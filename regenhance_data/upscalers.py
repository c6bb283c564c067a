"""Upscalers: what turns origin images into the clear frames of a dataset without high-resolution originals."""

from collections.abc import Callable
from functools import partial
from typing import Any

import cv2
import numpy as np

from regenhance_data.cli import InputError
from regenhance_data.files import sha256

EXISTING = "builtin, bicubic"
BUILTIN_SCALE = 3  # what the builtin network was made for

Upscaler = Callable[[np.ndarray], np.ndarray]  # uint8 [N, H, W, 3] RGB → uint8 [N, H·scale, W·scale, 3]


def load_upscaler(spec: str, scale: int) -> Upscaler:
    """The upscaler of a spec ('builtin' or 'bicubic'). InputError for others, or a scale that it cannot do."""
    if not 2 <= scale <= 8:
        raise InputError(f"--scale {scale}: expected a whole number from 2 to 8")
    if spec == "bicubic":
        return lambda frames: np.stack([_bicubic(frame, scale) for frame in frames])
    if spec != "builtin":
        raise InputError(f"--model {spec}: no such upscaler; there are: {EXISTING}")
    if scale != BUILTIN_SCALE:
        raise InputError(f"--scale {scale}: the builtin upscaler does x{BUILTIN_SCALE} only; use --model bicubic")
    return _builtin()


def _bicubic(frame: np.ndarray, scale: int) -> np.ndarray:
    height, width = frame.shape[:2]
    return cv2.resize(frame, (width * scale, height * scale), interpolation=cv2.INTER_CUBIC)


def _builtin() -> Upscaler:
    import torch

    from regenhance_data.builtin_upscaler import load_street_upscaler, upscale

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return partial(upscale, load_street_upscaler().to(device).to(memory_format=torch.channels_last))


def upscaler_record(spec: str) -> dict[str, Any]:
    """What dataset.yaml says about the upscaler: its spec and the sha256 of its weights, None where it has none."""
    if spec != "builtin":
        return {"spec": spec, "sha256": None}
    from regenhance_data.builtin_upscaler import WEIGHTS

    return {"spec": spec, "sha256": sha256(WEIGHTS)}
