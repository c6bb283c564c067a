"""Upscalers from ONNX files, run by ONNX Runtime: on the GPU where it has its CUDA provider, else on the CPU; or by
another engine.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from regenhance_data.errors import InputError, one_line
from regenhance_data.io.onnx_files import check_network, read_model
from regenhance_data.io.onnx_sessions import first_run, session_options
from regenhance_data.parallel.limits import limited_memory, run_limited
from regenhance_data.upscalers.base import (
    OVERLAP,
    FloatNetwork,
    UpscalingNetwork,
    described,
    pixels_of,
    probe,
    scale_of,
)
from regenhance_data.upscalers.settings import UpscalerSettings

_MOST_SIDE_PX = 4096  # of an input that a graph fixes; a forged file must not allocate more
_TYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
}
_NAME = "ONNX network"
HALO_KEY = "halo_px"  # metadata of files that this kit exports: the exact halo, in LR pixels
Run = Callable[[np.ndarray], Sequence[Any]]  # a graph's input → its outputs


def load(argument: str, settings: UpscalerSettings) -> UpscalingNetwork:
    """The upscaler in an ONNX file: its scale and the sizes that it takes are found by running it.

    InputError for a file that is missing or no such graph.
    """
    return load_in(argument, settings, 1)  # one worker per core: see parallel/executors.py


def load_in(
    argument: str, settings: UpscalerSettings, threads: int, engine: Callable[[Path], Run] | None = None
) -> UpscalingNetwork:
    """As `load`. threads: of ONNX Runtime for each frame, 0 for all cores. engine: opens the file and runs it from then
    on, after ONNX Runtime has tried it.
    """
    limit_s, halo_px = _read(Path(argument))
    if limit_s is not None:
        run_limited(_network_of, argument, settings.white, what=first_run(Path(argument)), limit_s=limit_s)
    with nullcontext() if len(_providers()) > 1 else limited_memory():
        graph = _Graph(Path(argument), settings.white, threads, halo_px)
        network = _network(argument, graph)
    if engine is not None:
        graph.outputs = engine(Path(argument))
    return network


def _network_of(argument: str, white: float) -> None:
    """Load it, as `load_in` does, for the first time."""
    _network(argument, _Graph(Path(argument), white, 1))


def _network(argument: str, graph: "_Graph") -> UpscalingNetwork:
    fixed = [side for side in graph.sides if isinstance(side, int)]
    if len(fixed) == 1:
        raise InputError(f"{argument}: fixes only one side of its input ({graph.sides}); export it with both or none")
    if fixed and max(fixed) > _MOST_SIDE_PX:
        raise InputError(f"{argument}: takes inputs of {fixed[1]}x{fixed[0]}, larger than any frame; export it again")
    about: dict[str, Any] = {"name": _NAME, "overlap": graph.halo_px}
    if fixed:
        height, width = fixed
        scale, channels = graph.fixed_scale(height, width)
        about |= {"overlap": min(OVERLAP, min(fixed) // 4), "fixed_hw": (height, width)}
    else:
        scale, about["multiple"], channels = probe(graph, argument, graph.channels)
    about["pixels"] = pixels_of(channels, graph.white_in)
    if graph.makes_pixels:
        return _PixelNetwork(graph, argument, scale, **about)
    return FloatNetwork(graph, channels, argument, scale, **about)


class _PixelNetwork(UpscalingNetwork):
    """A graph on frames as they are: uint8 [N, h, w, 3] RGB → uint8 [N, h·scale, w·scale, 3]."""

    def __init__(self, graph: "_Graph", source: str, scale: int, **about: Any) -> None:
        super().__init__(source, scale, **about)
        self._graph = graph

    def run(self, frames: np.ndarray) -> np.ndarray:
        [made] = self._graph.outputs(frames)
        return np.asarray(made)


class _Graph:
    """float32 [N, C, h, w] in 0..1 → float32 [N, C, h·scale, w·scale] in 0..255, by a graph on frames [N, C, h, w] or
    [N, h, w, C], RGB or luma, from 0 to `white` (integers: to 255); of its outputs, the largest.

    channels: the numbers that C can be. sides: height and width, a name where the graph takes any. halo_px: the exact
    halo that the file tells, if it does. makes_pixels: whether it takes and makes uint8 [N, h, w, 3]. outputs: runs it.
    """

    outputs: Run

    def __init__(self, path: Path, white: float, threads: int, halo_px: int | None = None) -> None:
        self.halo_px = halo_px
        self._path, self._session = path, _session(path, threads)
        self.outputs = self._run
        self._white = white
        self._input, kind, shape = self._read_input()
        self._dtype = _TYPES[kind]
        self.white_in = self._white_of(np.dtype(self._dtype))
        self._is_nhwc = shape[3] in (1, 3) and shape[1] not in (1, 3)
        batch, channels, *self.sides = [shape[axis] for axis in (0, 3, 1, 2)] if self._is_nhwc else shape
        self.channels: Sequence[int] = (channels,) if isinstance(channels, int) else (3, 1)
        made = [(output.type, output.shape[3:]) for output in self._session.get_outputs()]
        self.makes_pixels = self._is_nhwc and kind == "tensor(uint8)" and made == [(kind, [3])] and channels == 3
        if isinstance(batch, int) and batch not in (-1, 0, 1):
            raise InputError(f"{path}: takes {batch} frames at once; export it with one, or with a dynamic batch")

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        given = frames * np.float32(self.white_in)
        if self._dtype == np.uint8:
            given = given.round()
        if self._is_nhwc:
            given = given.transpose(0, 2, 3, 1)
        outputs = self.outputs(np.ascontiguousarray(given, self._dtype))
        made = [self._as_nchw(output, frames.shape[1]) for output in outputs]
        larger = [array for array in made if scale_of(frames.shape, array)]
        return max(larger, key=lambda array: array.size, default=made[0])

    def _run(self, given: np.ndarray) -> Sequence[Any]:
        """The outputs in ONNX Runtime."""
        outputs: Sequence[Any] = self._session.run(None, {self._input: given})
        return outputs

    def fixed_scale(self, height: int, width: int) -> tuple[int, int]:
        """(scale, channels) of a graph that takes one size. InputError where it does not upscale."""
        found = ""
        for channels in self.channels:
            frame = np.random.default_rng(0).random((1, channels, height, width), np.float32)
            try:
                made = self(frame)
            # ONNX Runtime has many exceptions of its own
            except InputError:
                raise
            except Exception as error:
                found = found or f"does not run ({one_line(error)})"
                continue
            if scale := scale_of(frame.shape, made):
                return scale, channels
            found = f"is not an upscaler: its output is {described(made)} for {list(frame.shape)}"
        raise InputError(f"{self._path}: {found}")

    def _as_nchw(self, output: Any, channels: int) -> np.ndarray:
        made = np.asarray(output)
        depth = np.float32(255 / self._white_of(made.dtype))
        if made.ndim == 4 and made.shape[3] == channels != made.shape[1]:
            made = made.transpose(0, 3, 1, 2)
        return made.astype(np.float32) * depth

    def _white_of(self, dtype: np.dtype) -> float:
        return 255.0 if np.issubdtype(dtype, np.integer) else self._white

    def _read_input(self) -> tuple[str, str, list[Any]]:
        """(name, type, shape) of the one input."""
        try:
            inputs = [(given.name, given.type, given.shape) for given in self._session.get_inputs()]
        except UnicodeDecodeError:
            raise InputError(f"{self._path}: is a broken ONNX file (its names are not valid UTF-8)") from None
        if len(inputs) == 1:
            name, kind, shape = inputs[0]
            has_channels = len(shape) == 4 and (not isinstance(shape[1], int) or {shape[1], shape[3]} & {1, 3})
            if kind in _TYPES and has_channels:
                return name, kind, shape
        found = ", ".join(" ".join(map(str, given)) for given in inputs)[:160] or "nothing"
        raise InputError(
            f"{self._path}: takes {found}, expected one input float or uint8 [N, C, h, w] with 3 channels (RGB) or 1 "
            "(luma); export it with its own pre-processing inside"
        )


def _read(path: Path) -> tuple[float | None, int | None]:
    """(the limit of a first run, as in `check_network`, the exact halo where the file tells it). InputError for a file
    that is damaged or asks for too much.
    """
    _, model = read_model(path, takes_weights_beside=True)
    weights = {tensor.name for tensor in model.graph.initializer}
    given = [value for value in model.graph.input if value.name not in weights]
    sides = {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in given}
    halo = next((entry.value for entry in model.metadata_props if entry.key == HALO_KEY), "")
    is_number = halo.isascii() and halo.isdigit() and len(halo) < len(str(_MOST_SIDE_PX))
    return check_network(path, model, sides), int(halo) if is_number else None


def _providers() -> list[str]:
    available = onnxruntime.get_available_providers()
    return [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in available]


def _session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    options, providers = session_options(threads), _providers()
    try:
        # with only the CPU there is no fallback; ONNX Runtime would print that it tries one
        fallback = len(providers) > 1
        return onnxruntime.InferenceSession(str(path), options, providers=providers, enable_fallback=fallback)
    # ONNX Runtime has many exceptions of its own
    except Exception as error:
        raise InputError(f"{path}: is not an ONNX file that runs ({one_line(error)})") from None
