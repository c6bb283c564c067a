import gc
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from deploy import onnx2trt
from deploy.artifacts.engine import read_sidecar, sidecar_path
from deploy.artifacts.onnx import read_onnx
from deploy.backends.cuda import gpu_name
from deploy.backends.registry import load_predictor
from deploy.export.graph import predictor_graph
from deploy.export.precision import in_precision
from deploy.export.tensorrt_check import problems
from deploy.serving.triton import ANY
from regenhance_data.errors import InputError
from regenhance_data.grid import MacroblockGrid
from tests.support.files import noise
from tests.support.predictors import HEIGHT, NORMALISATION, WIDTH, red_network, write_engine, write_red_predictor
from tests.support.tensorrt_double import MISSING, Double

VERSIONS = list(MISSING)
FRAMES = np.stack(noise(5, HEIGHT, WIDTH))


@pytest.fixture
def tensorrt(monkeypatch):
    return Double().install(monkeypatch)


def build(*words):
    onnx2trt.main(onnx2trt.make_parser().parse_args([str(word) for word in words]))


def built(path, *flags, batch=1, head="macroblock"):
    """A predictor's ONNX file and the engine of it."""
    write_red_predictor(path, batch, head)
    build("--onnx", path, *flags)
    return path, path.with_suffix(".engine")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("batch", "head"), [(1, "macroblock"), (3, "macroblock"), (ANY, "macroblock"), (1, "pixels")])
def test_an_engine_says_what_its_onnx_file_says(version, batch, head, tmp_path, monkeypatch):
    double = Double(version).install(monkeypatch)
    onnx_path, engine = built(tmp_path / "m.onnx", batch=batch, head=head)
    predictor = load_predictor(engine)
    assert (predictor.backend, predictor.metadata) == ("tensorrt", read_onnx(onnx_path).metadata)
    expected = load_predictor(onnx_path).predict(FRAMES)
    for _ in range(3):  # plain, captured, replayed
        np.testing.assert_allclose(predictor.predict(FRAMES), expected, atol=1e-6)
    assert len(double.called("cudaGraphLaunch")) > 1
    assert len(double.called("ICudaEngine.create_execution_context")) == 1


def test_a_batch_of_another_size_has_a_graph_of_its_own(tensorrt, tmp_path):
    path, engine = built(tmp_path / "m.onnx", batch=ANY)
    predictor = load_predictor(engine, batch_size=2)
    expected = load_predictor(path).predict(FRAMES)
    for count in (2, 4, 5, 5, 1, 1, 1, 4, 4):
        np.testing.assert_allclose(predictor.predict(FRAMES[:count]), expected[:count], atol=1e-6)
    made, gone = (len(tensorrt.called(f"cuda{name}")) for name in ("GraphInstantiate", "GraphExecDestroy"))
    assert made > 2
    assert gone in (made, made - 1)


def test_an_engine_that_lets_nobody_capture_it_runs_without_a_graph(tensorrt, tmp_path):
    from cuda.bindings import runtime

    path, engine = built(tmp_path / "m.onnx")
    tensorrt.refuses["cudaStreamEndCapture"] = runtime.cudaError_t.cudaErrorStreamCaptureUnsupported
    predictor = load_predictor(engine)
    np.testing.assert_allclose(predictor.predict(FRAMES), load_predictor(path).predict(FRAMES), atol=1e-6)
    assert not tensorrt.called("cudaGraphLaunch")


