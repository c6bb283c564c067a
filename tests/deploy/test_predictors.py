import json
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import onnx
import onnxruntime
import paddle
import pytest
import yaml
from onnx import TensorProto, helper

from deploy import benchmark, export_onnx, export_static_map, runtime, trt_infer
from deploy.artifacts.onnx import read_onnx
from deploy.backends.base import Predictor
from deploy.backends.paddle import PaddlePredictor
from deploy.backends.registry import CPU_BACKENDS as BACKENDS
from deploy.backends.registry import load_predictor
from deploy.backends.settings import Backend, EngineSettings
from deploy.benchmarking import cases, measure
from deploy.benchmarking.report import benchmark_table, write_pareto_plot
from deploy.benchmarking.settings import MeasurementSettings
from deploy.export import parity
from deploy.export.tensorrt_check import problems
from regenhance_data.dataset.importance_file import read_importance, write_importance
from regenhance_data.errors import InputError
from regenhance_data.evaluation.record import read_evaluation
from regenhance_data.io.files import sha256
from regenhance_data.predictors.paddleseg.batches import prepared_image
from regenhance_data.predictors.paddleseg.checkpoints import load_trained_weights, write_model, write_paddle_state
from regenhance_data.predictors.paddleseg.config import PredictorConfig
from regenhance_data.stages.make_seg_dataset import make_seg_dataset
from tests.support.cameras import fill_cameras
from tests.support.files import ROOT, encode, fill_dataset, noise
from tests.support.predictors import write_predictor
from tests.support.videos import cut_in_the_middle

pytestmark = pytest.mark.slow  # a predictor is trained and exported first
TINY = ROOT / "paddleseg_configs" / "pp_mobileseg_tiny.yml"
MB_NANO = ROOT / "paddleseg_configs" / "mb_nano.yml"
HEIGHT, WIDTH = 70, 93
ROW = {"model": "m", "backend": "b", "precision": "fp32", "head": "macroblock", "input_hw": [64, 96], "batch": 1}
ROW |= {"input_scale": 1, "weights": "trained", "frames_per_s": 1, "peak_memory_mb": 1, "model_mb": 1, "file": "m.onnx"}
ROW |= {"engine_ms_median": 1, "frame_ms_median": 1, "frame_ms_p95": 1}


@pytest.fixture(scope="module")
def made(run, tmp_path_factory):
    """A predictor with random weights of a wide range, exported with both heads; the pixels head takes two frames."""
    folder = tmp_path_factory.mktemp("deploy")
    dataset = fill_dataset(folder / "data", {"a": 6}, HEIGHT, WIDTH)
    make_seg_dataset(dataset, gap=0)
    config = PredictorConfig(TINY)
    paddle.seed(0)  # else the order of the macroblocks of the one test frame is another's each time
    model = config.build("model")
    state = model.state_dict()
    rng = np.random.default_rng(0)
    state["decode_head.conv_seg.weight"].set_value(rng.normal(0, 20, (10, 256, 1, 1)).astype(np.float32))
    weights = folder / "model.pdparams"
    write_paddle_state(weights, state)
    flags = ["--config", TINY, "--model_path", weights, "--dataset_root", dataset.root]
    said = run("deploy/export_onnx.py", *flags, "--save_dir", folder / "blocks", "--with_paddle").stdout
    export(SimpleNamespace(flags=flags), folder / "pixels", "--head", "pixels", "--batch_size", 2)
    frames = np.stack(noise(3, HEIGHT, WIDTH, seed=1))
    return SimpleNamespace(
        blocks=folder / "blocks" / "pp_mobileseg_tiny.onnx",
        pixels=folder / "pixels" / "pp_mobileseg_tiny_batch2_pixels.onnx",
        paddle=folder / "blocks" / "pp_mobileseg_tiny_paddle",
        said=said,
        flags=flags,
        frames=frames,
    )


def export(made, save_dir, *flags):
    words = [*made.flags, "--save_dir", save_dir, *flags]
    export_onnx.main(export_onnx.make_parser().parse_args([str(word) for word in words]))


def infer(*words):
    trt_infer.main(trt_infer.make_parser().parse_args([str(word) for word in words]))


def test_the_export_says_how_near_it_is_to_paddle(made):
    report = json.loads(made.blocks.with_suffix(".parity.json").read_text())
    assert set(report["backends"]) == set(BACKENDS)
    assert max(measured["max"] for measured in report["backends"].values()) < 1e-3
    assert report["spearman_to_pixels_head"] > 0.8
    assert "deploy/trt_infer.py" in made.said


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_predictor_says_the_importance_of_every_macroblock(made, backend):
    predictor = load_predictor(made.blocks, backend, threads=1)
    importance = predictor.predict(made.frames)
    assert importance.shape == (3, 5, 6)
    assert importance.dtype == np.float32
    assert 0 <= importance.min() < importance.max() <= 1
    assert predictor.input_hw == (HEIGHT, WIDTH)
    expected = {"model": "pp_mobileseg_tiny", "head": "macroblock", "levels": "10", "mb_size": "16", "scale": "3"}
    assert expected.items() <= predictor.metadata.items()


