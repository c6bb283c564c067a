import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from deploy.artifacts.onnx import read_onnx
from deploy.backends.registry import load_predictor
from regenhance_data.errors import InputError
from regenhance_data.io.onnx_files import content_problem, demand_of
from tests.support.hostile_onnx import HOSTILE, write_hostile
from tests.support.predictors import HEIGHT, WIDTH, red_network, write_red_predictor

UNKNOWN = [name for name, (_, says) in HOSTILE.items() if not says]
REFUSED = [name for name in HOSTILE if name not in UNKNOWN]
KINDS = sorted(set(TensorProto.DataType.values()) - {TensorProto.UNDEFINED})


@pytest.mark.parametrize("name", REFUSED)
def test_a_graph_that_asks_for_too_much_is_refused_before_an_engine_reads_it(tmp_path, name):
    path = write_hostile(tmp_path / "hostile.onnx", name)
    with pytest.raises(InputError, match=HOSTILE[name][1]) as refusal:
        read_onnx(path)
    assert str(refusal.value).startswith(f"{path}: ")


@pytest.mark.parametrize("name", UNKNOWN)
def test_a_graph_whose_demand_is_not_known_is_tried_within_limits(tmp_path, name):
    path = write_hostile(tmp_path / "hostile.onnx", name)
    assert not read_onnx(path).is_moderate
    with pytest.raises(InputError, match=r"hostile\.onnx: (does not|loading it)"):
        load_predictor(path)


def test_what_the_kit_exports_is_known_to_be_moderate(tmp_path):
    for head in ("macroblock", "pixels"):
        for batch in (1, 3, -1):
            assert read_onnx(write_red_predictor(tmp_path / "m.onnx", batch, head)).is_moderate


@given(st.sampled_from(KINDS), st.lists(st.integers(0, 4), max_size=3))
def test_a_tensor_that_onnx_wrote_is_whole_and_one_that_lost_a_byte_is_not(kind, dims):
    model = red_network(HEIGHT, WIDTH)
    count = int(np.prod(dims))
    if kind == TensorProto.STRING:
        tensor = helper.make_tensor("t", kind, dims, [b"x"] * count)
    else:
        tensor = helper.make_tensor("t", kind, dims, [1] * count)
    model.graph.initializer.append(tensor)
    assert content_problem(model) == ""
    if count and kind in (TensorProto.FLOAT, TensorProto.INT64, TensorProto.FLOAT16, TensorProto.BOOL):
        raw = numpy_helper.from_array(numpy_helper.to_array(tensor), "t")
        model.graph.initializer[-1].CopyFrom(raw)
        assert content_problem(model) == ""
        model.graph.initializer[-1].raw_data = raw.raw_data[:-1]
        assert content_problem(model) == f"t has {len(raw.raw_data) - 1} of {len(raw.raw_data)} bytes"


@given(st.integers(1, 2**40), st.integers(1, 2**40))
def test_whatever_the_size_of_a_constant_no_large_one_is_taken_for_moderate(height, width):
    node = helper.make_node("ConstantOfShape", ["size"], ["y"])
    port = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1])
    given = helper.make_tensor_value_info("x", TensorProto.UINT8, [1, 16, 16, 3])
    size = numpy_helper.from_array(np.array([height, width]), "size")
    model = helper.make_model(helper.make_graph([node], "g", [given], [port], [size]))
    demand = demand_of(model)
    if height * width > 2**28:
        assert demand.problem or not demand.is_known
    else:
        assert (demand.is_known, demand.problem) == (True, "")


def test_a_file_that_is_cut_anywhere_is_refused_in_one_line(tmp_path):
    whole = write_red_predictor(tmp_path / "m.onnx").read_bytes()
    for end in range(0, len(whole), 97):
        (tmp_path / "cut.onnx").write_bytes(whole[:end])
        with pytest.raises(InputError, match=r"cut\.onnx: "):
            read_onnx(tmp_path / "cut.onnx")


def test_a_model_of_sequences_is_no_predictor(tmp_path):
    model = onnx.load(write_red_predictor(tmp_path / "m.onnx"))
    model.graph.node.append(helper.make_node("SequenceMap", ["s"], ["t"], body=model.graph))
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match="has SequenceMap, which no predictor has"):
        read_onnx(tmp_path / "m.onnx")