def test_what_was_allocated_is_freed_when_there_is_not_enough(tensorrt, tmp_path):
    from cuda.bindings import runtime

    _, engine = built(tmp_path / "m.onnx")
    tensorrt.refuses["cudaMalloc"] = runtime.cudaError_t.cudaErrorMemoryAllocation
    with pytest.raises(InputError, match="cudaErrorMemoryAllocation; a smaller batch"):
        load_predictor(engine)
    gc.collect()
    for made, freed in (("cudaHostAlloc", "cudaFreeHost"), ("cudaStreamCreateWithFlags", "cudaStreamDestroy")):
        assert len(tensorrt.called(made)) == len(tensorrt.called(freed)) == 1


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_types_are_the_graphs_own(version, precision, tmp_path, monkeypatch):
    double = Double(version).install(monkeypatch)
    path = write_red_predictor(tmp_path / "m.onnx")
    model = onnx.load(path)
    next(entry for entry in model.metadata_props if entry.key == "precision").value = precision
    onnx.save(model, path)
    build("--onnx", path, "--workspace_mib", 64)
    trt = double.module
    [(flags,)] = double.called("Builder.create_network")
    if version == "8.6.1":  # which knows no strong typing, has to be allowed what the graph has, and held to it
        assert flags == 1 << trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH
        allowed = [flag.full_name.split(".")[1] for (flag,) in double.called("IBuilderConfig.set_flag")]
        obey = "OBEY_PRECISION_CONSTRAINTS"
        assert allowed == {"fp32": [], "fp16": ["FP16", obey], "int8": ["INT8", obey]}[precision]
        held = [kind.full_name for _, kind in double.called("ILayer.set_output_type")]
        assert held == (["DataType.FLOAT"] if precision == "fp16" else [])
    else:
        assert flags == 1 << trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED
        assert not double.called("IBuilderConfig.set_flag")
    assert [flag.full_name for (flag,) in double.called("IBuilderConfig.clear_flag")] == ["BuilderFlag.TF32"]
    [(pool, size)] = double.called("IBuilderConfig.set_memory_pool_limit")
    assert (pool.full_name, size) == ("MemoryPoolType.WORKSPACE", 64 << 20)
    assert read_sidecar(path.with_suffix(".engine")).precision == precision


def test_the_sidecar_says_of_what_and_for_what(tensorrt, tmp_path):
    path, engine = built(tmp_path / "m.onnx", "--batch", 1, 2, 4, batch=ANY)
    sidecar = json.loads(sidecar_path(engine).read_text())
    assert (sidecar["tensorrt"], sidecar["gpu"]) == ("10.13.0.35", "NVIDIA Double (9.0)")
    assert [sidecar[f"{name}_batch"] for name in ("min", "opt", "max")] == [1, 2, 4]
    assert sidecar["input_hw"] == [HEIGHT, WIDTH]
    assert sidecar["metadata"] == read_onnx(path).metadata
    assert [load_predictor(engine, batch_size=size).batch for size in (None, 1, 4)] == [2, 1, 4]
    with pytest.raises(InputError, match="takes 1 to 4 frames at once, not 5"):
        load_predictor(engine, batch_size=5)


def test_a_batch_below_the_smallest_is_filled_up(tensorrt, tmp_path):
    path, engine = built(tmp_path / "m.onnx", "--batch", 2, 2, 4, batch=ANY)
    predictor = load_predictor(engine, batch_size=2)
    np.testing.assert_allclose(predictor.predict(FRAMES), load_predictor(path).predict(FRAMES), atol=1e-6)
    shapes = {shape[0] for _, shape in tensorrt.called("IExecutionContext.set_input_shape")}
    assert shapes == {2}


def test_timings_are_remembered(tensorrt, tmp_path):
    for expected in (b"+", b"++"):
        built(tmp_path / "m.onnx", "--timing_cache", tmp_path / "timings")
        assert (tmp_path / "timings").read_bytes() == expected
    tensorrt.refuses["IBuilderConfig.set_timing_cache"] = False
    with pytest.raises(InputError, match="timings: is not a timing cache of this GPU"):
        built(tmp_path / "m.onnx", "--timing_cache", tmp_path / "timings")


