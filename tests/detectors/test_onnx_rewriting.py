"""Graphs of any opset and type give, once converted, what ONNX Runtime gives with the file; damaged ones are refused:
small members of each kind.
"""

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx2torch import convert
from onnxruntime.transformers.float16 import convert_float_to_float16
from torch import nn

from regenhance_data.detectors import onnx as onnx_detectors
from regenhance_data.detectors.loading import load_detector
from regenhance_data.detectors.onnx_graph import inputs_of, read_graph
from regenhance_data.detectors.onnx_operators import DOMAIN
from regenhance_data.detectors.onnx_rewriting import rewritten
from regenhance_data.detectors.settings import DetectorSettings
from regenhance_data.errors import InputError
from regenhance_data.io.onnx_files import check_network
from tests.support.detector_files import HW, as_half, relabelled, with_functions, with_metadata, write_layout
from tests.support.detectors import BLUE, RED, save_graph, squares, write_detector
from tests.support.files import ROOT
from tests.support.hostile_onnx import write_hostile

HOSTILE = ROOT.parent / "shared" / "cases" / "21_hostile"
SHAPE = (1, 3, 12, 16)
CPU = Path("/proc/cpuinfo")
# without VNNI, the runtimes of x86 cut sums of products of 8 bits at 16 bits, and their values are others
HAS_VNNI = not CPU.exists() or "avx" not in CPU.read_text() or "vnni" in CPU.read_text()


def load(path, **settings):
    return load_detector(DetectorSettings(f"onnx:{path}", **settings))


def assert_equal_to_onnx_runtime(path, shape=SHAPE, kind=np.float32, atol=1e-4):
    """Also: the gradient reaches the input."""
    model = read_graph(path)
    pixels = np.random.default_rng(0).random(shape, np.float32)
    if kind == np.uint8:
        pixels = np.floor(pixels * 255)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    expected = session.run(None, {session.get_inputs()[0].name: pixels.astype(kind)})
    given = torch.from_numpy(pixels.astype(kind).astype(np.float32)).requires_grad_()
    made = convert(rewritten(model, inputs_of(model, path), path)).eval()(given)
    made = made if isinstance(made, list | tuple) else [made]
    for wanted, one in zip(expected, made, strict=True):
        np.testing.assert_allclose(one.detach().numpy(), wanted.astype(np.float32), atol=atol, rtol=1e-3)
    (gradient,) = torch.autograd.grad(sum(one.sum() for one in made if one.requires_grad), given)
    assert gradient.any()


def save_nodes(path, nodes, constants, opset, shape=SHAPE, outputs=("output",)):
    """A graph of the nodes from `images` to the outputs, in an opset that onnx itself may not know."""
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)
    made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    weights = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "tiny", [images], made, weights)
    ir_version = 8 if opset < 19 else 10
    domains = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=domains, ir_version=ir_version), path)
    return path


@pytest.mark.parametrize("opset", [7, 8, 9, 11, 13, 16, 17, 18, 19, 20, 21, 22, 23])
def test_a_detector_of_any_opset_serves(tmp_path, opset):
    path = tmp_path / f"d{opset}.onnx"
    if opset < 18:
        write_layout(path, "yolov8", opset)
    else:
        relabelled(write_layout(tmp_path / "17.onnx", "yolov8", 17), path, opset)
    assert_equal_to_onnx_runtime(path, (1, 3, *HW))
    (found,) = load(path).detect(squares(*HW, (24, 40, RED), (56, 8, BLUE))[None])
    assert sorted(found.labels.tolist()) == [0, 1]


class Pieces(nn.Module):
    """Slices, pads, clamps, sums and resizes: operators whose attributes became inputs."""

    def forward(self, pixels):
        padded = nn.functional.pad(pixels[:, :, 1:, 2:-1], (1, 2, 0, 1)).clamp(0.1, 0.9)
        larger = nn.functional.interpolate(padded, scale_factor=2.0, mode="nearest")
        smooth = nn.functional.interpolate(padded, scale_factor=2.0, mode="bilinear")
        return larger, smooth.mean((2, 3)), padded.amax(1), padded.amax(), padded.topk(2, 1).values


