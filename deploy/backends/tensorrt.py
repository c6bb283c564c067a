"""TensorRT engines: TensorRT 8.6, 10 and 11, with the parts of the API that all of them have.

GPU memory, streams and CUDA graphs go through cuda-bindings, which NVIDIA releases with CUDA and ships as wheels;
pycuda is compiled on the user's machine and takes a context when it is imported.
"""

import ctypes
import weakref
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deploy.artifacts.engine import read_sidecar, sidecar_path
from deploy.backends.base import BatchRunner, Predictor, batch_size_of
from deploy.backends.cuda import checked_call, gpu_name
from deploy.backends.settings import Backend, EngineSettings
from deploy.contract import INPUT, OUTPUT
from regenhance_data.errors import InputError

if TYPE_CHECKING:
    import tensorrt as trt


class TensorRtLog:
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
        return " ".join(self._said[-1].split())[:200] if self._said else "no reason is given"


class TensorRtPredictor(Predictor):
    """An engine that deploy/onnx2trt.py built. Made by deploy.runtime.load_predictor.

    Every thread has a CUDA stream, pinned buffers and an execution context of its own, and replays a CUDA graph from
    the second batch of a size on.
    """

    def __init__(self, model: Path | str, backend: Backend, settings: EngineSettings) -> None:
        path = Path(model)
        sidecar = read_sidecar(path)
        import tensorrt as trt

        here = gpu_name()
        for what, built, found in (("TensorRT", sidecar.tensorrt, trt.__version__), ("GPU", sidecar.gpu, here)):
            if built != found:
                raise InputError(f"{path}: was built for {what} {built}, here is {found}; build it again (onnx2trt.py)")
        is_dynamic = sidecar.min_batch < sidecar.max_batch
        asked = sidecar.opt_batch if settings.batch_size is None else settings.batch_size
        batch = batch_size_of(path, 0 if is_dynamic else sidecar.max_batch, asked)
        if not sidecar.min_batch <= batch <= sidecar.max_batch:
            raise InputError(
                f"{path}: takes {sidecar.min_batch} to {sidecar.max_batch} frames at once, not {batch}; "
                "build it again with --batch"
            )
        height, width = sidecar.input_hw
        # a batch below the profile's smallest has to be filled up
        is_dynamic_from_one = sidecar.min_batch == 1 and is_dynamic
        super().__init__(backend, path, (height, width), batch, is_dynamic_from_one, sidecar.metadata)
        log = TensorRtLog()
        runtime = trt.Runtime(log.logger)
        engine = runtime.deserialize_cuda_engine(path.read_bytes())
        if engine is None:
            raise InputError(f"{path}: TensorRT does not load it ({log.last()}); build it again with onnx2trt.py")
        self._log, self._runtime, self._engine = log, runtime, engine  # the engine needs the other two
        # buffer sizes come from the sidecar, which anybody can edit
        first = -1 if is_dynamic else batch
        expected = {INPUT: (first, *self.input_hw, 3), OUTPUT: (first, *self.out_hw)}
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        shapes = {name: engine.get_tensor_shape(name) for name in names}
        ports = {name: tuple(shape[at] for at in range(len(shape))) for name, shape in shapes.items()}
        kinds = {name: engine.get_tensor_dtype(name) for name in names}
        if ports != expected or kinds != {INPUT: trt.uint8, OUTPUT: trt.float32}:
            raise InputError(f"{path}: has other ports than {sidecar_path(path).name} says ({ports}); build it again")

    def _batch_runner(self) -> BatchRunner:
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
            raise InputError("TensorRT creates no execution context; is the GPU's memory full?")
        self._in_shape = in_shape
        self._sizes = prod(in_shape) // in_shape[0], 4 * prod(out_shape) // out_shape[0]  # bytes a frame
        # non-blocking: waiting for the default stream would break the capture of another thread's graph
        self._stream = checked_call(cuda.cudaStreamCreateWithFlags(cuda.cudaStreamNonBlocking))
        self._host: list[int] = []
        self._device: list[int] = []
        self._count = 0  # frames of the context's input shape
        self._graph: list[Any] = []  # of that many frames; empty before it is captured
        self._captures = True
        weakref.finalize(self, _free, self._stream, self._host, self._device, self._graph)
        for size in self._sizes:
            self._host.append(checked_call(cuda.cudaHostAlloc(in_shape[0] * size, cuda.cudaHostAllocDefault)))
            self._device.append(checked_call(cuda.cudaMalloc(in_shape[0] * size)))
        self._frames = _array(self._host[0], ctypes.c_uint8, in_shape)
        self._result = _array(self._host[1], ctypes.c_float, out_shape)
        for name, pointer in zip((INPUT, OUTPUT), self._device, strict=True):
            if not self._context.set_tensor_address(name, pointer):
                raise InputError(f"the engine has no tensor {name}; build it with deploy/onnx2trt.py")

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        count = len(frames)
        self._frames[:count] = frames
        if count != self._count:
            self._reshape(count)  # the first run of a shape may allocate, which a graph cannot
        elif not self._graph and self._captures:
            self._capture()
        if self._graph:
            checked_call(self._cuda.cudaGraphLaunch(self._graph[0], self._stream))
        else:
            self._copy_and_enqueue()
        checked_call(self._cuda.cudaStreamSynchronize(self._stream))
        return self._result[:count].copy()

    def run_again(self) -> None:
        """The engine alone, on the frames of the last call, without copies."""
        self._enqueue()
        checked_call(self._cuda.cudaStreamSynchronize(self._stream))

    def _reshape(self, count: int) -> None:
        # a graph is valid for the shape that it was captured with
        while self._graph:
            checked_call(self._cuda.cudaGraphExecDestroy(self._graph.pop()))
        if not self._context.set_input_shape(INPUT, (count, *self._in_shape[1:])):
            raise InputError(f"the engine takes no {count} frames at once; build it again with --batch")
        self._count = count

    def _capture(self) -> None:
        """Capture the graph; an engine that cannot be captured runs without one."""
        mode = self._cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        checked_call(self._cuda.cudaStreamBeginCapture(self._stream, mode))
        try:
            self._copy_and_enqueue()
            captured = checked_call(self._cuda.cudaStreamEndCapture(self._stream))
        except InputError:
            self._cuda.cudaStreamEndCapture(self._stream)
            self._captures = False
            return
        self._graph.append(checked_call(self._cuda.cudaGraphInstantiate(captured, 0)))
        checked_call(self._cuda.cudaGraphDestroy(captured))

    def _copy_and_enqueue(self) -> None:
        kinds = self._cuda.cudaMemcpyKind
        (frame, result), (host_in, host_out), (in_, out) = self._sizes, self._host, self._device
        to_device = (in_, host_in, self._count * frame, kinds.cudaMemcpyHostToDevice)
        to_host = (host_out, out, self._count * result, kinds.cudaMemcpyDeviceToHost)
        checked_call(self._cuda.cudaMemcpyAsync(*to_device, self._stream))
        self._enqueue()
        checked_call(self._cuda.cudaMemcpyAsync(*to_host, self._stream))

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
