"""Build TensorRT engines and run them: TensorRT 8.6, 10 and 11, with the parts of the API that all of them have.

Precision is in the ONNX graph, so the network is strongly typed wherever TensorRT knows that (from 10 on). GPU memory,
streams and CUDA graphs go through cuda-bindings, which NVIDIA keeps in step with CUDA and ships as wheels; pycuda is
compiled on the user's machine and takes a context when it is imported.
"""

import ctypes
import hashlib
import importlib.util
import weakref
from collections.abc import Callable
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deploy.artifacts.onnx import OnnxPredictor, is_described
from deploy.backends.base import Executor, Predictor, brief, chosen_batch
from deploy.export.graph import INPUT, OUTPUT
from regenhance_data.cli import InputError
from regenhance_data.io.files import read_json, sha256, write_bytes, write_json

if TYPE_CHECKING:
    import tensorrt as trt

SUFFIX = ".engine"


def is_installed() -> bool:
    """Whether TensorRT is here. Its type stubs alone make a folder of its name, without a module."""
    spec = importlib.util.find_spec("tensorrt")
    return spec is not None and spec.origin is not None


@dataclass(frozen=True)
class Sidecar:
    """What an engine was built from and for; lies beside it as JSON, since the engine itself says nothing readable.

    min_batch, opt_batch, max_batch: of its optimisation profile. metadata: of the predictor.
    """

    onnx_sha256: str
    engine_sha256: str
    tensorrt: str
    gpu: str
    precision: str
    min_batch: int
    opt_batch: int
    max_batch: int
    input_hw: list[int]
    metadata: dict[str, str]


def sidecar_path(engine: Path) -> Path:
    """Where what is known of an engine lies: M.engine.json beside M.engine."""
    return engine.with_name(f"{engine.name}.json")


def read_sidecar(engine: Path) -> Sidecar:
    """What is known of an engine, without TensorRT. InputError when it is missing, broken or of another engine."""
    path = sidecar_path(engine)
    if not engine.is_file():
        raise InputError(f"{engine}: no such engine; build one with deploy/onnx2trt.py")
    if not path.is_file():
        raise InputError(f"{path}: is missing, and {engine.name} does not say what it is; build it with onnx2trt.py")
    try:
        sidecar = Sidecar(**read_json(path))
        batches = [sidecar.min_batch, sidecar.opt_batch, sidecar.max_batch]
        is_right = (
            is_described(sidecar.metadata)
            and all(type(size) is int and size > 0 for size in (*batches, *sidecar.input_hw))
            and batches == sorted(batches)
            and len(sidecar.input_hw) == 2
        )
    except (TypeError, AttributeError):
        is_right = False
    if not is_right:
        raise InputError(f"{path}: describes no engine of this kit; build it again with deploy/onnx2trt.py")
    if sha256(engine) != sidecar.engine_sha256:
        raise InputError(f"{engine}: is not the engine that {path.name} describes; build it again with onnx2trt.py")
    source = engine.with_suffix(".onnx")
    if source.is_file() and sha256(source) != sidecar.onnx_sha256:
        raise InputError(f"{engine}: was built from another {source.name} than is beside it; build it again")
    return sidecar