@pytest.mark.parametrize("opset", [9, 10, 11, 13, 17, 18, 20])
def test_operators_whose_form_changed_give_the_same(tmp_path, opset):
    path = tmp_path / "d.onnx"
    torch.onnx.export(Pieces().eval(), torch.rand(SHAPE), str(path), opset_version=opset, dynamo=False)
    assert_equal_to_onnx_runtime(path)


class Clamps(nn.Module):
    """Clamps with one limit: of floats, of indices, and by a value that is computed."""

    def forward(self, pixels):
        where = pixels.topk(2, 3).indices.clamp(max=7)
        return pixels.clamp(min=0.5), pixels.clamp(max=0.4), pixels.gather(3, where), pixels.clamp(min=pixels.mean())


@pytest.mark.parametrize("opset", [12, 17, 18])
def test_clamps_with_one_limit_are_onnx_runtimes(tmp_path, opset):
    path = tmp_path / "d.onnx"
    torch.onnx.export(Clamps().eval(), torch.rand(SHAPE), str(path), opset_version=opset, dynamo=False)
    assert [node.op_type for node in onnx.load(path).graph.node].count("Clip") == 4
    assert_equal_to_onnx_runtime(path)


def test_a_clamp_without_limits_changes_nothing(tmp_path):
    nodes = [helper.make_node("Clip", ["images", "", ""], ["output"])]
    assert_equal_to_onnx_runtime(save_nodes(tmp_path / "d.onnx", nodes, {}, 17))


@pytest.mark.parametrize(
    ("opset", "mend"), [(18, r"again with opset=17 \(from PyTorch also dynamo=False\), or to Torch"), (17, "to Torch")]
)
def test_what_onnx2torch_lacks_names_another_form_than_the_file_has(tmp_path, opset, mend):
    nodes = [helper.make_node("Det", ["images"], ["output"])]
    with pytest.raises(InputError, match=rf"onnx2torch cannot make it differentiable \(.*\); export it {mend}Script"):
        load(save_nodes(tmp_path / "d.onnx", nodes, {}, opset, (1, 3, 64, 64)))


def test_an_average_over_a_value_of_unknown_rank_is_one_of_each_channel(tmp_path):
    nodes = [
        helper.make_node("Abs", ["shape"], ["sizes"]),
        helper.make_node("Reshape", ["images", "sizes"], ["same"]),
        helper.make_node("GlobalAveragePool", ["same"], ["output"]),
    ]
    assert_equal_to_onnx_runtime(save_nodes(tmp_path / "d.onnx", nodes, {"shape": np.array(SHAPE)}, 13))


@pytest.mark.parametrize("opset", [7, 8])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_operators_of_the_oldest_opsets_give_the_same(tmp_path, opset, mode):
    make = helper.make_node
    nodes = [
        make("Upsample", ["images"], ["larger"], mode=mode, scales=[1.0, 1.0, 2.0, 2.0]),
        make("Slice", ["larger"], ["part"], axes=[2, 3], starts=[1, 2], ends=[-1, 9]),
        make("Pad", ["part"], ["padded"], pads=[0, 0, 1, 0, 0, 0, 0, 2], mode="constant", value=0.5),
        make("Clip", ["padded"], ["clipped"], min=0.1, max=0.9),
        make("BatchNormalization", ["clipped", "two", "one", "one", "two"], ["normal"], epsilon=1e-3),
        make("Dropout", ["normal"], ["same"], ratio=0.5),
        make("MaxPool", ["same"], ["pooled"], kernel_shape=[2, 2], strides=[2, 2]),
        make("ReduceSum", ["pooled"], ["sum"], axes=[2], keepdims=0),
        make("Unsqueeze", ["sum"], ["deep"], axes=[1]),
        make("TopK", ["deep"], ["output", "where"], axis=3, k=2),
    ]
    constants = {"one": np.full(3, 1, np.float32), "two": np.full(3, 2, np.float32)}
    assert_equal_to_onnx_runtime(save_nodes(tmp_path / "d.onnx", nodes, constants, opset))


RESIZES = [
    (mode, how, rounding)
    for mode in ("nearest", "linear")
    for how in ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel")
    for rounding in (("floor", "ceil", "round_prefer_floor", "round_prefer_ceil") if mode == "nearest" else ("floor",))
]