def test_threads_have_streams_of_their_own(tensorrt, tmp_path):
    path, engine = built(tmp_path / "m.onnx", batch=ANY)
    predictor = load_predictor(engine, batch_size=2)
    clips = [np.stack(noise(7, HEIGHT, WIDTH, seed)) for seed in range(4)]
    reference = load_predictor(path)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(predictor.predict, clips * 3))
    for importance, clip in zip(found, clips * 3, strict=True):
        np.testing.assert_allclose(importance, reference.predict(clip), atol=1e-6)
    contexts = tensorrt.called("ICudaEngine.create_execution_context")
    assert 1 <= len(contexts) == len(tensorrt.called("cudaStreamCreateWithFlags")) <= 5
    del predictor
    assert len(tensorrt.called("cudaFree")) == len(tensorrt.called("cudaMalloc"))
    assert len(tensorrt.called("cudaFreeHost")) == len(tensorrt.called("cudaHostAlloc"))


@pytest.mark.parametrize(
    ("call", "result", "says"),
    [
        ("OnnxParser.parse", False, "does not parse it"),
        ("Builder.build_serialized_network", None, "builds no engine of it"),
        ("cudaGetDeviceProperties", 100, "CUDA says cudaErrorNoDevice"),
    ],
)
def test_what_does_not_build_is_told_and_nothing_is_written(call, result, says, tensorrt, tmp_path):
    from cuda.bindings import runtime

    tensorrt.refuses[call] = runtime.cudaError_t(result) if call.startswith("cuda") else result
    path = write_red_predictor(tmp_path / "m.onnx")
    with pytest.raises(InputError, match=says):
        build("--onnx", path)
    assert [file.name for file in tmp_path.iterdir()] == ["m.onnx"]


def test_an_engine_of_another_gpu_tensorrt_or_file_is_refused(tensorrt, tmp_path, monkeypatch):
    _, engine = built(tmp_path / "m.onnx")
    Double("11.4.0").install(monkeypatch)
    with pytest.raises(InputError, match=r"was built for TensorRT 10\.13\.0\.35, here is 11\.4\.0"):
        load_predictor(engine)
    Double(gpu="NVIDIA Other").install(monkeypatch)
    with pytest.raises(InputError, match=r"was built for GPU NVIDIA Double \(9\.0\), here is NVIDIA Other"):
        load_predictor(engine)
    tensorrt.install(monkeypatch)
    for call, result, says in (
        ("Runtime.deserialize_cuda_engine", None, "does not load it"),
        ("ICudaEngine.create_execution_context", None, "no execution context"),
        ("IExecutionContext.execute_async_v3", False, "does not run the engine"),
    ):
        tensorrt.refuses = {call: result}
        with pytest.raises(InputError, match=says):
            load_predictor(engine)
    tensorrt.refuses = {}
    with pytest.raises(InputError, match=r"--backend onnxruntime does not run such a model"):
        load_predictor(engine, "onnxruntime")
    about = json.loads(sidecar_path(engine).read_text())
    sidecar_path(engine).write_text(json.dumps({**about, "metadata": {**about["metadata"], "mb_size": "32"}}))
    with pytest.raises(InputError, match=r"has other ports than m\.engine\.json says"):
        load_predictor(engine)
    sidecar_path(engine).write_text(json.dumps(about))
    write_red_predictor(tmp_path / "m.onnx", head="pixels")
    with pytest.raises(InputError, match=r"was built from another m\.onnx"):
        load_predictor(engine)
    engine.write_bytes(engine.read_bytes() + b"!")
    with pytest.raises(InputError, match=r"is not the engine that m\.engine\.json describes"):
        load_predictor(engine)
    sidecar_path(engine).write_text('{"gpu": "x"}')
    with pytest.raises(InputError, match="describes no engine of this kit"):
        load_predictor(engine)
    sidecar_path(engine).unlink()
    with pytest.raises(InputError, match=r"m\.engine\.json: is missing"):
        load_predictor(engine)
    with pytest.raises(InputError, match="no such engine"):
        load_predictor(tmp_path / "absent.engine")