@pytest.mark.parametrize("head", ["blocks", "pixels"])
def test_both_backends_agree(made, head):
    results = [load_predictor(getattr(made, head), backend).predict(made.frames) for backend in BACKENDS]
    np.testing.assert_allclose(*results, atol=1e-4)


def test_paddle_inference_says_the_mean_of_the_most_likely_levels(made):
    predictor = load_predictor(made.paddle, threads=1)
    assert (predictor.backend, predictor.input_hw, predictor.metadata["head"]) == ("paddle", (HEIGHT, WIDTH), "pixels")
    found = predictor.predict(made.frames)
    assert found.shape == (3, 5, 6)
    config = PredictorConfig(TINY)
    model = config.build("model")
    load_trained_weights(model, Path(made.flags[made.flags.index("--model_path") + 1]))
    model.eval()
    with paddle.no_grad():
        images = [prepared_image(frame[..., ::-1], config, "val_dataset") for frame in made.frames]
        levels = model(paddle.to_tensor(np.stack(images)))[0].argmax(axis=1).numpy() / 9
    # a pixel here and there is between two levels
    assert np.abs(found - predictor.grid.mean(levels)).mean() < 1e-3
    session = onnxruntime.InferenceSession(str(made.blocks.with_name("pp_mobileseg_tiny_network") / "model.onnx"))
    (logits,) = session.run(None, {"x": images[0][None]})
    assert logits.dtype == np.float32
    assert (logits.argmax(axis=1) / 9 == levels[0]).mean() > 0.999
    with pytest.raises(InputError, match="--backend openvino does not run such a model"):
        load_predictor(made.paddle, "openvino")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda about: about["Deploy"].update(params="../x.pdiparams"), "describes no network"),
        (lambda about: about["Deploy"].update(input_shape=[1, 3, None, None]), "frames of any size"),
        (lambda about: about["Deploy"].update(transforms=[{"type": "Resize"}]), "not one Normalize"),
        (lambda about: about["Kit"].update(levels="ten"), "its entry Kit is not of this kit"),
        (lambda about: about.clear(), "describes no network"),
    ],
)
def test_a_folder_that_paddle_inference_cannot_run_is_refused(made, tmp_path, change, says):
    folder = shutil.copytree(made.paddle, tmp_path / "copy")
    about = yaml.safe_load((folder / "deploy.yaml").read_text())
    change(about)
    (folder / "deploy.yaml").write_text(yaml.safe_dump(about))
    with pytest.raises(InputError, match=says):
        load_predictor(folder)
    (folder / "deploy.yaml").unlink()
    with pytest.raises(InputError, match="is a folder without"):
        load_predictor(folder)