def build(
    file: OnnxPredictor,
    engine: Path,
    batches: tuple[int, int, int],
    workspace_mib: int,
    timing_cache: Path | None,
    tf32: bool,
) -> Sidecar:
    """Build an engine for this machine's GPU and write it, its sidecar and the timing cache.

    batches: the (smallest, usual, largest) of the optimisation profile, all the graph's own where that is fixed. tf32:
    let float32 be rounded to TF32, which is not what was compared. InputError with what TensorRT says where it fails.
    """
    import tensorrt as trt

    gpu = gpu_name()
    log = _Log()
    builder = trt.Builder(log.logger)
    network = builder.create_network(_typing())
    parser = trt.OnnxParser(network, log.logger)
    if not parser.parse(file.content):
        reasons = "; ".join(parser.get_error(index).desc() for index in range(parser.num_errors))
        raise InputError(f"{file.path}: TensorRT {trt.__version__} does not parse it ({reasons[:200]})")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_mib << 20)
    if not tf32:
        config.clear_flag(trt.BuilderFlag.TF32)
    _obey_types(config, network, file.metadata["precision"])
    if file.batch == 0:
        profile = builder.create_optimization_profile()
        smallest, usual, largest = (trt.Dims4(size, *file.input_hw, 3) for size in batches)
        profile.set_shape(INPUT, smallest, usual, largest)
        config.add_optimization_profile(profile)
    cache = config.create_timing_cache(timing_cache.read_bytes() if timing_cache and timing_cache.is_file() else b"")
    if cache is None or not config.set_timing_cache(cache, ignore_mismatch=False):
        raise InputError(f"{timing_cache}: is no timing cache of this GPU and TensorRT; remove it or name another")
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise InputError(f"{file.path}: TensorRT {trt.__version__} builds no engine of it ({log.last()})")
    content = bytes(plan)
    sidecar = Sidecar(
        hashlib.sha256(file.content).hexdigest(),
        hashlib.sha256(content).hexdigest(),
        trt.__version__,
        gpu,
        file.metadata["precision"],
        *batches,
        list(file.input_hw),
        file.metadata,
    )
    write_bytes(engine, content)
    write_json(sidecar_path(engine), asdict(sidecar))
    if timing_cache:
        write_bytes(timing_cache, bytes(cache.serialize()))
    return sidecar


class _Log:
    """TensorRT's errors, kept for a message instead of printed."""

    def __init__(self) -> None:
        import tensorrt as trt

        said: list[str] = []

        class Logger(trt.ILogger):
            def __init__(self) -> None:
                trt.ILogger.__init__(self)

            def log(self, severity: trt.ILogger.Severity, message: str) -> None:
                if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR):
                    said.append(message)

        self.logger, self._said = Logger(), said

    def last(self) -> str:
        return " ".join(self._said[-1].split())[:200] if self._said else "it does not say why"


def _typing() -> int:
    """Flags of a network whose types are the graph's own. TensorRT 11 knows no others and ignores the flag."""
    import tensorrt as trt

    flags = trt.NetworkDefinitionCreationFlag
    return 1 << int(flags.STRONGLY_TYPED if hasattr(flags, "STRONGLY_TYPED") else flags.EXPLICIT_BATCH)


def _obey_types(config: "trt.IBuilderConfig", network: "trt.INetworkDefinition", precision: str) -> None:
    """Hold TensorRT 8.6, which has no strong typing, to the graph's types, and let contexts share a profile."""
    import tensorrt as trt

    if hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED"):
        return
    for name in {"fp16": ["FP16"], "int8": ["INT8"]}.get(precision, []):
        config.set_flag(getattr(trt.BuilderFlag, name))
        config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
    for layer in (network.get_layer(index) for index in range(network.num_layers)):
        kind = layer.get_output(0).dtype
        if precision == "fp16" and kind in (trt.float32, trt.float16):  # else a flag lets it choose half for all
            layer.precision = kind
            layer.set_output_type(0, kind)
    # several streams, each with an execution context of its own; from TensorRT 9 on they may
    config.set_preview_feature(trt.PreviewFeature.PROFILE_SHARING_0806, True)