@pytest.mark.parametrize("opset", [13, 18])
@pytest.mark.parametrize(("mode", "how", "rounding"), RESIZES)
def test_every_mode_of_resize_is_onnx_runtimes(tmp_path, mode, how, rounding, opset):
    attributes = {"mode": mode, "coordinate_transformation_mode": how, "nearest_mode": rounding}
    for number, sizes in enumerate([(1, 3, 30, 24), (1, 3, 7, 9)]):
        nodes = [helper.make_node("Resize", ["images", "", "", "sizes"], ["output"], **attributes)]
        path = save_nodes(tmp_path / f"d{number}.onnx", nodes, {"sizes": np.array(sizes)}, opset)
        assert_equal_to_onnx_runtime(path)


PER_CHANNEL = np.array([0.5, 1.0, 1.5], np.float32)
OF_18 = {
    "reduce": (
        [helper.make_node("ReduceMax", ["images", "axes"], ["output"], keepdims=0)],
        {"axes": np.array([1, -1])},
    ),
    "no_axes": ([helper.make_node("ReduceMean", ["images"], ["output"], noop_with_empty_axes=1)], {}),
    "split": ([helper.make_node("Split", ["images"], ["output", "rest"], axis=3, num_outputs=2)], {}),
    "axes": (
        [helper.make_node("Resize", ["images", "", "twice"], ["output"], axes=[2, 3], mode="linear")],
        {"twice": np.array([2, 2], np.float32)},
    ),
    "pad": (
        [helper.make_node("Pad", ["images", "pads", "", "axes"], ["output"])],
        {"pads": np.array([1, 2]), "axes": np.array([3])},
    ),
    "reshape": (
        [helper.make_node("Reshape", ["images", "shape"], ["output"], allowzero=1)],
        {"shape": np.array([1, 3, -1])},
    ),
    "computed_reshape": (
        [
            helper.make_node("Shape", ["images"], ["frames"], end=1),
            helper.make_node("Concat", ["frames", "rest"], ["shape"], axis=0),
            helper.make_node("Reshape", ["images", "shape"], ["output"], allowzero=1),
        ],
        {"rest": np.array([-1])},
    ),
    "mish": ([helper.make_node("Mish", ["images"], ["output"])], {}),
    "group_norm": (
        [helper.make_node("GroupNormalization", ["images", "scale", "bias"], ["output"], num_groups=3)],
        {"scale": PER_CHANNEL, "bias": PER_CHANNEL},
    ),
}
OF_20 = {
    "gelu": ([helper.make_node("Gelu", ["images"], ["output"], approximate="tanh")], {}),
    "sample": (
        [helper.make_node("GridSample", ["images", "grid"], ["output"], mode="linear", padding_mode="border")],
        {"grid": np.random.default_rng(0).uniform(-1.2, 1.2, (1, 5, 6, 2)).astype(np.float32)},
    ),
    "scatter": (
        [helper.make_node("ScatterElements", ["images", "index", "update"], ["output"], axis=3, reduction="add")],
        {"index": np.zeros((1, 3, 12, 1), np.int64), "update": np.ones((1, 3, 12, 1), np.float32)},
    ),
}


@pytest.mark.parametrize(
    ("name", "opset"), [(name, opset) for name in OF_18 for opset in (18, 21)] + [(name, 20) for name in OF_20]
)
def test_operators_of_later_opsets_are_onnx_runtimes(tmp_path, name, opset):
    nodes, constants = (OF_18 | OF_20)[name]
    outputs = ("output", "rest") if name == "split" else ("output",)
    shape = (1, 3, 12, 17) if name == "split" else SHAPE
    assert_equal_to_onnx_runtime(save_nodes(tmp_path / "d.onnx", nodes, constants, opset, shape, outputs), shape)


def test_what_only_a_later_opset_has_names_the_opset_to_export_with(tmp_path):
    nodes = [helper.make_node("Attention", ["images", "images", "images"], ["output"])]
    path = save_nodes(tmp_path / "d.onnx", nodes, {}, 23)
    with pytest.raises(InputError, match="has the operator Attention of opset 23; export it again with opset=17"):
        load(path)


