"""An upscaler that repeats pixels and inverts red, as TorchScript and as ONNX."""

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn import functional


class RedInverted(nn.Module):
    """Repeats pixels and inverts red; takes sides that are multiples of `multiple`."""

    def __init__(self, scale=2, white=1.0, multiple=1):
        super().__init__()
        self.scale, self.white, self.multiple = scale, white, multiple
        self.register_buffer("sign", torch.tensor([-1.0, 1.0, 1.0]).reshape(3, 1, 1))

    def forward(self, x):
        x = functional.pixel_shuffle(functional.pixel_unshuffle(x, self.multiple), self.multiple)
        x = x * self.sign + self.white * (self.sign < 0)
        return x.repeat_interleave(self.scale, 2).repeat_interleave(self.scale, 3)


def red_inverted(frames, scale=2):
    """Its output for frames uint8 [N, H, W, 3]."""
    made = frames.repeat(scale, 1).repeat(scale, 2)
    made[..., 0] = 255 - made[..., 0]
    return made


def write_script(path, **about):
    torch.jit.script(RedInverted(**about)).save(path)
    return path


def write_graph(path, shape=("n", 3, "h", "w"), scale=2, white=1.0, multiple=1, kind=TensorProto.FLOAT, inverted=True):
    """`RedInverted` as an ONNX graph; it only repeats pixels where it is not `inverted`."""
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    constants = {
        "sign": np.array([-1 if inverted else 1, 1, 1], dtype).reshape(3, 1, 1),
        "white": np.array([white if inverted else 0, 0, 0], dtype).reshape(3, 1, 1),
        "scales": np.array([1, 1, scale, scale], np.float32),
    }
    nodes = [
        helper.make_node("SpaceToDepth", ["x"], ["deep"], blocksize=multiple),
        helper.make_node("DepthToSpace", ["deep"], ["same"], blocksize=multiple),
        helper.make_node("Mul", ["same", "sign"], ["signed"]),
        helper.make_node("Add", ["signed", "white"], ["inverted"]),
        helper.make_node(
            *("Resize", ["inverted", "", "scales"], ["y"]),
            **{"mode": "nearest", "nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"},
        ),
    ]
    graph = helper.make_graph(
        nodes,
        "red_inverted",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", kind, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def write_repeating(path, shape=("n", 3, "h", "w"), scale=2, kind=TensorProto.FLOAT, opset=13, extra=False):
    """A graph that repeats pixels: [N, C, h, w], or [N, h, w, C] where the shape ends with the channels. `extra`: its
    first output is the input.
    """
    order = [0, 3, 1, 2] if shape[3] in (1, 3) else [0, 1, 2, 3]
    axes = {"mode": "nearest"}
    if opset >= 11:
        axes |= {"nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"}
    resize = ["there", "", "scales"] if opset >= 11 else ["there", "scales"]
    nodes = [
        helper.make_node("Transpose", ["x"], ["there"], perm=order),
        helper.make_node("Resize" if opset >= 10 else "Upsample", resize, ["larger"], **axes),
        helper.make_node("Transpose", ["larger"], ["y"], perm=[order.index(axis) for axis in range(4)]),
        *([helper.make_node("Identity", ["x"], ["same"])] if extra else []),
    ]
    outputs = [helper.make_tensor_value_info(name, kind, None) for name in (["same"] if extra else []) + ["y"]]
    graph = helper.make_graph(
        nodes,
        "repeating",
        [helper.make_tensor_value_info("x", kind, shape)],
        outputs,
        [numpy_helper.from_array(np.array([1, 1, scale, scale], np.float32), "scales")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), path)
    return path


class Changed(nn.Module):
    """Repeats pixels of frames from 0 to `white`, and does one thing wrong: see CHANGES."""

    def __init__(self, change, scale=2, white=1.0):
        super().__init__()
        self.change, self.scale, self.white = change, scale, white

    def forward(self, x):
        x = x.repeat_interleave(self.scale, 2).repeat_interleave(self.scale, 3) / self.white
        return CHANGES[self.change](x) * self.white


CHANGES = {
    "sound": lambda x: x,
    "sharper": lambda x: x + 1.5 * (x - functional.avg_pool2d(x, 5, 1, 2)),
    "smoother": lambda x: functional.avg_pool2d(x, 5, 1, 2),
    "brighter in the dark": lambda x: x.clamp(0, 1) ** 0.8,
    "half a pixel off": lambda x: x.roll(1, 3),
    "of its range": lambda x: torch.where(x < 0.02, 0.9, x.clamp(0, 1)),
    "inverted": lambda x: 1 - x,
    "black": lambda x: 0 * x,
    "white": lambda x: 0 * x + 2,
    "swapped": lambda x: x.flip(1),
    "shifted": lambda x: x.roll(8, 3),
    "to -1..1": lambda x: 2 * x - 1,
}


def write_changed(path, change, scale=2, white=1.0):
    """`Changed` as TorchScript."""
    torch.jit.trace(Changed(change, scale, white), torch.rand(1, 3, 64, 64) * white, check_trace=False).save(path)
    return path


class Biased(nn.Module):
    """Repeats pixels times a factor plus a bias; takes exactly `channels`."""

    def __init__(self, channels, factor, bias):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 1, groups=channels)
        nn.init.constant_(self.conv.weight, factor)
        nn.init.constant_(self.conv.bias, bias)

    def forward(self, x):
        return self.conv(x).repeat_interleave(2, 2).repeat_interleave(2, 3)


def write_biased(path, kind, channels, factor, bias):
    """`Biased` as TorchScript, or the same as an ONNX graph."""
    if kind == "torchscript":
        torch.jit.trace(Biased(channels, factor, bias), torch.rand(1, channels, 64, 64), check_trace=False).save(path)
        return path
    model = onnx.load(write_repeating(path, ("n", channels, "h", "w")))
    for name, value in (("factor", factor), ("bias", bias)):
        model.graph.initializer.append(numpy_helper.from_array(np.float32(value), name))
    model.graph.node[-1].output[0] = "repeated"
    model.graph.node.append(helper.make_node("Mul", ["repeated", "factor"], ["times"]))
    model.graph.node.append(helper.make_node("Add", ["times", "bias"], ["y"]))
    onnx.save(model, path)
    return path
