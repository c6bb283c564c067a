"""Predictor backends: the one table, and how a predictor is loaded."""

import importlib.util
from pathlib import Path

from deploy.artifacts.engine import SUFFIX
from deploy.artifacts.onnx import read_onnx
from deploy.backends import cuda
from deploy.backends.base import Predictor, chosen_batch
from deploy.backends.onnxruntime import OnnxRuntimePredictor
from deploy.backends.openvino import OpenVinoPredictor
from deploy.backends.paddle import PaddlePredictor
from deploy.backends.served import connect, is_url
from deploy.backends.tensorrt import TensorRtPredictor
from regenhance_data.errors import InputError, brief

CPU_BACKENDS = ("openvino", "onnxruntime")  # that run an ONNX file on any machine, the faster one first
ONNX_BACKENDS = (*CPU_BACKENDS, "onnxruntime_cuda", "onnxruntime_tensorrt")
BACKENDS = (*ONNX_BACKENDS, "paddle", "tensorrt")


def _package(backend: str) -> str:
    return backend.split("_")[0]  # ONNX Runtime's execution providers are in one package


def _is_installed(backend: str) -> bool:
    if backend == "tensorrt":
        return cuda.is_installed()
    return importlib.util.find_spec(_package(backend)) is not None


def installed_backends() -> list[str]:
    """Those of CPU_BACKENDS that can be imported here, the preferred one first."""
    return [name for name in CPU_BACKENDS if _is_installed(name)]


def backends_of(path: Path) -> tuple[str, ...]:
    """The backends that run such a file: an .onnx, an .engine, or a folder of Paddle Inference."""
    if path.suffix == SUFFIX:
        return ("tensorrt",)
    return ("paddle",) if path.is_dir() else ONNX_BACKENDS


def load_predictor(
    path: Path | str,
    backend: str = "auto",
    threads: int | None = None,
    batch_size: int | None = None,
    streams: int = 1,
) -> Predictor:
    """Load what deploy/export_onnx.py (.onnx), onnx2trt.py (.engine) or `paddleseg export` (a folder) wrote.

    backend: one of BACKENDS; 'auto' takes the first that runs such a file and is installed. threads: of the engine, by
    default its own choice. batch_size: frames at once, where the graph leaves that open (by default 1). streams: how
    many threads will call it at a time. InputError for what is no predictor of this kit, does not run, or takes
    another batch, and for a backend that is not there or does not run such a file.
    """
    if is_url(path):
        if backend != "auto" or threads or batch_size:
            raise InputError(f"{path}: the server has its own engine; leave out --backend, --threads and --batch_size")
        return connect(str(path))
    path = Path(path)
    if backend not in ("auto", *BACKENDS):
        raise InputError(f"--backend {backend}: expected auto, {', '.join(BACKENDS[:-1])} or {BACKENDS[-1]}")
    able = backends_of(path)
    if backend == "auto":
        backend = next((name for name in able if _is_installed(name)), able[0])
    if backend not in able:
        raise InputError(f"{path}: --backend {backend} does not run such a file; {' or '.join(able)} does")
    if not _is_installed(backend):
        package = _package(backend)
        raise InputError(f"{path}: --backend {backend} needs {package}, which is not installed; pip install {package}")
    predictor: Predictor
    if backend == "tensorrt":
        predictor = TensorRtPredictor(path, batch_size)
    elif backend == "paddle":
        predictor = PaddlePredictor(path, batch_size, threads)
    else:
        file = read_onnx(path)
        batch = chosen_batch(path, file.batch, batch_size)
        try:
            predictor = (
                OpenVinoPredictor(file, batch, threads, streams)
                if backend == "openvino"
                else OnnxRuntimePredictor(file, backend, batch, threads)
            )
        except InputError:
            raise
        except Exception as error:  # the engines' own errors have no base in common
            raise InputError(f"{path}: does not load ({brief(error)}); export it again") from None
    predictor.check()
    return predictor