@pytest.mark.parametrize("layout", ["yolov8", "end_to_end", "yolov8_seg"])
def test_a_float16_graph_runs_in_float32(tmp_path, layout):
    path = as_half(write_layout(tmp_path / "d.onnx", layout), tmp_path / "half.onnx")
    assert_equal_to_onnx_runtime(path, (1, 3, *HW), np.float16, atol=0.1)
    (found,) = load(path).detect(squares(*HW, (24, 40, RED), (56, 8, BLUE))[None])
    assert sorted(found.labels.tolist()) == [0, 1]


@pytest.mark.parametrize("keep_io_types", [True, False])
@pytest.mark.parametrize("layout", ["yolov8", "end_to_end", "yolov8_seg", "rtdetr_labels"])
def test_a_file_of_the_usual_converter_to_float16_runs_in_float32(tmp_path, layout, keep_io_types):
    made = convert_float_to_float16(onnx.load(write_layout(tmp_path / "d.onnx", layout)), keep_io_types=keep_io_types)
    onnx.save(made, tmp_path / "half.onnx")
    assert any(tensor.data_type == TensorProto.FLOAT16 for tensor in made.graph.initializer)
    (found,) = load(tmp_path / "half.onnx").detect(squares(*HW, (24, 40, RED), (56, 8, BLUE))[None])
    assert sorted(found.labels.tolist()) == [0, 1]


def test_the_order_of_a_files_nodes_does_not_matter(tmp_path):
    path = write_layout(tmp_path / "d.onnx", "yolov8")
    model = onnx.load(path)
    nodes = [*reversed(model.graph.node)]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, path)
    assert_equal_to_onnx_runtime(path, (1, 3, *HW))
    assert check_network(path, read_graph(path), {"images": (1, 3, *HW)}) is None  # its sizes are known before it runs


def quantised(path, form):
    """A convolution between quantised activations: with Q/DQ nodes, or as QLinearConv."""
    rng = np.random.default_rng(0)
    constants = {
        "scale": np.float32(1 / 255),
        "zero": np.uint8(0),
        "weights": rng.integers(-100, 100, (4, 3, 3, 3)).astype(np.int8),
        "weight_scale": rng.uniform(0.001, 0.01, 4).astype(np.float32),
        "weight_zero": np.zeros(4, np.int8),
        "out_scale": np.float32(0.05),
        "out_zero": np.uint8(128),
        "bias": np.zeros(4, np.int32),
    }
    weights, out = ["weights", "weight_scale", "weight_zero"], ["out_scale", "out_zero"]
    nodes = [helper.make_node("QuantizeLinear", ["images", "scale", "zero"], ["q"])]
    if form == "qdq":
        nodes += [
            helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["x"]),
            helper.make_node("DequantizeLinear", weights, ["w"], axis=0),
            helper.make_node("Conv", ["x", "w"], ["y"], kernel_shape=[3, 3]),
            helper.make_node("QuantizeLinear", ["y", *out], ["z"]),
        ]
    else:
        nodes += [helper.make_node("QLinearConv", ["q", "scale", "zero", *weights, *out, "bias"], ["z"])]
        nodes += [helper.make_node("QLinearAdd", ["z", *out, "z", *out, "sum_scale", "out_zero"], ["zz"])]
        nodes[-1].domain = "com.microsoft"
        constants["sum_scale"] = np.float32(0.1)
    last = ["z", *out] if form == "qdq" else ["zz", "sum_scale", "out_zero"]
    nodes += [helper.make_node("DequantizeLinear", last, ["output"])]
    return save_nodes(path, nodes, constants, 13)


@pytest.mark.skipif(not HAS_VNNI, reason="this processor cuts sums of 8 bits at 16")
@pytest.mark.parametrize("form", ["qdq", "qlinear"])
def test_static_quantisation_gives_onnx_runtimes_values_and_a_gradient(tmp_path, form):
    step = 0.05 if form == "qdq" else 0.1
    assert_equal_to_onnx_runtime(quantised(tmp_path / "d.onnx", form), atol=1.01 * step)


