"""What all exported predictors have in common: names of ports, heads, precisions, metadata."""

import re

from regenhance_data import KIT
from regenhance_data.defaults import MOST_MB_SIZE
from regenhance_data.errors import InputError

INPUT, OUTPUT = "frames", "importance"
DYNAMIC = "N"  # name of a batch dimension that is not fixed
ONNX_SUFFIX, ENGINE_SUFFIX = ".onnx", ".engine"
HEADS = ("macroblock", "pixels")
PRECISIONS = ("fp32", "fp16", "int8")
MOST_SCALE = 16
FLAT = "none"  # as the weights in the metadata: a map to which all macroblocks are alike
_MOST = {"mb_size": MOST_MB_SIZE, "scale": MOST_SCALE, "levels": 2**16}  # numbers in the metadata


def refuse_scale(scale: int | None) -> None:
    """InputError for a --scale that no predictor has."""
    if scale is not None and not 1 <= scale <= MOST_SCALE:
        raise InputError(f"--scale {scale}: expected 1 to {MOST_SCALE}")


def is_described(metadata: dict[str, str]) -> bool:
    """Whether this is the metadata of a predictor of this kit."""
    return (
        all(isinstance(text, str) for pair in metadata.items() for text in pair)
        and metadata.get("kit") == KIT
        and metadata.get("head") in HEADS
        and metadata.get("precision") in PRECISIONS
        and all(re.fullmatch("[1-9][0-9]{0,9}", metadata.get(key, "")) for key in _MOST)
        and all(int(metadata[key]) <= most for key, most in _MOST.items())
        and re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,20})?", metadata.get("input_scale", "1")) is not None
    )
