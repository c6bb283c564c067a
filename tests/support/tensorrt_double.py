"""A stand-in for TensorRT and CUDA that records what is called, for the control flow of deploy/backends/tensorrt.py.

Its classes are generated from tensorrt-stubs: what the stubs have not is an AttributeError, arguments that no overload
takes are a TypeError. CUDA's functions have the names and numbers of arguments of cuda-bindings. Behind them engines
are ONNX Runtime and device memory is the host's, so that a result is right only if memory, shapes, streams and graphs
were handled right.
"""

import ast
import ctypes
import importlib.machinery
import inspect
import re
import sys
from collections.abc import Callable
from functools import cache
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
from cuda.bindings import runtime as real_cuda

from tests.support import tensorrt_stubs

# what a version has not: of 8.6 by its release notes, of 11 by NVIDIA's guide for migrating from 10
MISSING = {
    "8.6.1": ["NetworkDefinitionCreationFlag.STRONGLY_TYPED", "ICudaEngine.device_memory_size_v2"],
    "10.13.0.35": [],
    "11.4.0": [
        *("BuilderFlag.FP16", "BuilderFlag.INT8", "BuilderFlag.BF16", "BuilderFlag.FP8"),
        *("NetworkDefinitionCreationFlag.EXPLICIT_BATCH", "Builder.platform_has_fast_fp16"),
        *("PreviewFeature.PROFILE_SHARING_0806", "IBuilderConfig.set_calibration_profile"),
    ],
}


class Member(int):
    """A member of one of TensorRT's enumerations."""

    def __new__(cls, owner: str, name: str, value: int) -> "Member":
        member = super().__new__(cls, value)
        member.full_name = f"{owner}.{name}"
        return member


@cache
def _parsed() -> list[ast.ClassDef]:
    return [node for node in ast.parse(tensorrt_stubs.bindings()).body if isinstance(node, ast.ClassDef)]


def _signature(function: ast.FunctionDef) -> inspect.Signature:
    given = [a.arg for a in function.args.args][1:]  # without self
    defaults = len(function.args.defaults)
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    return inspect.Signature(
        [
            inspect.Parameter(name, kind, default=None if at >= len(given) - defaults else inspect.Parameter.empty)
            for at, name in enumerate(given)
        ]
    )


class Double:
    """TensorRT of a version on a GPU; `calls` is what was called, (name, arguments by position), in order.

    refuses: {"OnnxParser.parse": False, …}: results to give instead.
    """

    def __init__(self, version: str = "10.13.0.35", gpu: str = "NVIDIA Double") -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.refuses: dict[str, Any] = {}
        self.module = self._module(version)
        self.cuda = _Cuda(self, gpu)

    def install(self, monkeypatch: Any) -> "Double":
        monkeypatch.setitem(sys.modules, "tensorrt", self.module)
        monkeypatch.setattr("cuda.bindings.runtime", self.cuda)
        return self

    def called(self, name: str) -> list[tuple[Any, ...]]:
        return [arguments for called, arguments in self.calls if called == name]

    def _module(self, version: str) -> ModuleType:
        module = ModuleType("tensorrt")
        module.__spec__ = importlib.machinery.ModuleSpec("tensorrt", None, origin="a double")
        module.__version__ = version
        classes: dict[str, type] = {}
        for node in _parsed():
            bases = tuple(classes[base.id] for base in node.bases if isinstance(base, ast.Name) and base.id in classes)
            classes[node.name] = self._class(node, bases or (object,))
        for name in MISSING[version]:
            owner, _, member = name.partition(".")
            delattr(classes[owner], member)
        for name, value in _BEHAVIOUR.items():
            owner, _, method = name.partition(".")
            setattr(classes[owner], f"_{method}", value)
        module.__dict__.update(classes)
        classes["ICudaEngine"].num_io_tensors = 2
        for name, member in (("float32", "FLOAT"), ("float16", "HALF"), ("uint8", "UINT8")):
            setattr(module, name, getattr(classes["DataType"], member))
        return module

    def _class(self, node: ast.ClassDef, bases: tuple[type, ...]) -> type:
        made: dict[str, Any] = {}
        overloads: dict[str, list[inspect.Signature]] = {}
        for item in node.body:
            if isinstance(item, ast.FunctionDef):
                decorators = {ast.unparse(decorator).removeprefix("typing.") for decorator in item.decorator_list}
                if "property" in decorators:
                    made[item.name] = 1 if item.returns and ast.unparse(item.returns) == "int" else None
                elif decorators <= {"overload"}:
                    overloads.setdefault(item.name, []).append(_signature(item))
            elif isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
                name = item.target.id
                made[name] = Member(node.name, name, len([v for v in made.values() if isinstance(v, Member)]))
            elif isinstance(item, ast.ClassDef):
                made[item.name] = self._class(item, (object,))
        for name, signatures in overloads.items():
            if name == "__init__" or not name.startswith("__"):
                made[name] = self._method(node.name, name, signatures)
        return type(node.name, bases, made)

    def _method(self, owner: str, name: str, signatures: list[inspect.Signature]) -> Callable[..., Any]:
        def method(this: Any, *args: Any, **keywords: Any) -> Any:
            for signature in signatures:
                try:
                    bound = signature.bind(*args, **keywords)
                    break
                except TypeError:
                    continue
            else:
                raise TypeError(f"{owner}.{name} takes no {args} {keywords}")
            full = f"{owner}.{name}"
            self.calls.append((full, bound.args))
            if full in self.refuses:
                return self.refuses[full]
            this.__dict__.setdefault("double", self)
            behaviour = getattr(type(this), f"_{name}", None)
            return behaviour(this, *bound.args) if behaviour else None

        return method