@pytest.mark.parametrize(
    ("file", "backend"),
    [("blocks", "openvino"), ("blocks", "onnxruntime"), ("pixels", "openvino"), ("paddle", "paddle")],
)
def test_threads_may_share_a_predictor(made, file, backend):
    predictor = load_predictor(getattr(made, file), backend, threads=1)
    clips = [np.stack(noise(3, HEIGHT, WIDTH, seed)) for seed in range(2, 8)]
    alone = [predictor.predict(clip) for clip in clips]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(predictor.predict, clips * 4))
    for found, expected in zip(together, alone * 4, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_batch_that_is_left_open_takes_any_number_of_frames(made, tmp_path, precision):
    export(made, tmp_path, "--dynamic_batch", "--precision", precision, "--calibration_frames", 2)
    path = tmp_path / parity.file_name("pp_mobileseg_tiny_dynamic", precision)
    reference = load_predictor(made.blocks).predict(made.frames)
    for backend in BACKENDS:
        for batch_size in (None, 2, 8):
            found = load_predictor(path, backend, batch_size=batch_size).predict(made.frames)
            assert np.abs(found - reference).mean() < (1e-4 if precision == "fp32" else 2e-2)
    with pytest.raises(InputError, match="at least 1"):
        load_predictor(path, batch_size=0)
    with pytest.raises(InputError, match="takes 2 frames at once, not 3"):
        load_predictor(made.pixels, batch_size=3)


def test_a_precision_says_what_it_is_and_how_near_it_comes(made, tmp_path, capsys):
    export(made, tmp_path, "--precision", "fp16")
    predictor = load_predictor(tmp_path / "pp_mobileseg_tiny_fp16.onnx")
    dataset = Path(made.flags[made.flags.index("--dataset_root") + 1])
    about = {"precision": "fp16", "weights": "trained", "dataset_sha256": sha256(dataset / "dataset.yaml")}
    assert about.items() <= predictor.metadata.items()
    report = json.loads((tmp_path / "pp_mobileseg_tiny_fp16.parity.json").read_text())
    assert report["kept_in_fp32"] == []
    for measured in report["backends"].values():
        assert 0 < measured["max"] < 1e-2
        assert measured["kept_at_10"] > 0.99
    assert "onnx2trt.py" in capsys.readouterr().out


def test_random_weights_are_for_latency_and_say_so(tmp_path):
    flags = ["--config", ROOT / "paddleseg_configs/mb_nano.yml", "--random_weights", "--input_size", 33, 48]
    flags += ["--save_dir", tmp_path]
    for precision in ("fp32", "int8"):
        words = [*flags, "--precision", precision]
        export_onnx.main(export_onnx.make_parser().parse_args([str(word) for word in words]))
    paths = [tmp_path / parity.file_name("mb_nano_random_48x33", precision) for precision in ("fp32", "int8")]
    predictors = [load_predictor(path) for path in paths]
    assert {predictor.metadata["weights"] for predictor in predictors} == {"random"}
    frames = np.stack(noise(1, 33, 48))
    assert np.abs(predictors[0].predict(frames) - predictors[1].predict(frames)).mean() < 2e-2


def test_frames_are_predicted_alike_alone_and_in_batches(made):
    predictor = load_predictor(made.pixels)
    assert predictor.batch == 2
    together = predictor.predict(made.frames)
    alone = np.concatenate([predictor.predict(frame[None]) for frame in made.frames])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert predictor.predict(made.frames[:0]).shape == (0, 5, 6)


def test_a_graph_that_differs_from_paddle_is_refused(made):
    reference = load_predictor(made.blocks).predict(made.frames[..., ::-1])
    right = {"macroblock": reference, "pixels": np.zeros_like(reference)}
    assert parity.parity(made.blocks, "macroblock", made.frames, right)["frames"] == 3
    with pytest.raises(InputError, match=r"differs from Paddle by 0\.01"):
        parity.parity(made.blocks, "macroblock", made.frames, {**right, "macroblock": reference + 0.01})
    # eight bits may differ by more
    far = {**right, "macroblock": reference + 0.01}
    parity.parity(made.blocks, "macroblock", made.frames, far, precision="int8")


def test_eight_bits_may_not_choose_other_macroblocks(tmp_path):
    path = write_predictor(tmp_path / "brightness.onnx", (160, 160))  # its importance is the brightness
    frames = np.zeros((1, 160, 160, 3), np.uint8)
    frames[0, :16] = 25  # the first row: a tenth of the macroblocks
    first, last = np.zeros((1, 10, 10)), np.zeros((1, 10, 10))
    first[0, 0] = last[0, -1] = 25 / 255
    for expected, kept in ((first, 1.0), (last, 0.0), (first + last, 1.0)):
        assert parity.kept_share(first[0], expected[0]) == pytest.approx(kept)
    near = {"macroblock": first + 0.001 * last, "pixels": first}
    assert parity.parity(path, "macroblock", frames, near, precision="int8")["frames"] == 1
    other = {"macroblock": last, "pixels": last}  # near in the mean
    with pytest.raises(InputError, match=r"hold 0\.000 of the importance that Paddle's hold"):
        parity.parity(path, "macroblock", frames, other, precision="int8")


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--model_path", "absent.pdparams"], "absent.pdparams: no such file"),
        (["--opts", "val_dataset.transforms=[]"], "one Normalize alone"),
        (["--batch_size", "0"], "at least 1"),
        (["--input_size", "0", "5"], "at least 1"),
        (["--calibration_frames", "0"], "at least 1"),
        (["--dynamic_batch", "--batch_size", "2"], "leaves the batch open"),
        (["--with_paddle", "--input_scale", "0.5"], "has no --input_scale"),
    ],
)
def test_exports_that_cannot_be_are_refused(made, tmp_path, flags, says):
    words = [str(word) for word in (*made.flags, "--save_dir", tmp_path, *flags)]
    with pytest.raises(InputError, match=says):
        export_onnx.main(export_onnx.make_parser().parse_args(words))
    assert not list(tmp_path.iterdir())


