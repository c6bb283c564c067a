"""Load an exported predictor into the engine that runs it: OpenVINO, ONNX Runtime, Paddle Inference, TensorRT."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from deploy.artifacts.onnx import OnnxPredictor, read_onnx
from deploy.backends import tensorrt
from deploy.backends.base import Executor, Predictor, brief, chosen_batch
from deploy.backends.paddle import PaddlePredictor
from deploy.backends.served import connect, is_url
from deploy.backends.tensorrt import SUFFIX, TensorRtPredictor
from deploy.export.graph import INPUT, OUTPUT
from regenhance_data.cli import InputError

CPU_BACKENDS = ("openvino", "onnxruntime")  # that run an ONNX file on any machine, the faster one first
ONNX_BACKENDS = (*CPU_BACKENDS, "onnxruntime_cuda", "onnxruntime_tensorrt")
BACKENDS = (*ONNX_BACKENDS, "paddle", "tensorrt")


class _OnnxRuntimePredictor(Predictor):
    """ONNX Runtime with one of its execution providers; sessions serve any number of threads."""

    def __init__(self, file: OnnxPredictor, backend: str, batch: int, threads: int | None) -> None:
        super().__init__(file.path, file.input_hw, batch, file.batch == 0, file.metadata)
        import onnxruntime

        self.backend = backend
        # float32 is what was compared, not its rounding to TF32; where TensorRT stops, CUDA goes on
        cuda: tuple[str, dict[str, Any]] = ("CUDAExecutionProvider", {"use_tf32": 0})
        # pairs of QuantizeLinear and DequantizeLinear have to be allowed; half types are taken as they are
        eight_bits = {"trt_int8_enable": True} if file.metadata["precision"] == "int8" else {}
        choices: dict[str, list[tuple[str, dict[str, Any]]]] = {
            "onnxruntime": [("CPUExecutionProvider", {})],
            "onnxruntime_cuda": [cuda],
            "onnxruntime_tensorrt": [("TensorrtExecutionProvider", eight_bits), cuda],
        }
        providers = choices[backend]
        provider = providers[0][0]
        if provider not in onnxruntime.get_available_providers():
            raise InputError(f"--backend {backend}: this ONNX Runtime has no {provider}; pip install onnxruntime-gpu")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # errors come as exceptions
        options.intra_op_num_threads = threads or 0
        self._session = onnxruntime.InferenceSession(file.content, options, providers=providers)
        if self._session.get_providers()[0] != provider:  # it falls back in silence
            raise InputError(f"--backend {backend}: {provider} does not start; are a GPU and its libraries there?")

    def _executor(self) -> Executor:
        return lambda frames: self._session.run([OUTPUT], {INPUT: frames})[0]

    def bound(self, frames: np.ndarray) -> Callable[[], Any]:
        import onnxruntime

        binding = self._session.io_binding()
        if self.backend == "onnxruntime":
            binding.bind_cpu_input(INPUT, frames)
            binding.bind_output(OUTPUT)
        else:
            binding.bind_ortvalue_input(INPUT, onnxruntime.OrtValue.ortvalue_from_numpy(frames, "cuda", 0))
            binding.bind_output(OUTPUT, "cuda")
        return lambda: self._session.run_with_iobinding(binding)


class _OpenVinoPredictor(Predictor):
    backend = "openvino"

    def __init__(self, file: OnnxPredictor, batch: int, threads: int | None, streams: int) -> None:
        super().__init__(file.path, file.input_hw, batch, file.batch == 0, file.metadata)
        import openvino

        # Left alone, OpenVINO rounds to bfloat16 on processors that have it. Precision belongs to the graph: what
        # was exported and compared as float32 runs as float32.
        settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32"}
        # one stream answers soonest; several, each with its part of the cores, answer more frames a second
        settings |= {"NUM_STREAMS": streams} if streams > 1 else {"PERFORMANCE_HINT": "LATENCY"}
        if threads:
            settings["INFERENCE_NUM_THREADS"] = threads
        core = openvino.Core()
        self._compiled = core.compile_model(core.read_model(file.content, b""), "CPU", settings)

    def _executor(self) -> Executor:
        request = self._compiled.create_infer_request()
        return lambda frames: np.array(request.infer({INPUT: frames}, share_inputs=True)[OUTPUT])

    def bound(self, frames: np.ndarray) -> Callable[[], Any]:
        import openvino

        request = self._compiled.create_infer_request()
        request.set_input_tensor(openvino.Tensor(frames, shared_memory=True))
        return request.infer


def _package(backend: str) -> str:
    return backend.split("_")[0]  # ONNX Runtime's execution providers are in one package


def _is_installed(backend: str) -> bool:
    if backend == "tensorrt":
        return tensorrt.is_installed()
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
                _OpenVinoPredictor(file, batch, threads, streams)
                if backend == "openvino"
                else _OnnxRuntimePredictor(file, backend, batch, threads)
            )
        except InputError:
            raise
        except Exception as error:  # the engines' own errors have no base in common
            raise InputError(f"{path}: does not load ({brief(error)}); export it again") from None
    predictor.check()
    return predictor
