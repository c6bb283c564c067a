import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from deploy.artifacts.onnx import read_onnx
from deploy.backends.registry import CPU_BACKENDS, load_predictor
from deploy.export.graph import KIT_NODE, predictor_graph
from deploy.export.precision import INT8_MEAN_ERROR, half, in_precision, quantised
from deploy.export.tensorrt_check import problems
from regenhance_data.grid import MacroblockGrid
from tests.support.files import noise
from tests.support.predictors import NORMALISATION, metadata_of

HEIGHT, WIDTH = 61, 83
FRAMES = np.stack(noise(6, HEIGHT, WIDTH))


def network(seed=0, batch=1, gain=1.0, spread=1.0):
    """Two convolutions, a residual sum and an upsampling; the second convolution's values are `gain` times as large."""
    rng = np.random.default_rng(seed)
    weights = {
        "w1": rng.normal(0, 0.4, (8, 3, 4, 4)),
        "w2": rng.normal(0, 0.3 * gain, (8, 8, 1, 1)) * np.geomspace(1, spread, 8).reshape(8, 1, 1, 1),
        "w3": rng.normal(0, 1 / gain, (4, 8, 1, 1)) / np.geomspace(1, spread, 8).reshape(1, 8, 1, 1),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], strides=[4, 4]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w2"], ["c"]),
        helper.make_node("Conv", ["c", "w3"], ["d"]),
        helper.make_node("Resize", ["d", "", "", "size"], ["y"], mode="linear"),
    ]
    constants = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    constants.append(numpy_helper.from_array(np.array([1, 4, HEIGHT, WIDTH]), "size"))
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, HEIGHT, WIDTH])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 4, HEIGHT, WIDTH])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def predictor(**settings):
    grid = MacroblockGrid(HEIGHT, WIDTH)
    return predictor_graph(network(**settings), NORMALISATION, "macroblock", grid, metadata_of("m", "macroblock", grid))


def importance(model, folder, backend="onnxruntime", frames=FRAMES):
    path = folder / "m.onnx"
    onnx.save(model, path)
    return load_predictor(path, backend).predict(frames)


@pytest.mark.parametrize("batch", [1, 4, "N"])
@pytest.mark.parametrize(("precision", "tolerance"), [("fp16", 1e-2), ("int8", 5e-2)])
def test_another_precision_says_nearly_the_same_in_every_runtime(precision, tolerance, batch, tmp_path):
    model = predictor(batch=batch)
    expected = importance(model, tmp_path)
    assert np.ptp(expected) > 0.1
    made, _ = in_precision(model, precision, FRAMES)
    assert problems(made) == []
    for backend in CPU_BACKENDS:
        found = importance(made, tmp_path, backend)
        assert np.abs(found - expected).max() < tolerance
        assert np.abs(found - expected).max() > 0
    assert read_onnx(tmp_path / "m.onnx").metadata == metadata_of("m", "macroblock", MacroblockGrid(HEIGHT, WIDTH))


def test_half_precision_is_of_the_network_alone():
    content, kept = half(predictor().SerializeToString(), FRAMES)
    model = onnx.load_model_from_string(content)
    assert kept == []
    weights = [t for t in model.graph.initializer if len(t.dims) == 4 and t.dims[0] in (4, 8)]
    assert len(weights) == 3
    assert {t.data_type for t in weights} == {TensorProto.FLOAT16}
    types = {t.name: t.data_type for t in model.graph.initializer}
    for node in model.graph.node:
        if node.name.startswith(KIT_NODE):
            assert TensorProto.FLOAT16 not in {types.get(name) for name in node.input}
    ports = [port.type.tensor_type.elem_type for port in (*model.graph.input, *model.graph.output)]
    assert ports == [TensorProto.UINT8, TensorProto.FLOAT]


def test_what_would_overflow_half_precision_stays_float32(tmp_path):
    model = predictor(gain=1e5)
    expected = importance(model, tmp_path)
    content, kept = half(model.SerializeToString(), FRAMES)
    made = onnx.load_model_from_string(content)
    producers = {node.name: node.op_type for node in model.graph.node}
    assert [producers[name] for name in kept] == ["Conv", "Conv"]
    np.testing.assert_allclose(importance(made, tmp_path), expected, atol=1e-2)


def test_eight_bits_are_symmetric_and_of_weights_per_channel():
    content, kept = quantised(predictor().SerializeToString(), FRAMES)
    model = onnx.load_model_from_string(content)
    assert kept == []
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    dequantised = [node for node in model.graph.node if node.op_type == "DequantizeLinear"]
    of_weights = [node for node in dequantised if node.input[0] in constants]
    assert sorted(constants[node.input[1]].size for node in of_weights) == [4, 8, 8]
    # what processors without VNNI add up exactly
    assert {int(np.abs(constants[node.input[0]]).max()) for node in of_weights} == {64}
    assert all(not constants[node.input[2]].any() and constants[node.input[2]].dtype == np.int8 for node in dequantised)
    assert all(node.op_type != "DequantizeLinear" or not node.name.startswith(KIT_NODE) for node in model.graph.node)


def test_layers_that_eight_bits_would_spoil_stay_float32(tmp_path):
    # channels of one activation that are a thousand times apart: one scale cannot hold them
    model = predictor(spread=1000.0)
    expected = importance(model, tmp_path)
    content, kept = quantised(model.SerializeToString(), FRAMES)
    made = onnx.load_model_from_string(content)
    assert 1 <= len(kept) < 3
    error = np.abs(importance(made, tmp_path) - expected).mean()
    assert error <= 2 * INT8_MEAN_ERROR


def test_an_integer_that_the_network_makes_a_float_is_not_skipped(tmp_path):
    # ArgMax → Cast → a product that outgrows half precision
    made = network()
    made.graph.node[4].output[0] = "full"
    made.graph.node.extend(
        [
            helper.make_node("ArgMax", ["full"], ["at"], axis=1, keepdims=1),
            helper.make_node("Cast", ["at"], ["level"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["level", "large"], ["far"]),
            helper.make_node("Mul", ["far", "small"], ["near"]),
            helper.make_node("Add", ["full", "near"], ["y"]),
        ]
    )
    for name, value in (("large", 1e6), ("small", 1e-6)):
        made.graph.initializer.append(numpy_helper.from_array(np.float32(value), name))
    grid = MacroblockGrid(HEIGHT, WIDTH)
    model = predictor_graph(made, NORMALISATION, "pixels", grid, metadata_of("m", "pixels", grid))
    expected = importance(model, tmp_path)
    content, kept = half(model.SerializeToString(), FRAMES)
    assert kept
    # a pixel here and there has another largest level
    assert np.abs(importance(onnx.load_model_from_string(content), tmp_path) - expected).mean() < 1e-2