def _made(this: Any, kind: str, **values: Any) -> Any:
    """An object of another of the module's classes."""
    kind_of = getattr(this.double.module, kind)
    thing = kind_of.__new__(kind_of)
    thing.__dict__.update({"double": this.double, **values})
    return thing


def _parse(this: Any, content: bytes, *_: Any) -> bool:
    this.network.content = bytes(content)
    return True


def _profile_shape(this: Any, name: str, *shapes: Any) -> None:
    this.shapes = [list(shape.sizes) for shape in shapes]


def _run(this: Any, stream: int) -> bool:
    """The engine's work, when the stream is waited for or, of a captured stream, when the graph is launched.

    As in TensorRT, a new shape has to run once before it is captured, and a graph holds until the shape changes.
    """
    session, shape, places = this.session, this.shape, dict(this.places)
    is_captured = this.double.cuda.is_captured(stream)
    assert not is_captured or this.has_run, "captured before its first run"
    this.has_run = True

    def work() -> None:
        assert not is_captured or shape is this.shape, "a graph of an old shape"
        frames = _memory(places["frames"], int(np.prod(shape)))
        (result,) = session.run(None, {"frames": frames.reshape(shape)})
        _memory(places["importance"], result.nbytes)[:] = result.view(np.uint8).ravel()

    this.double.cuda.enqueue(stream, work)
    return True


def _memory(address: int, size: int) -> np.ndarray:
    return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))


def _set(name: str) -> Callable[..., bool]:
    def setter(this: Any, key: Any, value: Any) -> bool:
        this.__dict__.setdefault(name, {})[key] = value
        return True

    return setter


def _input_shape(this: Any, name: str, shape: Any) -> bool:
    this.shape, this.has_run = tuple(shape), False
    return True


def _port(this: Any, name: str) -> Any:
    ports = (*this.session.get_inputs(), *this.session.get_outputs())
    return next(port for port in ports if port.name == name)


def _port_shape(this: Any, name: str) -> list[int]:
    return [size if isinstance(size, int) else -1 for size in _port(this, name).shape]


def _port_kind(this: Any, name: str) -> Any:
    return getattr(this.double.module, {"tensor(uint8)": "uint8", "tensor(float)": "float32"}[_port(this, name).type])


_BEHAVIOUR: dict[str, Callable[..., Any]] = {
    "Builder.create_network": lambda this, flags=0: _made(this, "INetworkDefinition", flags=flags),
    "Builder.create_builder_config": lambda this: _made(this, "IBuilderConfig"),
    "Builder.create_optimization_profile": lambda this: _made(this, "IOptimizationProfile"),
    "Builder.build_serialized_network": lambda this, network, config: network.content,
    "OnnxParser.__init__": lambda this, network, logger: this.__dict__.update(network=network),
    "OnnxParser.parse": _parse,
    "OnnxParser.get_error": lambda this, index: SimpleNamespace(desc=lambda: "no such operator"),
    "IBuilderConfig.create_timing_cache": lambda this, content: _made(this, "ITimingCache", content=content),
    "IBuilderConfig.set_timing_cache": lambda this, cache, ignore_mismatch: True,
    "IBuilderConfig.add_optimization_profile": lambda this, profile: 0,
    "ITimingCache.serialize": lambda this: bytes(this.content) + b"+",
    "IOptimizationProfile.set_shape": _profile_shape,
    "Dims4.__init__": lambda this, *sizes: this.__dict__.update(sizes=sizes),
    "Runtime.deserialize_cuda_engine": lambda this, plan: _made(
        this,
        "ICudaEngine",
        session=onnxruntime.InferenceSession(bytes(plan), providers=["CPUExecutionProvider"]),
    ),
    "ICudaEngine.get_tensor_name": lambda this, index: ("frames", "importance")[index],
    "ICudaEngine.get_tensor_shape": _port_shape,
    "ICudaEngine.get_tensor_dtype": _port_kind,
    "INetworkDefinition.get_layer": lambda this, index: _made(this, "ILayer"),
    "ILayer.get_output": lambda this, index: SimpleNamespace(dtype=this.double.module.float32),
    "ILayer.set_output_type": lambda this, index, kind: True,
    "ICudaEngine.create_execution_context": lambda this, *_: _made(
        this, "IExecutionContext", session=this.session, places={}
    ),
    "IExecutionContext.set_tensor_address": _set("places"),
    "IExecutionContext.set_input_shape": _input_shape,
    "IExecutionContext.execute_async_v3": _run,
}


