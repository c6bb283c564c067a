"""Upscalers at run time: an ONNX file in an engine without PyTorch, or any other kind as the dataset tools run it."""

import onnxruntime

from deploy.backends.registry import installed_backends
from deploy.backends.upscaling import load_onnx_upscaler
from regenhance_data.upscalers.loading import load_upscaler
from regenhance_data.upscalers.settings import UpscalerSettings
from regenhance_data.upscalers.tiling import TiledUpscaler


def load_online_upscaler(upscaler: UpscalerSettings | str, threads: int | None = None) -> TiledUpscaler:
    """The upscaler of a spec (×3) or of settings, for a `RegionEnhancer`: uint8 [N, h, w, 3] RGB → uint8 HR frames.

    `onnx:` runs in ONNX Runtime where that has a GPU, else in the first backend that is installed. threads: of these
    for each frame, None for all cores; PyTorch has its own setting. InputError as `load_upscaler`.
    """
    settings = UpscalerSettings(upscaler) if isinstance(upscaler, str) else upscaler
    if settings.kind.name != "onnx":
        return load_upscaler(settings)
    has_gpu = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    return load_onnx_upscaler(settings, "onnxruntime" if has_gpu else installed_backends()[0], threads)
