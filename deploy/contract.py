"""What all exported predictors have in common: names of ports, heads, precisions, metadata."""

from regenhance_data import KIT

INPUT, OUTPUT = "frames", "importance"
DYNAMIC = "N"  # name of a batch dimension that is not fixed
ONNX_SUFFIX, ENGINE_SUFFIX = ".onnx", ".engine"
HEADS = ("macroblock", "pixels")
PRECISIONS = ("fp32", "fp16", "int8")


def is_described(metadata: dict[str, str]) -> bool:
    """Whether this is the metadata of a predictor of this kit."""
    numbers = [metadata.get(key, "") for key in ("mb_size", "scale", "levels")]
    return (
        metadata.get("kit") == KIT
        and metadata.get("head") in HEADS
        and metadata.get("precision") in PRECISIONS
        and all(number.isascii() and number.isdecimal() and 0 < int(number) < 2**31 for number in numbers)
    )