def test_dynamic_quantisation_is_refused_with_what_to_give(tmp_path):
    nodes = [helper.make_node("DynamicQuantizeLinear", ["images"], ["q", "s", "z"])]
    nodes += [helper.make_node("DequantizeLinear", ["q", "s", "z"], ["output"])]
    with pytest.raises(InputError, match=r"is dynamically quantised, .*; give the float file"):
        load(save_nodes(tmp_path / "d.onnx", nodes, {}, 13))


def test_loops_and_plug_ins_are_refused_by_name(tmp_path):
    body = helper.make_graph([], "body", [], [])
    loop = [helper.make_node("Loop", ["", ""], ["output"], body=body)]
    with pytest.raises(InputError, match="has Loop, which may run for ever; export the network alone"):
        load(save_nodes(tmp_path / "loop.onnx", loop, {}, 13))
    nms = [helper.make_node("EfficientNMS_TRT", ["images"], ["output"], domain="TRT")]
    with pytest.raises(InputError, match="has the operator EfficientNMS_TRT of TRT, which only its own engine runs"):
        load(save_nodes(tmp_path / "nms.onnx", nms, {}, 13))


@pytest.mark.parametrize("kind", [np.int64, np.float32, np.float16, np.uint8])
@pytest.mark.parametrize("cut", [1, 3])
def test_a_tensor_with_too_few_bytes_is_refused_before_anything_reads_it(tmp_path, kind, cut):
    tensor = numpy_helper.from_array(np.zeros(4, kind), "four")
    tensor.raw_data = tensor.raw_data[:-cut]
    model = onnx.load(write_detector(tmp_path / "d.onnx", "yolov8", HW))
    model.graph.initializer.append(tensor)
    onnx.save(model, tmp_path / "cut.onnx")
    with pytest.raises(InputError, match=r"cut.onnx: is damaged: four has \d+ of \d+ bytes"):
        load(tmp_path / "cut.onnx")


def test_a_value_that_needs_more_memory_than_there_is_is_refused(tmp_path):
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["huge"]),
        helper.make_node("Add", ["images", "huge"], ["output"]),
    ]
    path = tmp_path / "d.onnx"
    save_graph(path, nodes, {"shape": np.array([2000, 3, 1000, 1000])}, SHAPE, {})
    with pytest.raises(InputError, match=r"ConstantOfShape asks for 6e\+09 values in huge \(at most"):
        load(path)


def test_the_limit_grows_with_the_frames_that_a_detector_takes(tmp_path):
    nodes = [
        helper.make_node("Tile", ["images", "by"], ["tiled"]),
        helper.make_node("ReduceMax", ["tiled"], ["most"], keepdims=0),
        helper.make_node("Add", ["images", "most"], ["output"]),
    ]
    path = tmp_path / "d.onnx"
    for times, is_too_much in ((400, False), (600, True)):
        save_graph(path, nodes, {"by": np.array([times, 1, 1, 1])}, (1, 3, "h", "w"), {})
        sizes = {"images": (1, 3, 1280, 1280)}
        with pytest.raises(InputError, match="Tile asks for") if is_too_much else nullcontext():
            assert check_network(path, onnx.load(path), sizes) is None


@pytest.mark.parametrize("name", ["computed size", "unknown size", "lying", "doubled", "slow", "function", "sparse"])
def test_a_detector_that_asks_for_too_much_is_refused_in_one_line(tmp_path, name):
    path = with_metadata(write_hostile(tmp_path / "d.onnx", name), {})
    with pytest.raises(InputError, match=r"d\.onnx: "):
        load(path)


def test_what_onnx2torch_takes_for_something_else_is_refused(tmp_path, monkeypatch):
    path = write_detector(tmp_path / "d.onnx", "yolov8", HW)
    model = onnx.load(path)
    model.graph.node.append(helper.make_node("Cos", ["images"], ["more"]))
    model.graph.output.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, None))
    onnx.save(model, path)
    assert load(path)

    def wrong(*given):
        made = rewritten(*given)
        made.graph.node[-1].op_type = "Sin"
        return made

    monkeypatch.setattr(onnx_detectors, "rewritten", wrong)
    with pytest.raises(InputError, match="its output 'more' differs from ONNX Runtime's"):
        load(path)