class TensorRtPredictor(Predictor):
    """An engine that deploy/onnx2trt.py built. Made by deploy.runtime.load_predictor.

    Every thread that calls it has a CUDA stream, pinned buffers and an execution context of its own, and from the
    second batch of a size on it replays a CUDA graph.
    """

    backend = "tensorrt"

    def __init__(self, path: Path, batch_size: int | None) -> None:
        sidecar = read_sidecar(path)
        import tensorrt as trt

        here = gpu_name()
        for what, built, found in (("TensorRT", sidecar.tensorrt, trt.__version__), ("GPU", sidecar.gpu, here)):
            if built != found:
                raise InputError(f"{path}: was built for {what} {built}, here is {found}; build it again (onnx2trt.py)")
        is_dynamic = sidecar.min_batch < sidecar.max_batch
        asked = sidecar.opt_batch if batch_size is None else batch_size
        batch = chosen_batch(path, 0 if is_dynamic else sidecar.max_batch, asked)
        if not sidecar.min_batch <= batch <= sidecar.max_batch:
            raise InputError(
                f"{path}: takes {sidecar.min_batch} to {sidecar.max_batch} frames at once, not {batch}; "
                "build it again with --batch"
            )
        height, width = sidecar.input_hw
        # a batch that is less than the profile's smallest has to be filled up
        super().__init__(path, (height, width), batch, sidecar.min_batch == 1 and is_dynamic, sidecar.metadata)
        log = _Log()
        runtime = trt.Runtime(log.logger)
        engine = runtime.deserialize_cuda_engine(path.read_bytes())
        if engine is None:
            raise InputError(f"{path}: TensorRT does not load it ({log.last()}); build it again with onnx2trt.py")
        self._log, self._runtime, self._engine = log, runtime, engine  # the engine uses the other two while it lives
        # buffers are made by the sidecar, which anybody can edit
        first = -1 if is_dynamic else batch
        expected = {INPUT: (first, *self.input_hw, 3), OUTPUT: (first, *self.out_hw)}
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        shapes = {name: engine.get_tensor_shape(name) for name in names}
        ports = {name: tuple(shape[at] for at in range(len(shape))) for name, shape in shapes.items()}
        kinds = {name: engine.get_tensor_dtype(name) for name in names}
        if ports != expected or kinds != {INPUT: trt.uint8, OUTPUT: trt.float32}:
            raise InputError(f"{path}: has other ports than {sidecar_path(path).name} says ({ports}); build it again")

    def _executor(self) -> Executor:
        return self._stream()

    def bound(self, frames: np.ndarray) -> Callable[[], Any]:
        stream = self._stream()
        stream(frames)
        return stream.run_again

    def _stream(self) -> "_Stream":
        return _Stream(self._engine, (self.batch, *self.input_hw, 3), (self.batch, *self.out_hw))


