"""Operators of ONNX that onnx2torch lacks or takes for others, as PyTorch modules for it; see onnx_rewriting.py.

Importing this module registers them.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from onnx2torch.node_converters.registry import add_converter
from onnx2torch.utils.common import OperationConverterResult, onnx_mapping_from_node
from torch.nn import functional

DOMAIN = "regenhance"  # of these operators
Attributes = Mapping[str, Any]


class _Operator(torch.nn.Module):
    """A function of tensors as a module; onnx2torch passes what follows a missing input by the function's names."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.forward = function


def _register(name: str, make: Callable[[Attributes, int], Callable[..., Any]]) -> None:
    """make: (attributes, number of outputs) → the function of the tensors."""

    @add_converter(name, 1, DOMAIN)
    def convert(node: Any, graph: Any) -> OperationConverterResult:
        function = make(node.attributes, len(node.output_values))
        return OperationConverterResult(_Operator(function), onnx_mapping_from_node(node))


# --- resize ------------------------------------------------------------------------------------------------------
def _resize(given: Attributes, _: int) -> Callable[..., torch.Tensor]:
    mode, how = given.get("mode", "nearest"), given.get("coordinate_transformation_mode", "half_pixel")
    if (
        given.get("antialias")
        or how == "tf_crop_and_resize"
        or given.get("keep_aspect_ratio_policy", "stretch") != ("stretch")
    ):
        raise NotImplementedError(f"Resize with {dict(given)}")

    def resize(
        values: torch.Tensor,
        roi: torch.Tensor | None = None,
        scales: torch.Tensor | None = None,
        sizes: torch.Tensor | None = None,
    ) -> torch.Tensor:
        axes = given.get("axes") or range(values.ndim)
        if scales is not None and scales.numel():
            factors = dict(zip(axes, scales.tolist(), strict=True))
            made = {axis: int(values.shape[axis] * factor + 1e-4) for axis, factor in factors.items()}
        else:
            assert sizes is not None
            made = {axis: int(size) for axis, size in zip(axes, sizes.tolist(), strict=True)}
            factors = {axis: size / values.shape[axis] for axis, size in made.items()}
        changed = {axis: size for axis, size in made.items() if size != values.shape[axis] or factors[axis] != 1}
        if mode == "cubic":
            return _cubic(values, made, how, given)
        for axis, size in changed.items():
            at = _coordinates(values.shape[axis], size, factors[axis], how).to(values.device)
            values = _interpolated(values, axis, at, given if mode == "nearest" else None)
        return values

    return resize


def _cubic(values: torch.Tensor, made: Mapping[int, int], how: str, given: Attributes) -> torch.Tensor:
    if how not in ("half_pixel", "pytorch_half_pixel", "align_corners") or given.get("exclude_outside"):
        raise NotImplementedError(f"cubic Resize with {dict(given)}")
    size = tuple(made.get(axis, values.shape[axis]) for axis in (2, 3))
    return functional.interpolate(values, size, mode="bicubic", align_corners=how == "align_corners")


def _coordinates(count: int, made: int, factor: float, how: str) -> torch.Tensor:
    """Where each of `made` samples lies among `count`, float64 [made]."""
    index = torch.arange(made, dtype=torch.float64)
    if how == "align_corners":
        return index * ((count - 1) / max(made - 1, 1))
    if how == "asymmetric":
        return index / factor
    if how == "half_pixel_symmetric":
        middle = count / 2 * (1 - made / (factor * count))
        return middle + (index + 0.5) / factor - 0.5
    if how == "pytorch_half_pixel" and made == 1:
        return torch.zeros(1, dtype=torch.float64)
    return (index + 0.5) / factor - 0.5


def _interpolated(values: torch.Tensor, axis: int, at: torch.Tensor, nearest: Attributes | None) -> torch.Tensor:
    """The values at places along an axis: of the nearest neighbour (with its attributes), else linear."""
    last = values.shape[axis] - 1
    if nearest is not None:
        rounding = nearest.get("nearest_mode", "round_prefer_floor")
        index = {
            "floor": lambda: at.floor(),
            "ceil": lambda: at.ceil(),
            "round_prefer_floor": lambda: (at - 0.5).ceil(),
            "round_prefer_ceil": lambda: (at + 0.5).floor(),
        }[rounding]()
        return values.index_select(axis, index.long().clamp(0, last))
    at = at.clamp(0, last)
    low = at.floor().long()
    share = (at - low).to(values.dtype).reshape([-1 if n == axis else 1 for n in range(values.ndim)])
    high = (low + 1).clamp(max=last)
    return values.index_select(axis, low) * (1 - share) + values.index_select(axis, high) * share


# --- quantisation ------------------------------------------------------------------------------------------------
def _along(values: torch.Tensor, like: torch.Tensor, axis: int) -> torch.Tensor:
    """A scale or zero point, one number or one for each index of an axis, as it broadcasts to `like`."""
    values = values.to(torch.float32)
    if values.numel() == 1:
        return values.reshape(())
    return values.reshape([-1 if n == axis % like.ndim else 1 for n in range(like.ndim)])


def _quantize(given: Attributes, _: int) -> Callable[..., torch.Tensor]:
    """Rounded to the integers of the quantised type, as floats; the gradient is that of no rounding."""

    def quantize(values: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor | None = None) -> torch.Tensor:
        axis = given.get("axis", 1)
        kind = torch.iinfo(zero.dtype if zero is not None else torch.uint8)
        scaled = values / _along(scale, values, axis)
        rounded = scaled + (scaled.round() - scaled).detach()
        shift = 0 if zero is None else _along(zero, values, axis)
        return (rounded + shift).clamp(kind.min, kind.max)

    return quantize