@pytest.mark.parametrize("layout", ["yolov8", "yolov8_transposed", "yolov5", "end_to_end", "corners"])
def test_scores_that_are_wrong_beside_boxes_in_pixels_are_seen(tmp_path, monkeypatch, layout):
    path = write_layout(tmp_path / "d.onnx", layout)
    assert load(path)

    def wrong(*given):
        made = rewritten(*given)
        for node in made.graph.node:
            node.op_type = {"Sigmoid": "Tanh"}.get(node.op_type, node.op_type)
        return made

    monkeypatch.setattr(onnx_detectors, "rewritten", wrong)
    with pytest.raises(InputError, match="differs from ONNX Runtime's"):
        load(path)


def test_operators_that_a_file_defines_itself_are_replaced_by_what_they_consist_of(tmp_path):
    path = with_functions(write_layout(tmp_path / "d.onnx", "yolov8"), tmp_path / "functions.onnx", "Sigmoid")
    assert {node.domain for node in onnx.load(path).graph.node} == {"", "pkg.onnxscript.torch_lib"}
    (found,) = load(path).detect(squares(*HW, (24, 40, RED), (56, 8, BLUE))[None])
    assert len(found.boxes) == 2


@pytest.mark.parametrize(
    ("kind", "inputs", "white"),
    [
        ("Div", ("images", "by"), 255.0),
        ("Div", ("by", "images"), None),
        ("Mul", ("images", "share"), 255.0),
        ("Mul", ("share", "images"), 255.0),
    ],
)
def test_only_pixels_that_are_divided_by_255_are_of_0_to_255(tmp_path, kind, inputs, white):
    nodes = [helper.make_node(kind, inputs, ["output"])]
    path = save_nodes(tmp_path / "d.onnx", nodes, {"by": np.float32(255), "share": np.float32(1 / 255)}, 17)
    assert inputs_of(read_graph(path), path).white == white


@pytest.mark.parametrize("name", ["strides", "group"])
def test_a_convolution_with_steps_of_zero_is_refused_before_onnx_divides_by_them(tmp_path, name):
    model = onnx.load(write_detector(tmp_path / "d.onnx", "yolov8", HW))
    node = next(node for node in model.graph.node if node.op_type == "Conv")
    node.attribute.append(helper.make_attribute(name, [0, 0] if name == "strides" else 0))
    onnx.save(model, tmp_path / "d.onnx")
    with pytest.raises(InputError, match=f"is damaged: a Conv has {name}"):
        load(tmp_path / "d.onnx")


def test_nodes_without_their_inputs_are_refused(tmp_path):
    path = tmp_path / "d.onnx"
    save_graph(path, [helper.make_node("Slice", ["images"], ["output"])], {}, SHAPE, {})
    with pytest.raises(InputError, match=r"d.onnx: "):
        load(path)


@pytest.mark.skipif(not HOSTILE.is_dir(), reason="the shared cases are not here")
def test_the_shared_hostile_file_is_refused():
    with pytest.raises(InputError, match="is damaged"):
        load(HOSTILE / "detector_int64_constant_cut.onnx")


def test_operators_of_this_kit_have_a_domain_of_their_own():
    assert DOMAIN not in ("", "ai.onnx")


@pytest.mark.parametrize("is_nested", [False, True])
def test_a_function_that_calls_itself_is_refused_in_one_line(tmp_path, is_nested):
    model = onnx.load(with_functions(write_layout(tmp_path / "a.onnx", "yolov8"), tmp_path / "f.onnx", "Sigmoid"))
    body = model.functions[0].node
    call = helper.make_node(model.functions[0].name, list(body[0].input), ["again"], domain=model.functions[0].domain)
    if is_nested:
        branch = helper.make_graph([call], "branch", [], [helper.make_tensor_value_info("again", 1, None)])
        call = helper.make_node("If", list(body[0].input), ["other"], then_branch=branch, else_branch=branch)
    body.append(call)
    onnx.save(model, tmp_path / "recursive.onnx")
    with pytest.raises(InputError, match=r"recursive\.onnx: "):
        load_detector(DetectorSettings(spec=f"onnx:{tmp_path / 'recursive.onnx'}"))
