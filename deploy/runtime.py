"""Run an exported predictor with OpenVINO or ONNX Runtime: BGR frames in, importance of the macroblocks out."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from regenhance_data.cli import InputError
from regenhance_data.grid import MacroblockGrid

KIT = "regenhance-kit"
HEADS = ("macroblock", "pixels")
BACKENDS = ("openvino", "onnxruntime")  # the faster one on CPUs first


class Predictor:
    """An exported predictor, ready to run. Made by `load_predictor`.

    `input_hw`: the (height, width) of its frames. `batch`: how many the graph takes at once; `predict` takes any
    number. `metadata`: what the export wrote (model, head, levels, mb_size, scale, kit_version …), all strings.
    """

    backend: str

    def __init__(self, path: Path, model: onnx.ModelProto, metadata: dict[str, str], threads: int | None) -> None:
        self.path, self.metadata, self.threads = path, metadata, threads
        self.batch, height, width, _ = _input_shape(model)
        self.input_hw = height, width
        self.grid = MacroblockGrid(height, width, int(metadata["mb_size"]))
        self._load(model.SerializeToString())

    def _load(self, model: bytes) -> None:
        raise NotImplementedError

    def _infer(self, frames: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def bound(self, frames: np.ndarray) -> Callable[[], Any]:
        """The bare engine call on one batch that is bound already, for measuring: uint8 [batch, H, W, 3]."""
        raise NotImplementedError

    def predict(self, frames_bgr: np.ndarray) -> np.ndarray:
        """uint8 [N, H, W, 3] BGR → importance float32 [N, rows, cols] in [0, 1]. InputError for another frame size."""
        if frames_bgr.dtype != np.uint8 or frames_bgr.ndim != 4 or frames_bgr.shape[1:] != (*self.input_hw, 3):
            height, width = self.input_hw
            raise InputError(
                f"{self.path}: takes uint8 frames of {width}x{height}, got {frames_bgr.dtype} "
                f"{list(frames_bgr.shape)}; resize them or export for their size"
            )
        done = []
        for start in range(0, len(frames_bgr), self.batch):
            part = frames_bgr[start : start + self.batch]
            missing = self.batch - len(part)
            full = np.concatenate([part, np.zeros((missing, *part.shape[1:]), np.uint8)]) if missing else part
            importance = self._infer(np.ascontiguousarray(full))[: len(part)]
            done.append(self.grid.mean(importance) if self.metadata["head"] == "pixels" else importance)
        return np.concatenate([np.zeros((0, *self.grid.shape)), *done]).astype(np.float32)

    def predict_one(self, origin: np.ndarray) -> np.ndarray:
        """One origin image as the library has them, uint8 [H, W, 3] RGB → float32 [rows, cols] in [0, 1]."""
        return self.predict(origin[None, ..., ::-1])[0]


class _OnnxRuntimePredictor(Predictor):
    backend = "onnxruntime"

    def _load(self, model: bytes) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # errors come as exceptions
        options.intra_op_num_threads = self.threads or 0
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def _infer(self, frames: np.ndarray) -> np.ndarray:
        return self._session.run(["importance"], {"frames": frames})[0]

    def bound(self, frames: np.ndarray) -> Callable[[], Any]:
        binding = self._session.io_binding()
        binding.bind_cpu_input("frames", frames)
        binding.bind_output("importance")
        return lambda: self._session.run_with_iobinding(binding)


class _OpenVinoPredictor(Predictor):
    backend = "openvino"

    def _load(self, model: bytes) -> None:
        import openvino

        # Left alone, OpenVINO rounds to bfloat16 on processors that have it. Precision belongs to the graph: what
        # was exported and compared as float32 runs as float32.
        settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        if self.threads:
            settings["INFERENCE_NUM_THREADS"] = self.threads
        core = openvino.Core()
        self._request = core.compile_model(core.read_model(model, b""), "CPU", settings).create_infer_request()

    def _infer(self, frames: np.ndarray) -> np.ndarray:
        return np.array(self._request.infer({"frames": frames}, share_inputs=True)["importance"])

    def bound(self, frames: np.ndarray) -> Callable[[], Any]:
        import openvino

        self._request.set_input_tensor(openvino.Tensor(frames, shared_memory=True))
        return self._request.infer


_PREDICTORS: dict[str, type[Predictor]] = {p.backend: p for p in (_OpenVinoPredictor, _OnnxRuntimePredictor)}


def installed_backends() -> list[str]:
    """The backends that can be imported here, the preferred one first."""
    return [name for name in BACKENDS if importlib.util.find_spec(name)]


def load_predictor(path: Path | str, backend: str = "auto", threads: int | None = None) -> Predictor:
    """Load a predictor that deploy/export_onnx.py wrote; 'auto' takes the first backend that is installed.

    `threads`: of the engine, by default its own choice. InputError for a file that is no predictor of this kit, and
    for a backend that is not there.
    """
    path = Path(path)
    if path.suffix == ".engine":
        raise InputError(f"{path}: this version runs .onnx predictors; give the one the engine was built from")
    installed = installed_backends()
    if backend not in ("auto", *BACKENDS):
        raise InputError(f"--backend {backend}: expected auto, {' or '.join(BACKENDS)}")
    if not installed or (backend != "auto" and backend not in installed):
        wanted = "openvino" if backend == "auto" else backend
        raise InputError(f"--backend {backend}: {wanted} is not installed; pip install {wanted}")
    model, metadata = _read(path)
    try:
        predictor = _PREDICTORS[installed[0] if backend == "auto" else backend](path, model, metadata, threads)
        found = predictor._infer(np.zeros((predictor.batch, *predictor.input_hw, 3), np.uint8))
    except Exception as error:  # the engines' own errors have no base in common
        raise InputError(f"{path}: does not run ({' '.join(str(error).split())[:120]}); export it again") from None
    expected = predictor.batch, *(predictor.input_hw if metadata["head"] == "pixels" else predictor.grid.shape)
    if found.shape != expected or not np.isfinite(found).all():
        raise InputError(f"{path}: puts out {list(found.shape)}, not finite {list(expected)}; export it again")
    return predictor


def _read(path: Path) -> tuple[onnx.ModelProto, dict[str, str]]:
    if not path.is_file():
        raise InputError(f"{path}: no such predictor; make one with deploy/export_onnx.py")
    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except DecodeError:
        raise InputError(f"{path}: is no ONNX file; export it again with deploy/export_onnx.py") from None
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    ports = [(value.name, value.type.tensor_type.elem_type) for value in (*model.graph.input, *model.graph.output)]
    numbers = [metadata.get(key, "") for key in ("mb_size", "scale", "levels")]
    if (
        metadata.get("kit") != KIT
        or metadata.get("head") not in HEADS
        or ports != [("frames", onnx.TensorProto.UINT8), ("importance", onnx.TensorProto.FLOAT)]
        or min(_input_shape(model), default=0) < 1
        or _input_shape(model)[3:] != [3]
        or not all(number.isdecimal() and int(number) > 0 for number in numbers)
    ):
        raise InputError(f"{path}: is no predictor of this kit; make one with deploy/export_onnx.py")
    return model, metadata


def _input_shape(model: onnx.ModelProto) -> list[int]:
    return [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
