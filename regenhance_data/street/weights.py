"""Where the weights of the built-in networks are; free of PyTorch."""

from pathlib import Path

_FOLDER = Path(__file__).parent / "weights"
DETECTOR_WEIGHTS = _FOLDER / "street_detector.pt"
UPSCALER_WEIGHTS = _FOLDER / "street_upscaler.pt"