def test_an_export_has_the_grid_of_its_dataset_or_its_weights_without_further_flags(tmp_path):
    dataset = fill_dataset(tmp_path / "data", {"a": 3}, HEIGHT, WIDTH)
    write_importance(dataset.importance_path("a"), np.random.default_rng(0).random((3, 9, 12)), np.arange(3))
    make_seg_dataset(dataset, mb_size=8, gap=0)
    made = SimpleNamespace(flags=["--config", MB_NANO, "--random_weights", "--dataset_root", dataset.root])
    with pytest.raises(InputError, match=r"mb_size=32: .*dataset\.yaml has macroblocks of 8 pixels; leave it out"):
        export(made, tmp_path / "out", "--opts", "model.mb_size=32")
    general = SimpleNamespace(flags=["--config", MB_NANO, "--zero_shot", "--dataset_root", dataset.root])
    with pytest.raises(InputError, match=r"are weights for macroblocks of 16 pixels, .*dataset\.yaml has 8; train on"):
        export(general, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*"))
    export(made, tmp_path / "out")
    found = load_predictor(tmp_path / "out" / "mb_nano_random.onnx").predict(np.stack(noise(1, HEIGHT, WIDTH)))
    assert found.shape == (1, 9, 12)
    alone = SimpleNamespace(flags=["--config", MB_NANO, "--random_weights", "--input_size", HEIGHT, WIDTH])
    export(alone, tmp_path / "alone", "--opts", "model.mb_size=8")
    (path,) = (tmp_path / "alone").glob("*.onnx")
    assert load_predictor(path).grid.shape == (9, 12)


@pytest.mark.parametrize("scale", ["0", "-0.5", "0.3", "2", "nan"])
def test_input_scales_that_no_network_has_are_refused(tmp_path, scale):
    made = SimpleNamespace(flags=["--config", MB_NANO, "--random_weights", "--input_size", 64, 96])
    with pytest.raises(InputError, match=rf"--input_scale {scale}: expected 1, 0\.5"):
        export(made, tmp_path, "--input_scale", scale)
    with pytest.raises(InputError, match=rf"--input_scales {scale}: expected 1, 0\.5"):
        bench(tmp_path, "--models", "mb_nano", "--input_scales", 1, scale)
    assert not list(tmp_path.iterdir())


def test_what_is_no_predictor_is_refused(made, tmp_path):
    foreign = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "foreign",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
    )
    onnx.save(helper.make_model(foreign), tmp_path / "foreign.onnx")
    (tmp_path / "garbage.onnx").write_bytes(b"\xff" * 100)
    outside = onnx.load(made.blocks)
    onnx.save(outside, tmp_path / "outside.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    for name, says in (
        ("foreign.onnx", "not a predictor of this kit"),
        ("garbage.onnx", "not an ONNX file"),
        ("outside.onnx", "weights in another file"),
        ("absent.onnx", "no such predictor"),
        ("model.engine", "needs tensorrt, which is not installed"),
    ):
        with pytest.raises(InputError, match=says):
            load_predictor(tmp_path / name)
    with pytest.raises(InputError, match="takes uint8 frames of 93x70"):
        load_predictor(made.blocks).predict(made.frames[:, :-1])
    with pytest.raises(InputError, match="--backend abacus"):
        load_predictor(made.blocks, "abacus")