def test_without_a_gpu_it_says_so(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(InputError, match="CUDA says cudaError"):
        gpu_name()


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--engine", "m.plan"], r"ends in \.engine"),
        (["--batch", 1, 2, 3], "takes 1 frames at once"),
        (["--workspace_mib", 0], "at least 1"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(flags, says, tensorrt, tmp_path):
    path = write_red_predictor(tmp_path / "m.onnx")
    with pytest.raises(InputError, match=says):
        build("--onnx", path, *flags)
    with pytest.raises(InputError, match="smallest ≤ usual ≤ largest"):
        build("--onnx", write_red_predictor(tmp_path / "any.onnx", ANY), "--batch", 2, 1, 3)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_a_dry_run_needs_no_tensorrt(run, precision, tmp_path):
    path = write_red_predictor(tmp_path / "m.onnx", ANY)
    if precision != "fp32":
        model, _ = in_precision(onnx.load(path), precision, FRAMES)
        onnx.save(model, path)
    said = run("deploy/onnx2trt.py", "--onnx", path, "--dry_run").stdout
    assert "all of them known" in said
    assert ("1 activations, symmetric" in said) == (precision == "int8")
    assert "batch      1 to 8" in said
    assert [file.name for file in tmp_path.iterdir()] == ["m.onnx"]


def test_a_build_without_tensorrt_says_what_to_install(refused, tmp_path):
    path = write_red_predictor(tmp_path / "m.onnx")
    assert "TensorRT is not installed" in refused("deploy/onnx2trt.py", "--onnx", path)


def changed(change):
    """What is wrong with a predictor's graph after a change."""
    grid = MacroblockGrid(HEIGHT, WIDTH)
    model = predictor_graph(red_network(HEIGHT, WIDTH), NORMALISATION, "macroblock", grid, {})
    assert problems(model) == []
    change(model)
    return problems(model)


def node_of(model, kind):
    return next(node for node in model.graph.node if node.op_type == kind)


def replace_output(model, *nodes):
    """Let `nodes` read 'last' and put out the importance."""
    model.graph.node[-1].output[0] = "last"
    model.graph.node.extend(nodes)


def test_an_operator_that_tensorrt_has_not_is_found():
    def change(model):
        replace_output(
            model,
            helper.make_node("MatMul", ["last", "square"], ["squares"]),
            helper.make_node("Det", ["squares"], ["d"]),
            helper.make_node("Add", ["last", "d"], ["importance"]),
        )
        model.graph.initializer.append(numpy_helper.from_array(np.ones((1, 4, 3), np.float32), "square"))

    assert changed(change) == ["has Det, which TensorRT does not support"]


def test_an_opset_that_8_6_does_not_know_is_found():
    def change(model):
        model.opset_import[0].version = 18

    assert "opset 18; TensorRT 8.6 knows 9 to 17" in changed(change)[0]


def test_uint8_beyond_the_first_cast_is_found():
    def change(model):
        model.graph.node.insert(0, helper.make_node("Identity", ["frames"], ["copy"]))
        node_of(model, "Cast").input[0] = "copy"

    assert any("copy: uint8" in problem for problem in changed(change))


def test_a_type_that_tensorrt_has_not_is_found():
    def change(model):
        replace_output(
            model,
            helper.make_node("Cast", ["last"], ["d"], to=TensorProto.DOUBLE),
            helper.make_node("Cast", ["d"], ["importance"], to=TensorProto.FLOAT),
        )

    assert changed(change) == ["d: is DOUBLE, a type that TensorRT does not support"]


def test_what_is_no_valid_onnx_is_found():
    def change(model):
        replace_output(model, helper.make_node("Cast", ["last"], ["h"], to=TensorProto.FLOAT16))
        model.graph.node.append(helper.make_node("Add", ["last", "h"], ["importance"]))

    assert "is not valid ONNX" in changed(change)[0]


def test_a_resize_that_tensorrt_does_otherwise_is_found():
    def change(model):
        sizes = numpy_helper.from_array(np.array([1, 3, 4]), "sizes")
        model.graph.initializer.append(sizes)
        replace_output(model, helper.make_node("Resize", ["last", "", "", "sizes"], ["importance"], "r", mode="cubic"))

    assert changed(change) == ["r: Resize with mode=cubic"]


def test_a_size_that_is_left_open_is_found():
    def change(model):
        model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "H"

    assert any("frames: has a size other than the batch" in problem for problem in changed(change))


@pytest.mark.parametrize(
    ("zero", "says"),
    [(np.int8(3), "its zero point is not 0 in int8"), (np.uint8(0), "its zero point is not 0 in int8")],
)
def test_quantisation_that_is_not_symmetric_is_found(zero, says):
    def change(model):
        model.graph.initializer.append(numpy_helper.from_array(np.float32(0.1), "s"))
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(zero), "z"))
        replace_output(
            model,
            helper.make_node("QuantizeLinear", ["last", "s", "z"], ["q"], "Q"),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["importance"], "DQ"),
        )

    assert f"Q: {says}" in changed(change)