def _dequantize(given: Attributes, _: int) -> Callable[..., torch.Tensor]:
    def dequantize(values: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor | None = None) -> torch.Tensor:
        axis = given.get("axis", 1)
        shift = 0 if zero is None else _along(zero, values, axis)
        return (values.to(torch.float32) - shift) * _along(scale, values, axis)

    return dequantize


# --- others ------------------------------------------------------------------------------------------------------
def _group_norm(given: Attributes, _: int) -> Callable[..., torch.Tensor]:
    groups, epsilon = given["num_groups"], given.get("epsilon", 1e-5)

    def norm(values: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        if len(scale) != values.shape[1]:  # before opset 21: one for each group
            scale, bias = (v.repeat_interleave(values.shape[1] // groups) for v in (scale, bias))
        return functional.group_norm(values, groups, scale, bias, epsilon)

    return norm


def _rms_norm(given: Attributes, _: int) -> Callable[..., torch.Tensor]:
    axis, epsilon = given.get("axis", -1), given.get("epsilon", 1e-5)

    def norm(values: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        axes = list(range(axis % values.ndim, values.ndim))
        return values * torch.rsqrt(values.square().mean(axes, keepdim=True) + epsilon) * scale

    return norm


def _grid_sample(given: Attributes, _: int) -> Callable[..., torch.Tensor]:
    mode = str(given.get("mode", "bilinear"))
    return partial(
        functional.grid_sample,
        mode={"linear": "bilinear", "cubic": "bicubic"}.get(mode, mode),
        padding_mode=given.get("padding_mode", "zeros"),
        align_corners=bool(given.get("align_corners", 0)),
    )


def _scatter_elements(given: Attributes, _: int) -> Callable[..., torch.Tensor]:
    axis, reduction = given.get("axis", 0), given.get("reduction", "none")
    names = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}

    def scatter(values: torch.Tensor, index: torch.Tensor, updates: torch.Tensor) -> torch.Tensor:
        index = torch.where(index < 0, index + values.shape[axis], index)
        if reduction == "none":
            return values.scatter(axis, index, updates)
        return values.scatter_reduce(axis, index, updates, names[reduction])

    return scatter


def _split(given: Attributes, outputs: int) -> Callable[..., Sequence[torch.Tensor]]:
    """Into equal parts, of which the last may be smaller."""
    axis = given.get("axis", 0)

    def split(values: torch.Tensor) -> Sequence[torch.Tensor]:
        parts = values.split(-(-values.shape[axis] // outputs), axis)
        return parts if outputs > 1 else parts[0]

    return split


def _space_to_depth(given: Attributes, _: int) -> Callable[..., torch.Tensor]:
    size = given["blocksize"]

    def rearrange(values: torch.Tensor) -> torch.Tensor:
        batch, channels, rows, cols = values.shape
        blocks = values.reshape(batch, channels, rows // size, size, cols // size, size)
        return blocks.permute(0, 3, 5, 1, 2, 4).reshape(batch, -1, rows // size, cols // size)

    return rearrange


def _trilu(given: Attributes, _: int) -> Callable[..., torch.Tensor]:
    keep = torch.triu if given.get("upper", 1) else torch.tril
    return lambda values, k=None: keep(values, int(k) if k is not None else 0)


def _gelu(given: Attributes, _: int) -> Callable[..., torch.Tensor]:
    return partial(functional.gelu, approximate=str(given.get("approximate", "none")))


def _lp_normalization(given: Attributes, _: int) -> Callable[..., torch.Tensor]:
    return partial(functional.normalize, p=given.get("p", 2), dim=given.get("axis", -1))


OPERATORS: dict[str, Callable[[Attributes, int], Callable[..., Any]]] = {
    "DequantizeLinear": _dequantize,
    "Gelu": _gelu,
    "GlobalAveragePool": lambda given, _: lambda values: values.mean(tuple(range(2, values.ndim)), keepdim=True),
    "GlobalMaxPool": lambda given, _: lambda values: values.amax(tuple(range(2, values.ndim)), keepdim=True),
    "GreaterOrEqual": lambda given, _: torch.ge,
    "GridSample": _grid_sample,
    "GroupNormalization": _group_norm,
    "HardSwish": lambda given, _: functional.hardswish,
    "IsInf": lambda given, _: torch.isinf,
    "IsNaN": lambda given, _: torch.isnan,
    "LessOrEqual": lambda given, _: torch.le,
    "LpNormalization": _lp_normalization,
    "Mish": lambda given, _: functional.mish,
    "QuantizeLinear": _quantize,
    "RMSNormalization": _rms_norm,
    "Resize": _resize,
    "ScatterElements": _scatter_elements,
    "Size": lambda given, _: lambda values: torch.tensor(values.numel()),
    "SpaceToDepth": _space_to_depth,
    "Split": _split,
    "Swish": lambda given, _: lambda values: values * torch.sigmoid(values * given.get("alpha", 1.0)),
    "ThresholdedRelu": lambda given, _: lambda values: torch.where(values > given.get("alpha", 1.0), values, 0.0),
    "Trilu": _trilu,
}
for _name, _make in OPERATORS.items():
    _register(_name, _make)
