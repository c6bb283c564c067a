"""Upscalers at run time: an ONNX file in an engine without PyTorch, or any other kind as the dataset tools run it."""

import onnxruntime

from deploy.backends.registry import installed_backends
from deploy.backends.upscaling import ENGINES, load_onnx_upscaler
from regenhance_data.errors import InputError
from regenhance_data.upscalers.loading import load_upscaler
from regenhance_data.upscalers.settings import UpscalerSettings
from regenhance_data.upscalers.tiling import TiledUpscaler


def load_online_upscaler(
    upscaler: UpscalerSettings | str, engine: str = "auto", threads: int | None = None
) -> TiledUpscaler:
    """The upscaler of a spec (×3) or of settings, for a `RegionEnhancer`: uint8 [N, h, w, 3] RGB → uint8 HR frames.

    engine: 'openvino' or 'onnxruntime' for `onnx:`; 'torch' for what PyTorch runs; 'auto': ONNX Runtime where it has a
    GPU, else the first that is installed. threads: of OpenVINO and ONNX Runtime for each frame, None for all cores;
    PyTorch has its own setting. InputError as `load_upscaler`, and for an engine that does not run such an upscaler.
    """
    settings = UpscalerSettings(upscaler) if isinstance(upscaler, str) else upscaler
    if engine not in ("auto", "torch", *ENGINES):
        raise InputError(f"--engine {engine}: expected auto, torch, {' or '.join(ENGINES)}")
    if settings.kind.name != "onnx":
        if engine in ENGINES:
            raise InputError(
                f"{settings.spec}: --engine {engine} runs onnx:FILE alone; write one with deploy/export_upscaler.py"
            )
        return load_upscaler(settings)
    if engine == "torch":
        raise InputError(f"{settings.spec}: --engine torch runs no ONNX file; {' or '.join(ENGINES)} does")
    if engine == "auto":
        has_gpu = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
        engine = "onnxruntime" if has_gpu else installed_backends()[0]
    return load_onnx_upscaler(settings, engine, threads)