def test_a_convolution_of_quantised_and_other_values_is_found():
    def change(model):
        conv = node_of(model, "Conv")
        model.graph.initializer.append(numpy_helper.from_array(np.float32(0.1), "s"))
        model.graph.initializer.append(numpy_helper.from_array(np.int8(0), "z"))
        data = conv.input[0]
        conv.input[0] = "dq"
        at = list(model.graph.node).index(conv)
        model.graph.node.insert(at, helper.make_node("DequantizeLinear", ["q", "s", "z"], ["dq"], "DQ"))
        model.graph.node.insert(at, helper.make_node("QuantizeLinear", [data, "s", "z"], ["q"], "Q"))

    assert any("Conv of quantised and float values" in problem for problem in changed(change))


def test_weights_with_a_scale_for_each_input_channel_are_found():
    def change(model):
        conv = node_of(model, "Conv")
        scales, zeros = np.full(3, 0.1, np.float32), np.zeros(3, np.int8)
        for name, value in (("s", np.float32(0.1)), ("z", np.int8(0)), ("ss", scales), ("zz", zeros)):
            model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
        model.graph.initializer.append(numpy_helper.from_array(np.ones((2, 3, 4, 4), np.int8), "w8"))
        data, at = conv.input[0], list(model.graph.node).index(conv)
        conv.input[0], conv.input[1] = "dq", "dqw"
        for node in (
            helper.make_node("DequantizeLinear", ["w8", "ss", "zz"], ["dqw"], "DQW", axis=1),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["dq"], "DQ"),
            helper.make_node("QuantizeLinear", [data, "s", "z"], ["q"], "Q"),
        ):
            model.graph.node.insert(at, node)

    assert changed(change) == ["DQW: its scales are not of output channels"]


def test_a_graph_inside_is_not_looked_into_and_said_so():
    def change(model):
        branch = helper.make_graph(
            [helper.make_node("Identity", ["last"], ["inner"])],
            "branch",
            [],
            [helper.make_tensor_value_info("inner", TensorProto.FLOAT, [1, 3, 4])],
        )
        model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
        node = helper.make_node("If", ["yes"], ["importance"], "if", then_branch=branch, else_branch=branch)
        replace_output(model, node)

    assert "if: If has a nested graph, which is not checked" in changed(change)


def test_a_dequantised_input_is_found_and_breaks_nothing():
    def change(model):
        model.graph.initializer.append(numpy_helper.from_array(np.float32(0.1), "s"))
        model.graph.initializer.append(numpy_helper.from_array(np.uint8(0), "z"))
        node_of(model, "Transpose").input[0] = "floats"
        model.graph.node.insert(0, helper.make_node("DequantizeLinear", ["frames", "s", "z"], ["floats"], "DQ"))

    assert any("dequantises a value that is not quantised" in problem for problem in changed(change))


@pytest.mark.parametrize(
    "change", [{"model": -1}, {"levels": None}, {"mb_size": "9" * 5000}, {"scale": "17"}, {"x": []}]
)
def test_a_sidecar_whose_metadata_is_not_text_or_out_of_range_is_refused(tmp_path, change):
    engine = write_engine(tmp_path / "m.engine")
    about = json.loads(sidecar_path(engine).read_text())
    about["metadata"].update(change)
    sidecar_path(engine).write_text(json.dumps(about))
    with pytest.raises(InputError, match="describes no engine of this kit"):
        read_sidecar(engine)