def test_a_video_becomes_importance_and_an_overlay_that_plays(run, made, tmp_path):
    video = encode(tmp_path / "camera.mp4", noise(7, 2 * HEIGHT, 2 * WIDTH), pixel_format="yuv444p")
    run("deploy/trt_infer.py", "--model", made.blocks, "--video", video, "--save_dir", tmp_path)
    importance, numbers = read_importance(tmp_path / "importance.npz")
    assert importance.shape == (7, 5, 6)
    assert numbers.tolist() == list(range(7))
    with av.open(str(tmp_path / "overlay.mp4")) as overlay:
        stream = overlay.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width, stream.height) == (3 * WIDTH // 2 * 2, 3 * HEIGHT)
        assert sum(1 for _ in overlay.decode(stream)) == 7


def test_a_clip_has_the_same_importance_in_every_backend(made, tmp_path):
    video = encode(tmp_path / "camera.mp4", noise(5, HEIGHT, WIDTH), pixel_format="yuv444p")
    found = {}
    for backend in BACKENDS:
        where = ["--video", video, "--save_dir", tmp_path / backend, "--no_overlay"]
        infer("--model", made.blocks, "--backend", backend, *where)
        found[backend], _ = read_importance(tmp_path / backend / "importance.npz")
    np.testing.assert_allclose(*found.values(), atol=parity.TOLERANCES["fp32"][1])


def test_an_interrupted_run_of_a_folder_goes_on_where_it_was(made, tmp_path, monkeypatch, capsys):
    video = encode(tmp_path / "camera.mp4", noise(6, HEIGHT, WIDTH), pixel_format="yuv444p")
    words = ["--model", made.paddle, "--video", video, "--save_dir", tmp_path / "out", "--no_overlay"]
    turns, predict = iter(range(3)), PaddlePredictor.predict

    def interrupted(*about):
        if next(turns, None) is None:
            raise KeyboardInterrupt
        return predict(*about)

    with monkeypatch.context() as patch:
        patch.setattr(PaddlePredictor, "predict", interrupted)
        with pytest.raises(KeyboardInterrupt, match="give the command again to go on"):
            infer(*words)
    infer(*words)
    assert "frames are kept from an interrupted run" in capsys.readouterr().out
    assert len(read_importance(tmp_path / "out" / "importance.npz")[0]) == 6


def test_several_videos_share_batches_and_have_a_folder_each(made, tmp_path):
    clips = {name: noise(count, HEIGHT, WIDTH, seed=count) for name, count in (("a", 5), ("b", 2), ("one", 1))}
    videos = [encode(tmp_path / f"{name}.mp4", frames, pixel_format="yuv444p") for name, frames in clips.items()]
    infer("--model", made.pixels, "--video", *videos, "--save_dir", tmp_path / "out", "--streams", 2, "--no_overlay")
    for name, frames in clips.items():
        infer("--model", made.pixels, "--video", tmp_path / f"{name}.mp4", "--save_dir", tmp_path / name)
        assert sorted(path.name for path in (tmp_path / name).iterdir()) == ["importance.npz", "overlay.mp4"]
        together, numbers = read_importance(tmp_path / "out" / name / "importance.npz")
        alone, _ = read_importance(tmp_path / name / "importance.npz")
        assert numbers.tolist() == list(range(len(frames)))
        np.testing.assert_allclose(together, alone, atol=1e-5)
    with pytest.raises(InputError, match="two are called a"):
        infer("--model", made.pixels, "--video", videos[0], videos[0], "--save_dir", tmp_path / "out")


def test_a_video_that_ends_in_the_middle_is_refused_unless_it_is_allowed(refused, made, tmp_path):
    video = encode(tmp_path / "whole.mp4", noise(30, HEIGHT, WIDTH), pixel_format="yuv444p")
    cut = cut_in_the_middle(video, tmp_path / "cut.mkv")
    where = ["--video", cut, "--save_dir", tmp_path / "out"]
    said = refused("deploy/trt_infer.py", "--model", made.blocks, *where)
    assert "cut.mkv: damaged or cut short" in said
    assert not list((tmp_path / "out").glob("*"))
    infer("--model", made.blocks, *where, "--allow_cut")
    importance, _ = read_importance(tmp_path / "out" / "importance.npz")
    assert 0 < len(importance) < 30


def test_a_video_of_another_aspect_is_refused_and_nothing_is_written(made, tmp_path, capsys):
    video = encode(tmp_path / "camera.mp4", noise(2, 64, 64))
    words = ["--model", str(made.blocks), "--video", str(video), "--save_dir", str(tmp_path / "out")]
    with pytest.raises(InputError, match="another aspect ratio"):
        trt_infer.main(trt_infer.make_parser().parse_args(words))
    assert not list((tmp_path / "out").glob("*"))
    assert " 0 frames" not in f" {capsys.readouterr().out}"


def evaluation_of(path, backend="openvino", metric="f1"):
    ran = {"model": str(path), "sha256": sha256(path), "backend": backend}
    interval = [0.8, 1.0]
    scores = {"none": 0.5, "all": 1.0, "curves": {"predictor": {"0.1": 0.9}}}
    scores["intervals_95"] = {"none": interval, "all": interval, "predictor": {"0.1": interval}}
    settings = {"data": "d", "split": "test", "every": 1, "clear": "sr_images", "scale": 3, "mb_size": 16}
    return {
        "metric": metric,
        "frames": 9,
        **scores,
        "settings": {**settings, "detector": {}, "ran": {"predictor": ran}},
    }


def test_f1_is_of_the_very_file_and_of_eight_bits_in_the_very_backend(made, tmp_path):
    case = cases.Case(made.blocks, "onnxruntime", None, made.blocks)

    def found(evaluation, precision="fp32"):
        (tmp_path / "evaluation.json").write_text(json.dumps(evaluation))
        return measure.f1_of(case, precision, [read_evaluation(tmp_path / "evaluation.json")])

    assert found(evaluation_of(made.blocks)) == (0.9, None)
    assert found(evaluation_of(made.blocks), "int8") == (None, None)
    assert found(evaluation_of(made.blocks, "onnxruntime"), "int8") == (0.9, None)
    assert found(evaluation_of(made.pixels)) == (None, None)
    assert found(evaluation_of(made.blocks, metric="miou")) == (None, None)
    with_static = evaluation_of(made.blocks)
    with_static["curves"]["static"] = {"0.1": 0.8}
    with_static["intervals_95"]["static"] = {"0.1": [0.7, 0.9]}
    assert found(with_static) == (0.9, 0.8)
    with pytest.raises(InputError, match=r"is not an evaluation\.json"):
        found([])


def bench(save_dir, *words):
    flags = ["--save_dir", save_dir, "--rounds", 1, "--repeats", 2, "--warmup", 0, *words]
    benchmark.main(benchmark.make_parser().parse_args([str(word) for word in flags]))
    return json.loads((save_dir / "benchmark.json").read_text())


def test_the_benchmark_has_a_row_for_every_model_and_backend(made, tmp_path, capsys):
    models = ["--models", made.blocks, made.pixels, made.paddle, "--backends", *BACKENDS, "paddle"]
    rows = bench(tmp_path, *models)
    expected = [(b, n, "macroblock" if n == 1 else "pixels") for n in (1, 2) for b in BACKENDS]
    assert [(row["backend"], row["batch"], row["head"]) for row in rows] == [*expected, ("paddle", 1, "pixels")]
    for row in rows:
        assert (row["model"], row["precision"], row["weights"]) == ("pp_mobileseg_tiny", "fp32", "trained")
        assert row["f1_at_10"] is None
        assert 0 < row["frame_ms_median"] <= row["frame_ms_p95"]
        assert min(row[key] for key in ("engine_ms_median", "frames_per_s", "peak_memory_mb", "model_mb")) > 0
    assert {"processor", "cores", "packages"} <= json.loads((tmp_path / "environment.json").read_text()).keys()
    assert not (tmp_path / "benchmark.png").exists()

    # an evaluation is added to what was measured; nothing is measured again
    (tmp_path / "evaluation.json").write_text(json.dumps(evaluation_of(made.blocks)))
    measured = (tmp_path / "measurements.json").read_bytes()
    again = bench(tmp_path, *models, "--evaluation", tmp_path / "evaluation.json")
    assert (tmp_path / "measurements.json").read_bytes() == measured
    assert [row["f1_at_10"] for row in again] == [0.9, 0.9, None, None, None]
    assert [{**row, "f1_at_10": None} for row in again] == rows
    assert (tmp_path / "benchmark.png").read_bytes()[:4] == b"\x89PNG"
    bench(tmp_path, *models)
    assert not [*tmp_path.glob("benchmark.[ps][nv]g")]  # of other rows
    assert "| pp_mobileseg_tiny | openvino | fp32 | macroblock | 93×70 | 1 |" in (tmp_path / "benchmark.md").read_text()
    assert "frames/s" in capsys.readouterr().out
    with pytest.raises(InputError, match="measured with other repeats"):
        bench(tmp_path, *models, "--repeats", 3)
    (tmp_path / "measurements.json").write_text("[]")
    with pytest.raises(InputError, match="holds no measurements"):
        bench(tmp_path, *models)


def test_the_benchmark_exports_what_it_is_given_by_name(tmp_path):
    words = ["--models", "mb_nano", "--input_size", 64, 96, "--precisions", "fp32,fp16", "--batch_sizes", 3]
    rows = bench(tmp_path, *words, "--backends", "onnxruntime")
    assert [(row["precision"], row["batch"]) for row in rows] == [("fp32", 3), ("fp16", 3)]
    assert {(row["model"], row["weights"], *row["input_hw"]) for row in rows} == {("mb_nano", "random", 64, 96)}
    # what was exported for another frame size is not taken for this one
    words[words.index("fp32,fp16")] = "fp32"
    words[words.index(96)] = 80
    [row] = bench(tmp_path, *words, "--backends", "onnxruntime")
    assert row["input_hw"] == [64, 80]


def test_a_paddle_folder_has_the_weights_of_the_onnx_file_beside_it(tmp_path):
    weights = tmp_path / "runs" / "mb_nano" / "best_model" / "model.pdparams"
    weights.parent.mkdir(parents=True)
    settings = MeasurementSettings(["mb_nano"], tmp_path, runs=[tmp_path / "runs"], input_size=(64, 96))
    found = []
    for seed, backends in ((0, ["openvino", "paddle"]), (1, ["openvino"]), (1, ["openvino", "paddle"])):
        paddle.seed(seed)
        write_paddle_state(weights, PredictorConfig(MB_NANO).build("model").state_dict())
        paths = {case.backend: case.path for case in cases.listed_cases(replace(settings, backends=backends))}
        found += [sha256(paths["paddle"] / "model.pdiparams")] if "paddle" in backends else []
        assert {*paths} == {*backends}
    assert found[0] != found[1]


def test_an_export_without_a_dataset_is_named_after_the_scale_of_its_training(tmp_path):
    folder = tmp_path / "runs" / "mb_nano" / "best_model"
    write_model(folder, PredictorConfig(MB_NANO).build("model").state_dict(), {"scale": 4, "input_scale": 1}, {})
    settings = MeasurementSettings(["mb_nano"], tmp_path, ["openvino"], runs=[tmp_path / "runs"], input_size=(64, 96))
    [case] = cases.listed_cases(settings)
    assert (case.path.name, read_onnx(case.path).metadata["scale"]) == ("mb_nano_x4_96x64.onnx", "4")
    words = ["--config", MB_NANO, "--model_path", folder / "model.pdparams", "--input_size", 64, 96, "--scale", 3]
    export_onnx.main(export_onnx.make_parser().parse_args([str(w) for w in [*words, "--save_dir", tmp_path]]))
    assert read_onnx(tmp_path / "mb_nano_96x64.onnx").metadata["scale"] == "3"


def test_backends_are_not_told_to_have_no_model_where_its_export_failed(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cases, "_export", lambda _: "no space")
    settings = MeasurementSettings(["mb_nano"], tmp_path, ["openvino", "paddle", "tensorrt"], input_size=(64, 96))
    for precision, told in (("fp32", ["tensorrt"]), ("fp16", ["paddle", "tensorrt"])):
        assert cases.listed_cases(replace(settings, precisions=[precision])) == []
        said = capsys.readouterr().err
        assert f"mb_nano in {precision} is left out: no space" in said
        assert re.findall(r"--backends (\w+): measures nothing", said) == told


@pytest.mark.parametrize("flag", ["--evaluation", "--video", "--data"])
def test_inputs_that_are_missing_are_refused_before_anything_is_measured(tmp_path, flag):
    model = write_predictor(tmp_path / "m.onnx", (64, 96))
    with pytest.raises((InputError, FileNotFoundError), match="absent"):
        bench(tmp_path / "out", "--models", model, "--backends", "onnxruntime", flag, tmp_path / "absent")
    assert not (tmp_path / "out" / "measurements.json").exists()


def test_backends_and_batches_that_are_not_measured_are_told(tmp_path, capsys):
    model = write_predictor(tmp_path / "m.onnx", (64, 96))
    with pytest.raises(InputError, match="no row is left to measure"):
        bench(tmp_path / "out", "--models", model, "--backends", "paddle")
    assert f"{model} is left out: --backends paddle does not run it; openvino or onnxruntime" in capsys.readouterr().err
    bench(tmp_path / "out", "--models", model, "--backends", "onnxruntime,tensorrt", "--batch_sizes", 4, 8)
    told = capsys.readouterr().err
    assert f"{model}: takes the batch that it was exported for; --batch_sizes 4 8 is left out" in told
    assert "--backends tensorrt: measures nothing; it runs .engine, of which --models has none" in told


def test_rows_that_would_read_alike_show_their_files(tmp_path, capsys):
    models = [tmp_path / name / "p.onnx" for name in ("gate", "yard")]
    for model in models:
        model.parent.mkdir()
        write_predictor(model, (64, 96))
    bench(tmp_path, "--models", *models, "--backends", *BACKENDS)
    table = capsys.readouterr().out
    assert all(table.count(f"p ({model})") == len(BACKENDS) for model in models)
    bench(tmp_path, "--models", models[0], "--backends", *BACKENDS)
    assert f"p ({models[0]})" not in capsys.readouterr().out


def test_a_row_that_does_not_run_is_left_out(made, tmp_path, capsys):
    rows = bench(tmp_path, "--models", made.blocks, "--backends", "onnxruntime_cuda,onnxruntime")
    assert [row["backend"] for row in rows] == ["onnxruntime"]
    assert (
        "onnxruntime_cuda is left out: --backend onnxruntime_cuda: this ONNX Runtime has no" in capsys.readouterr().err
    )
    with pytest.raises(InputError, match="no row is left"):
        bench(tmp_path, "--models", made.blocks, "--backends", "onnxruntime_cuda")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--models", "nothing"], "nothing: no such file, and none of"),
        (["--models", "mb_nano", "--backends", "abacus"], "--backends abacus: expected some of"),
        (["--models", "mb_nano", "--precisions", "fp8"], "--precisions fp8: expected some of"),
        (["--models", "mb_nano", "--batch_sizes", "0"], "at least 1"),
        (["--models", ROOT / "README.md"], "is not an ONNX file"),
        (["--models", ROOT / "tests"], "no row is left to measure"),
    ],
)
def test_benchmarks_of_nothing_are_refused(tmp_path, words, says):
    with pytest.raises(InputError, match=says):
        bench(tmp_path, *words)


