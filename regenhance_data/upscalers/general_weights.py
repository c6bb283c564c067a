"""Where the weights of the general upscalers are; free of PyTorch."""

from pathlib import Path

GENERAL_SCALES = (2, 3, 4)


def general_weights(scale: int) -> Path:
    """The file of a scale of GENERAL_SCALES."""
    return Path(__file__).parent / "weights" / f"general_x{scale}.pt"