class _Cuda(ModuleType):
    """cuda.bindings.runtime, on the host's memory. Streams do their work when they are waited for."""

    def __init__(self, double: Double, gpu: str) -> None:
        super().__init__("cuda.bindings.runtime")
        self._double, self._gpu = double, gpu
        self._kept: dict[int, Any] = {}
        self._streams: dict[int, list[Callable[[], None]]] = {}
        self._captured: dict[int, list[Callable[[], None]]] = {}
        self._graphs: list[list[Callable[[], None]]] = []

    def __getattr__(self, name: str) -> Any:
        real = getattr(real_cuda, name)  # AttributeError where cuda-bindings has no such thing
        if not callable(real) or isinstance(real, type):
            return real
        declared = re.match(rf"{name}\((.*?)\)", real.__doc__ or "")
        count = len([a for a in declared[1].split(",") if a.strip()])
        behaviour = getattr(type(self), f"_{name}")

        def function(*args: Any) -> tuple[Any, ...]:
            assert len(args) == count, f"{name} takes {count} arguments"
            self._double.calls.append((name, args))
            if name in self._double.refuses:
                self._captured.pop(args[0], None) if name == "cudaStreamEndCapture" else None
                return (self._double.refuses[name],)
            value = behaviour(self, *args)
            return (real_cuda.cudaError_t.cudaSuccess,) if value is None else (real_cuda.cudaError_t.cudaSuccess, value)

        return function

    def is_captured(self, stream: int) -> bool:
        return stream in self._captured

    def enqueue(self, stream: int, work: Callable[[], None]) -> None:
        self._captured.get(stream, self._streams[stream]).append(work)

    def _cudaGetDeviceProperties(self, device: int) -> Any:
        return SimpleNamespace(name=self._gpu.encode(), major=9, minor=0)

    def _cudaStreamCreateWithFlags(self, flags: int) -> int:
        self._streams[len(self._streams) + 1] = []
        return len(self._streams)

    def _cudaHostAlloc(self, size: int, flags: int) -> int:
        return self._cudaMalloc(size)

    def _cudaMalloc(self, size: int) -> int:
        memory = ctypes.create_string_buffer(size)
        self._kept[ctypes.addressof(memory)] = memory
        return ctypes.addressof(memory)

    def _cudaMemcpyAsync(self, to: int, source: int, size: int, kind: Any, stream: int) -> None:
        for address in (to, source):
            assert size <= len(self._kept[address])
        self.enqueue(stream, lambda: ctypes.memmove(to, source, size) and None)

    def _cudaStreamSynchronize(self, stream: int) -> None:
        assert stream not in self._captured
        while self._streams[stream]:
            self._streams[stream].pop(0)()

    def _cudaStreamBeginCapture(self, stream: int, mode: Any) -> None:
        self._captured[stream] = []

    def _cudaStreamEndCapture(self, stream: int) -> int:
        self._graphs.append(self._captured.pop(stream, []))
        return len(self._graphs)

    def _cudaGraphInstantiate(self, graph: int, flags: int) -> int:
        return graph

    def _cudaGraphLaunch(self, graph: int, stream: int) -> None:
        self._streams[stream].extend(self._graphs[graph - 1])

    def _cudaGraphDestroy(self, graph: int) -> None: ...

    def _cudaGraphExecDestroy(self, graph: int) -> None: ...

    def _cudaFreeHost(self, address: int) -> None:
        del self._kept[address]

    def _cudaFree(self, address: int) -> None:
        del self._kept[address]

    def _cudaStreamDestroy(self, stream: int) -> None: ...
