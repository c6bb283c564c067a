"""What all exported predictors have in common: names of ports, heads, precisions, metadata."""

import re

from regenhance_data import KIT
from regenhance_data.defaults import MOST_MB_SIZE, MOST_SCALE

INPUT, OUTPUT = "frames", "importance"
DYNAMIC = "N"  # name of a batch dimension that is not fixed
ONNX_SUFFIX, ENGINE_SUFFIX = ".onnx", ".engine"
HEADS = ("macroblock", "pixels")
PRECISIONS = ("fp32", "fp16", "int8")
FLAT = "none"  # as the weights in the metadata: a map to which all macroblocks are alike
_MOST = {"mb_size": MOST_MB_SIZE, "scale": MOST_SCALE, "levels": 2**16}  # numbers in the metadata


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