class _Stream:
    """One execution context with its CUDA stream and its buffers, for batches up to a size.

    in_shape: of uint8 frames, out_shape: of float32 importance, both with the largest batch first.
    """

    def __init__(self, engine: "trt.ICudaEngine", in_shape: tuple[int, ...], out_shape: tuple[int, ...]) -> None:
        from cuda.bindings import runtime as cuda

        self._cuda = cuda
        self._context = engine.create_execution_context()
        if self._context is None:
            raise InputError("TensorRT makes no execution context; is there memory left on the GPU?")
        self._in_shape = in_shape
        self._sizes = prod(in_shape) // in_shape[0], 4 * prod(out_shape) // out_shape[0]  # bytes a frame
        # of its own: one that waits for the default stream would break the capture of another thread's graph
        self._stream = _done(cuda.cudaStreamCreateWithFlags(cuda.cudaStreamNonBlocking))
        self._host: list[int] = []
        self._device: list[int] = []
        self._count = 0  # frames that the context is set to
        self._graph: list[Any] = []  # for so many, where it was captured
        self._captures = True
        weakref.finalize(self, _free, self._stream, self._host, self._device, self._graph)
        for size in self._sizes:
            self._host.append(_done(cuda.cudaHostAlloc(in_shape[0] * size, cuda.cudaHostAllocDefault)))
            self._device.append(_done(cuda.cudaMalloc(in_shape[0] * size)))
        self._frames = _array(self._host[0], ctypes.c_uint8, in_shape)
        self._result = _array(self._host[1], ctypes.c_float, out_shape)
        for name, pointer in zip((INPUT, OUTPUT), self._device, strict=True):
            if not self._context.set_tensor_address(name, pointer):
                raise InputError(f"the engine has no tensor {name}; build it with deploy/onnx2trt.py")

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        count = len(frames)
        self._frames[:count] = frames
        if count != self._count:
            self._reshape(count)  # the first run of a shape may allocate, which no graph can hold
        elif not self._graph and self._captures:
            self._capture()
        if self._graph:
            _done(self._cuda.cudaGraphLaunch(self._graph[0], self._stream))
        else:
            self._copy_and_enqueue()
        _done(self._cuda.cudaStreamSynchronize(self._stream))
        return self._result[:count].copy()

    def run_again(self) -> None:
        """The engine alone, on the frames of the last call, without copies."""
        self._enqueue()
        _done(self._cuda.cudaStreamSynchronize(self._stream))

    def _reshape(self, count: int) -> None:
        # a graph holds for the shape that it was captured with
        while self._graph:
            _done(self._cuda.cudaGraphExecDestroy(self._graph.pop()))
        if not self._context.set_input_shape(INPUT, (count, *self._in_shape[1:])):
            raise InputError(f"the engine takes no {count} frames at once; build it again with --batch")
        self._count = count

    def _capture(self) -> None:
        """Make the graph; without one, where this engine lets nobody capture it."""
        mode = self._cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        _done(self._cuda.cudaStreamBeginCapture(self._stream, mode))
        try:
            self._copy_and_enqueue()
            captured = _done(self._cuda.cudaStreamEndCapture(self._stream))
        except InputError:
            self._cuda.cudaStreamEndCapture(self._stream)
            self._captures = False
            return
        self._graph.append(_done(self._cuda.cudaGraphInstantiate(captured, 0)))
        _done(self._cuda.cudaGraphDestroy(captured))

    def _copy_and_enqueue(self) -> None:
        kinds = self._cuda.cudaMemcpyKind
        (frame, result), (host_in, host_out), (in_, out) = self._sizes, self._host, self._device
        to_device = (in_, host_in, self._count * frame, kinds.cudaMemcpyHostToDevice)
        to_host = (host_out, out, self._count * result, kinds.cudaMemcpyDeviceToHost)
        _done(self._cuda.cudaMemcpyAsync(*to_device, self._stream))
        self._enqueue()
        _done(self._cuda.cudaMemcpyAsync(*to_host, self._stream))

    def _enqueue(self) -> None:
        if not self._context.execute_async_v3(int(self._stream)):
            raise InputError("TensorRT does not run the engine; build it again with deploy/onnx2trt.py")


def _array(pointer: int, kind: Any, shape: tuple[int, ...]) -> np.ndarray:
    return np.ctypeslib.as_array((kind * prod(shape)).from_address(pointer)).reshape(shape)


def _free(stream: Any, host: list[int], device: list[int], graphs: list[Any]) -> None:
    from cuda.bindings import runtime as cuda

    for graph in graphs:
        cuda.cudaGraphExecDestroy(graph)
    for pointer in host:
        cuda.cudaFreeHost(pointer)
    for pointer in device:
        cuda.cudaFree(pointer)
    cuda.cudaStreamDestroy(stream)


def _done(result: tuple[Any, ...]) -> Any:
    """The value of a CUDA call. InputError with the name of its error."""
    error, *values = result
    if int(error):
        mend = "a smaller batch or fewer streams need less" if "Memory" in error.name else "see nvidia-smi"
        raise InputError(f"CUDA says {error.name}; {mend}")
    return values[0] if values else None


def gpu_name() -> str:
    """The first GPU and its compute capability, as 'NVIDIA H100 (9.0)'. InputError where there is none."""
    try:
        from cuda.bindings import runtime as cuda
    except ImportError as error:
        raise InputError(f"cuda-bindings does not load ({brief(error)}); pip install -e '.[tensorrt]'") from None
    properties = _done(cuda.cudaGetDeviceProperties(0))
    return f"{properties.name.decode().rstrip(chr(0))} ({properties.major}.{properties.minor})"
