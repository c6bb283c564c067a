import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import onnx
import pytest
from conftest import ROOT, encode, fill_dataset, noise
from onnx import TensorProto, helper

from deploy import benchmark, export_onnx, trt_infer
from deploy.runtime import CPU_BACKENDS as BACKENDS
from deploy.runtime import load_predictor
from regenhance_data.cli import InputError
from regenhance_data.dataset import read_importance
from regenhance_data.predictors import PredictorConfig, write_state

TINY = ROOT / "paddleseg_configs" / "pp_mobileseg_tiny.yml"
HEIGHT, WIDTH = 70, 93


@pytest.fixture(scope="module")
def made(run, tmp_path_factory):
    """A predictor with random weights of a wide range, exported with both heads; the pixels head takes two frames."""
    folder = tmp_path_factory.mktemp("deploy")
    dataset = fill_dataset(folder / "data", {"a": 6}, HEIGHT, WIDTH)
    config = PredictorConfig(TINY)
    model = config.build("model")
    state = model.state_dict()
    rng = np.random.default_rng(0)
    state["decode_head.conv_seg.weight"].set_value(rng.normal(0, 20, (10, 256, 1, 1)).astype(np.float32))
    weights = folder / "model.pdparams"
    write_state(weights, state)
    flags = ["--config", TINY, "--model_path", weights, "--dataset_root", dataset.root]
    said = run("deploy/export_onnx.py", *flags, "--save_dir", folder / "blocks").stdout
    words = [*flags, "--save_dir", folder / "pixels", "--head", "pixels", "--batch_size", "2"]
    export_onnx.main(export_onnx.make_parser().parse_args([str(word) for word in words]))
    name = "pp_mobileseg_tiny.onnx"
    frames = np.stack(noise(3, HEIGHT, WIDTH, seed=1))
    return SimpleNamespace(
        blocks=folder / "blocks" / name, pixels=folder / "pixels" / name, said=said, flags=flags, frames=frames
    )


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
    assert export_onnx.parity(made.blocks, "macroblock", made.frames, right)["frames"] == 3
    with pytest.raises(InputError, match=r"differs from Paddle by 0\.01"):
        export_onnx.parity(made.blocks, "macroblock", made.frames, {**right, "macroblock": reference + 0.01})


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--model_path", "absent.pdparams"], "absent.pdparams: no such file"),
        (["--opts", "val_dataset.transforms=[]"], "one Normalize alone"),
        (["--batch_size", "0"], "at least 1"),
        (["--input_size", "0", "5"], "at least 1"),
    ],
)
def test_exports_that_cannot_be_are_refused(made, tmp_path, flags, says):
    words = [str(word) for word in (*made.flags, "--save_dir", tmp_path, *flags)]
    with pytest.raises(InputError, match=says):
        export_onnx.main(export_onnx.make_parser().parse_args(words))
    assert not list(tmp_path.iterdir())


def test_what_is_no_predictor_is_refused(made, tmp_path):
    stranger = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "stranger",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
    )
    onnx.save(helper.make_model(stranger), tmp_path / "stranger.onnx")
    (tmp_path / "garbage.onnx").write_bytes(b"\xff" * 100)
    for name, says in (
        ("stranger.onnx", "no predictor of this kit"),
        ("garbage.onnx", "no ONNX file"),
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


def test_a_video_of_another_aspect_is_refused_and_nothing_is_written(made, tmp_path):
    video = encode(tmp_path / "camera.mp4", noise(2, 64, 64))
    words = ["--model", str(made.blocks), "--video", str(video), "--save_dir", str(tmp_path / "out")]
    with pytest.raises(InputError, match="another aspect"):
        trt_infer.main(trt_infer.make_parser().parse_args(words))
    assert not list((tmp_path / "out").glob("*"))


@pytest.mark.parametrize(("metric", "expected"), [("f1", 0.9), ("miou", None)])
def test_what_is_no_f1_is_not_called_so(tmp_path, metric, expected):
    evaluation = {
        "metric": metric,
        "curves": {"predictor": {"0.1": 0.9}},
        "settings": {"models": {"predictor": "m.onnx"}},
    }
    (tmp_path / "evaluation.json").write_text(json.dumps(evaluation))
    assert benchmark.read_f1(tmp_path / "evaluation.json", Path("m.onnx")) == expected


def test_the_benchmark_has_a_row_for_every_model_and_backend(made, tmp_path):
    (tmp_path / "evaluation.json").write_text(
        json.dumps(
            {
                "metric": "f1",
                "curves": {"predictor": {"0.1": 0.9}},
                "settings": {"models": {"predictor": str(made.blocks)}},
            }
        )
    )
    words = ["--models", made.blocks, made.pixels, "--evaluation", tmp_path / "evaluation.json", "--repeats", 2]
    words += ["--warmup", 0, "--save_dir", tmp_path, "--backends", *BACKENDS]
    benchmark.main(benchmark.make_parser().parse_args([str(word) for word in words]))
    rows = json.loads((tmp_path / "benchmark.json").read_text())
    assert [(row["backend"], row["batch"]) for row in rows] == [(b, n) for n in (1, 2) for b in BACKENDS]
    for row in rows:
        assert row["model"] == "pp_mobileseg_tiny"
        assert row["precision"] == "fp32"
        assert row["f1_at_10"] == (0.9 if row["head"] == "macroblock" else None)  # the model that was evaluated
        assert 0 < row["frame_ms_median"] <= row["frame_ms_p95"]
        assert row["engine_ms_median"] > 0


def test_running_a_predictor_needs_neither_torch_nor_paddle():
    check = (
        "import sys, deploy.runtime, deploy.trt_infer, deploy.benchmark\n"
        "assert not {'torch', 'paddle', 'paddleseg'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=True)
