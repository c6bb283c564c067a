"""ONNX files that ask an upscaler's engine for too much, or are damaged."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from regenhance_data.errors import InputError
from regenhance_data.upscalers.loading import load_upscaler
from regenhance_data.upscalers.settings import UpscalerSettings
from tests.support.detectors import save_onnx
from tests.support.hostile_onnx import HOSTILE, write_hostile


def load(path):
    return load_upscaler(UpscalerSettings(f"onnx:{path}", 2))


@pytest.mark.parametrize("name", list(HOSTILE))
def test_a_graph_that_asks_for_too_much_is_refused_in_one_line(tmp_path, name):
    path = write_hostile(tmp_path / "u.onnx", name)
    says = {"If": "has Loop", "loop in a function": "has Loop", "function": "", "sparse": ""}
    with pytest.raises(InputError, match=says.get(name, HOSTILE[name][1]) or None) as refusal:
        load(path)
    assert str(refusal.value).startswith(f"{path}: ")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("op_type", ["Tile", "Resize", "If"])
def test_sizes_that_are_known_only_in_a_run_are_taken(tmp_path, op_type):
    """Doubling pixels by the input's own size, or by a branch on it, as scripted networks do."""
    shape = {"cond": np.array(True), "twice": np.array([1, 1, 2, 2], np.float32)}
    make = helper.make_node
    how = {"mode": "nearest", "nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"}
    if op_type == "Resize":
        shape["two"] = np.array([1, 1, 2, 2])
        nodes = [make("Shape", ["x"], ["size"]), make("Mul", ["size", "two"], ["larger"])]
        nodes.append(make("Resize", ["x", "", "", "larger"], ["y"], **how))
    elif op_type == "If":
        made = helper.make_tensor_value_info("z", TensorProto.FLOAT, None)
        branch = helper.make_graph([make("Resize", ["x", "", "twice"], ["z"], **how)], "b", [], [made])
        nodes = [make("If", ["cond"], ["y"], then_branch=branch, else_branch=branch)]
    else:  # each pixel as four in the channels, then DepthToSpace
        shape["by"] = np.array([1, 4, 1, 1])
        nodes = [make("Tile", ["x", "by"], ["deep"]), make("DepthToSpace", ["deep"], ["y"], blocksize=2)]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, "h", "w"])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    path = tmp_path / "u.onnx"
    save_onnx(path, nodes, shape, given, result, {})
    frames = np.random.default_rng(0).integers(0, 256, (1, 24, 32, 3), np.uint8)
    np.testing.assert_array_equal(load(path)(frames)[0], frames[0].repeat(2, 0).repeat(2, 1))
