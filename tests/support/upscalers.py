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


def write_graph(path, shape=("n", 3, "h", "w"), scale=2, white=1.0, multiple=1, kind=TensorProto.FLOAT):
    """`RedInverted` as an ONNX graph."""
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    constants = {
        "sign": np.array([-1, 1, 1], dtype).reshape(3, 1, 1),
        "white": np.array([white, 0, 0], dtype).reshape(3, 1, 1),
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
