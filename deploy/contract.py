"""What every exported predictor keeps to: the names of its ports, its heads and precisions, its metadata."""

from regenhance_data import KIT

INPUT, OUTPUT = "frames", "importance"
DYNAMIC = "N"  # the name of a batch size that is left open
ONNX_SUFFIX, ENGINE_SUFFIX = ".onnx", ".engine"
HEADS = ("macroblock", "pixels")
PRECISIONS = ("fp32", "fp16", "int8")


def is_described(metadata: dict[str, str]) -> bool:
    """Whether a predictor of this kit says this of itself."""
    numbers = [metadata.get(key, "") for key in ("mb_size", "scale", "levels")]
    return (
        metadata.get("kit") == KIT
        and metadata.get("head") in HEADS
        and metadata.get("precision") in PRECISIONS
        and all(number.isascii() and number.isdecimal() and 0 < int(number) < 2**31 for number in numbers)
    )
