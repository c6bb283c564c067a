"""ONNX files that ask an upscaler's engine for too much, or are damaged."""

from functools import partial

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.external_data_helper import set_external_data

from regenhance_data.errors import InputError
from regenhance_data.io.files import sha256
from regenhance_data.io.onnx_files import files_beside
from regenhance_data.many_clips.steps import Step
from regenhance_data.upscalers.loading import load_upscaler, upscaler_record
from regenhance_data.upscalers.settings import UpscalerSettings
from tests.support.detectors import save_onnx
from tests.support.hostile_onnx import HOSTILE, write_hostile
from tests.support.upscalers import write_biased


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


def test_weights_in_a_file_beside_are_read_and_no_others(tmp_path):
    model = onnx.load(write_biased(tmp_path / "one.onnx", "onnx", 3, 0.5, 0.2))
    (tmp_path / "m").mkdir()
    path = tmp_path / "m" / "two.onnx"
    beside = [tensor for tensor in model.graph.initializer if tensor.name in ("factor", "bias")]
    for tensor in beside:
        set_external_data(tensor, "two.onnx.data")
    onnx.save(model, path)
    assert (tmp_path / "m" / "two.onnx.data").is_file()
    frame = np.random.default_rng(0).integers(0, 256, (1, 24, 40, 3), np.uint8)
    np.testing.assert_array_equal(load(path)(frame), load(tmp_path / "one.onnx")(frame))
    settings, step = UpscalerSettings(f"onnx:{path}", 3), partial(Step, "", ("a",), tmp_path / "made", (path,))
    known = upscaler_record(settings)["sha256"], step().key
    weights = bytearray((tmp_path / "m" / "two.onnx.data").read_bytes())
    (tmp_path / "m" / "two.onnx.data").write_bytes(weights[::-1])  # as of another training
    assert not {upscaler_record(settings)["sha256"], step().key} & {*known}
    (tmp_path / "m" / "two.onnx.data").write_bytes(weights)
    assert (upscaler_record(settings)["sha256"], step().key) == known
    assert files_beside(path) == [tmp_path / "m" / "two.onnx.data"]
    (tmp_path / "m" / "two.onnx.data").rename(tmp_path / "two.onnx.data")
    with pytest.raises(InputError, match=r"two\.onnx: has weights in 'two\.onnx\.data', which is no file beside it"):
        load(path)
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            entry.value = "../two.onnx.data" if entry.key == "location" else entry.value
    path.write_bytes(model.SerializeToString())
    assert files_beside(path) == []
    with pytest.raises(InputError, match=r"has weights in '\.\./two\.onnx\.data', which is no file beside it"):
        load(path)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            entry.value = 300 * "a" if entry.key == "location" else entry.value
    path.write_bytes(model.SerializeToString())
    assert upscaler_record(settings)["sha256"] == sha256(path)  # no file can have the name
    with pytest.raises(InputError, match="which is no file beside it"):
        load(path)