def test_one_row_has_no_pareto_front_in_the_plot(tmp_path):
    rows = [{**ROW, "model": name, "frame_ms_median": ms, "f1_at_10": ms / 10} for name, ms in (("a", 1), ("b", 2))]
    for count in (1, 2):
        assert write_pareto_plot(tmp_path / "plot", rows[:count])
        assert ("Pareto front" in (tmp_path / "plot.svg").read_text()) == (count == 2)


@pytest.mark.parametrize("weights", ["trained", "general", "static map", "none", "random"])
def test_all_rows_with_f1_are_in_the_plot_but_those_of_random_weights(tmp_path, weights):
    row = {**ROW, "model": "mine", "weights": weights, "f1_at_10": 0.5}
    (tmp_path / "plot.png").touch()  # of an earlier run
    assert write_pareto_plot(tmp_path / "plot", [row]) == (weights != "random")
    assert ["mine" in path.read_text() for path in tmp_path.glob("plot.svg")] == [True] * (weights != "random")
    assert (tmp_path / "plot.png").exists() == (weights != "random")


def test_running_a_predictor_needs_neither_torch_nor_paddle():
    check = (
        "import sys, deploy.runtime, deploy.trt_infer, deploy.benchmark\n"
        "assert not {'torch', 'paddle', 'paddleseg'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=True)


class BrightnessPredictor(Predictor):
    """Runs a .size file, which holds the height and width of its frames: importance is the mean brightness."""

    def __init__(self, model: Path | str, backend: Backend, settings: EngineSettings) -> None:
        size_hw = tuple(int(word) for word in Path(model).read_text().split())
        metadata = {"mb_size": "16", "head": "macroblock", "scale": "2"}
        super().__init__(backend, model, size_hw, settings.batch_size or 1, True, metadata)

    def _batch_runner(self):
        return lambda frames: np.stack([self.grid.mean(frame.mean(-1)) / 255 for frame in frames])


def test_a_backend_from_outside_is_a_row_of_the_table(tmp_path, monkeypatch):
    row = Backend("brightness", f"{__name__}.BrightnessPredictor", ".size", "numpy", ("numpy",))
    monkeypatch.setitem(runtime.BACKENDS, "brightness", row)
    model = tmp_path / "model.size"
    model.write_text(f"{HEIGHT} {WIDTH}")
    frames = np.stack(noise(3, HEIGHT, WIDTH))
    predictor = load_predictor(model, batch_size=2)
    assert (predictor.backend, predictor.batch, predictor.source) == ("brightness", 2, model)
    assert runtime.backends_of(model) == ("brightness",)
    expected = np.stack([predictor.grid.mean(frame.mean(-1)) / 255 for frame in frames])
    np.testing.assert_allclose(predictor.predict(frames), expected, atol=1e-6)

    video = encode(tmp_path / "camera.mp4", frames, pixel_format="yuv444p")
    infer("--model", model, "--video", video, "--backend", "brightness", "--save_dir", tmp_path)
    importance, _ = read_importance(tmp_path / "importance.npz")
    np.testing.assert_allclose(importance, expected, atol=0.05)
    settings = MeasurementSettings([str(model)], tmp_path / "bench", ["brightness"])
    assert [(case.path, case.backend, case.batch) for case in cases.cases_of(settings)] == [(model, "brightness", None)]
    with pytest.raises(InputError, match="--backend openvino does not run such a model; brightness does"):
        load_predictor(model, "openvino")
    absent = Backend("absent", "absent.Predictor", ".absent", "absent_engine", ("absent-engine",))
    monkeypatch.setitem(runtime.BACKENDS, "absent", absent)
    with pytest.raises(InputError, match="needs absent-engine, which is not installed; pip install absent-engine"):
        load_predictor(tmp_path / "m.absent")


@pytest.mark.parametrize("name", ["no_engine_ms", "input_hw_bool", "negative", "not_equal", "text"])
def test_measurements_that_are_not_of_the_benchmark_are_refused(made, tmp_path, name):
    words = ["--models", made.blocks, "--backends", "onnxruntime"]
    bench(tmp_path, *words)
    found = json.loads((tmp_path / "measurements.json").read_text())
    [row] = found["rows"].values()
    match name:
        case "no_engine_ms":
            row.clear()
        case "input_hw_bool":
            row["input_hw"] = True
        case "negative":
            row["engine_ms"][0][0] = -1
        case "not_equal":
            row["engine_ms"][0].pop()
        case _:
            row["batch"] = "1"
    (tmp_path / "measurements.json").write_text(json.dumps(found))
    with pytest.raises(InputError, match=r"measurements\.json: holds no measurements of this command; remove it"):
        bench(tmp_path, *words)


def test_the_table_has_a_column_of_f1_where_there_is_one():
    without, with_f1 = {**ROW, "f1_at_10": None}, {**ROW, "f1_at_10": 0.5}
    assert "F1" not in benchmark_table([without, without])
    assert "F1 at 10 %" in benchmark_table([without, with_f1])
    assert "0.500" in benchmark_table([without, with_f1])


def test_the_static_map_of_a_clip_is_a_predictor(tmp_path):
    def export(*flags):
        words = ["--data", tmp_path / "d", "--save_dir", tmp_path / "s", *flags]
        export_static_map.main(export_static_map.make_parser().parse_args([str(word) for word in words]))

    dataset = fill_cameras(tmp_path / "d", {"gate": 4, "yard": 2})
    for clip in dataset.clips():
        numbers = np.arange(len(dataset.frames(clip)))
        maps = np.random.default_rng(0).random((len(numbers), *dataset.grid(clip).shape), np.float32)
        write_importance(dataset.importance_path(clip), maps, numbers)
    with pytest.raises(InputError, match="has 2 clips, each with its own map; give --clip one of gate, yard"):
        export()
    with pytest.raises(InputError, match=r"no training frame of the clip gate, .* has importance"):
        export("--clip", "gate")
    dataset.write_split("train", [*dataset.frames("gate")[:2], *dataset.frames("yard")])
    export("--clip", "gate")
    assert problems(read_onnx(tmp_path / "s" / "static_gate.onnx").model) == []  # it can become an engine
    expected = np.mean([dataset.importance("gate")[number] for number in (0, 1)], axis=0)
    predictor = load_predictor(tmp_path / "s" / "static_gate.onnx")
    found = predictor.predict(np.zeros((3, *predictor.input_hw, 3), np.uint8))
    np.testing.assert_allclose(found, np.stack([expected / expected.max()] * 3), atol=1e-6)
    grid = dataset.grid("yard")
    write_importance(dataset.importance_path("yard"), np.zeros((2, *grid.shape), np.float32), np.arange(2))
    with pytest.raises(InputError, match=rf"of the clip yard is 0 in every .* --flat {grid.height} {grid.width} for"):
        export("--clip", "yard")
    assert not (tmp_path / "s" / "static_yard.onnx").exists()
