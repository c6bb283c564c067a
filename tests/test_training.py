import http.server
import io
import json
import os
import pickle
import signal
import subprocess
import sys
import tarfile
import threading
from functools import partial
from pathlib import Path

import numpy as np
import paddle
import pytest
import yaml
from conftest import ROOT, fill_dataset
from hypothesis import given
from hypothesis import strategies as st
from visualdl import LogReader

from regenhance_data import paddleseg_command, pretrained
from regenhance_data.batches import Batches
from regenhance_data.cli import InputError
from regenhance_data.files import read_image
from regenhance_data.grid import MacroblockGrid
from regenhance_data.labels import make_seg_dataset, read_label
from regenhance_data.predictors import PredictorConfig, read_state
from regenhance_data.samples import shrunk_frame, shrunk_label

CONFIGS = ROOT / "paddleseg_configs"
MB_NANO, MOBILESEG = CONFIGS / "mb_nano.yml", CONFIGS / "mobileseg_mobilenetv2.yml"
SHORT = ("--save_interval", 2, "--log_iters", 1, "--batch_size", 2)


def command(*words):
    """Run the console command in this process (Paddle takes seconds to start); return its exit code."""
    with pytest.raises(SystemExit) as left:
        paddleseg_command.main([str(word) for word in words])
    return left.value.code


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    made = fill_dataset(tmp_path_factory.mktemp("data"), {"a": 24})
    make_seg_dataset(made, gap=2)
    return made


@pytest.fixture
def flags(dataset):
    return ("--config", MB_NANO, "--dataset_root", dataset.root, *SHORT)


def weights(folder):
    state = read_state(folder / "model.pdparams")
    return {name: value for name, value in state.items() if isinstance(value, np.ndarray)}


def losses(folder):
    return [row["loss"] for row in json.loads((folder / "train_log.json").read_text()) if "loss" in row]


sizes = st.lists(st.sampled_from([(18, 32), (20, 20)]), min_size=1, max_size=30)


@given(sizes, st.integers(1, 6), st.integers(1, 4), st.integers(0, 5))
def test_parts_of_a_batch_are_together_the_batch_and_go_on_where_they_were(sizes_hw, size, parts, start):
    whole = list(Batches(sizes_hw, size * parts, 0, 8, seed=3))
    shares = [list(Batches(sizes_hw, size * parts, start, 8, 3, parts, range(p, p + 1))) for p in range(parts)]
    for number, of_one in enumerate(zip(*shares, strict=True), start):
        assert all(of_one), "a part is empty"
        if len(whole[number]) >= parts:
            assert sorted(key for part in of_one for key in part) == sorted(whole[number])
        assert len({sizes_hw[index] for part in of_one for index, _ in part}) == 1


def test_batches_of_an_iteration_accumulate_to_what_two_processes_make_of_it(flags, run, tmp_path):
    steps = (*flags, "--iters", 3, "--save_interval", 3)
    launch = ["-m", "paddle.distributed.launch", "--nproc_per_node", "2", "--backend", "gloo", "--log_dir"]
    launch += [tmp_path / "logs", Path(sys.executable).with_name("paddleseg"), "train"]
    run(*launch, *steps, "--save_dir", tmp_path / "two", timeout=200)
    assert command("train", *steps, "--accumulate_steps", 2, "--save_dir", tmp_path / "one") == 0

    np.testing.assert_allclose(losses(tmp_path / "two"), losses(tmp_path / "one"), rtol=1e-4)
    two, one = weights(tmp_path / "two" / "iter_3"), weights(tmp_path / "one" / "iter_3")
    assert two.keys() == one.keys()
    for name, value in two.items():
        np.testing.assert_allclose(value, one[name], atol=2e-4, err_msg=name)


def test_a_training_that_is_told_to_stop_keeps_its_iteration_and_says_how_to_go_on(flags, run, tmp_path):
    more = ("--iters", 400, "--save_interval", 300, "--save_dir", tmp_path)
    words = [Path(sys.executable).with_name("paddleseg"), "train", *flags, *more]
    process = subprocess.Popen([str(w) for w in words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for line in process.stdout:
        if line.startswith("iter 3/"):
            process.send_signal(signal.SIGTERM)
            break
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    (checkpoint,) = tmp_path.glob("iter_*")
    assert f"stopped at iteration {checkpoint.name.removeprefix('iter_')}; to go on" in said
    assert f"--resume_model {checkpoint}" in said
    assert weights(checkpoint)


def test_a_stopped_training_has_the_losses_of_an_unbroken_one(flags, tmp_path, monkeypatch):
    """SIGTERM in the middle of iteration 3 of 6, here from inside, so that it is always the same one."""
    from regenhance_data import stepping

    steps = (*flags, "--iters", 6, "--save_interval", 4)
    assert command("train", *steps, "--save_dir", tmp_path / "whole") == 0
    real, calls = stepping.Stepper.step, []

    def step(self, *args):
        calls.append(1)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(self, *args)

    with monkeypatch.context() as patched:
        patched.setattr(stepping.Stepper, "step", step)
        assert command("train", *steps, "--save_dir", tmp_path / "on") == 143
    assert [path.name for path in (tmp_path / "on").glob("iter_*")] == ["iter_3"]
    on = ("--save_dir", tmp_path / "on", "--resume_model", tmp_path / "on" / "iter_3")
    assert command("train", *steps, *on) == 0
    assert losses(tmp_path / "on") == pytest.approx(losses(tmp_path / "whole"), rel=1e-5)
    whole, again = (weights(tmp_path / name / "iter_6") for name in ("whole", "on"))
    for name, value in whole.items():
        np.testing.assert_allclose(value, again[name], atol=1e-5, err_msg=name)


def test_a_training_without_progress_stops_early_and_is_logged_for_visualdl(flags, tmp_path, capsys):
    stops = ("--iters", 60, "--early_stop_intervals", 2, "--use_vdl")  # its importance is noise: nothing to learn
    assert command("train", *flags, *stops, "--save_dir", tmp_path) == 0
    assert "no better validation in the last 2" in capsys.readouterr().out
    rows = json.loads((tmp_path / "train_log.json").read_text())
    last = max(row["iter"] for row in rows)
    assert last < 60
    (records,) = tmp_path.glob("vdlrecords*.log")
    scalars = LogReader(file_path=str(records)).get_data("scalar", "Train/loss")
    assert [scalar.id for scalar in scalars] == list(range(1, last + 1))


def test_mixed_precision_trains(flags, tmp_path):
    assert command("train", *flags, "--iters", 2, "--precision", "bf16", "--save_dir", tmp_path) == 0
    assert np.isfinite(losses(tmp_path)).all()


@given(st.integers(1, 70), st.integers(1, 70), st.sampled_from([1, 2, 4, 8]), st.randoms(use_true_random=False))
def test_a_shrunk_frame_has_the_macroblocks_of_the_frame(height, width, factor, random):
    rng = np.random.default_rng(random.randrange(2**32))
    image = rng.integers(0, 255, (height, width, 3), dtype=np.uint8)
    small = shrunk_frame(image, factor)
    grid = MacroblockGrid(height, width)
    small_grid = MacroblockGrid(*small.shape[:2], 16 // factor)
    assert small_grid.shape == grid.shape
    cells = rng.integers(0, 10, grid.shape, dtype=np.uint8)
    np.testing.assert_array_equal(small_grid.spread(cells), shrunk_label(grid.spread(cells), factor))
    if height % factor == 0 and width % factor == 0:
        np.testing.assert_allclose(small_grid.mean(small.mean(-1)), grid.mean(image.mean(-1)), rtol=1e-4)


@pytest.mark.parametrize("config", [MB_NANO, CONFIGS / "pp_mobileseg_tiny.yml"], ids=lambda path: path.stem)
def test_a_predictor_of_smaller_frames_has_the_macroblocks_of_the_frame_all_the_way(config, dataset, run, tmp_path):
    where = ("--config", config, "--dataset_root", dataset.root, "--save_dir", tmp_path)
    assert command("train", *where, *SHORT, "--iters", 2, "--input_scale", 0.5, "--no_pretrained") == 0
    model = tmp_path / "best_model" / "model.pdparams"
    assert yaml.safe_load(model.with_name("predictor.yaml").read_text())["input_scale"] == 0.5
    assert command("val", *where, "--model_path", model) == 0
    best = max(json.loads((tmp_path / "train_log.json").read_text()), key=lambda row: row.get("ranking", -9))
    assert json.loads((tmp_path / "val.json").read_text())["ranking"] == pytest.approx(best["ranking"], abs=1e-6)
    # what it was trained with is known: the export, which compares itself with Paddle, needs no flag
    run("deploy/export_onnx.py", *where, "--model_path", model)
    from deploy.runtime import load_predictor

    predictor = load_predictor(tmp_path / f"{config.stem}.onnx")
    assert (predictor.input_hw, predictor.grid.shape) == ((70, 93), (5, 6))
    assert float(predictor.metadata["input_scale"]) == 0.5


def test_another_input_scale_than_that_of_the_training_is_refused(flags, tmp_path, capsys):
    assert command("train", *flags, "--iters", 2, "--input_scale", 0.5, "--save_dir", tmp_path) == 0
    model = tmp_path / "iter_2" / "model.pdparams"
    assert command("val", *flags, "--save_dir", tmp_path, "--model_path", model, "--input_scale", 1) == 2
    assert "was trained with --input_scale 0.5, not 1" in capsys.readouterr().err


def test_a_network_for_another_grid_is_refused(flags, tmp_path, capsys):
    opts = ("--opts", "model.mb_size=8")
    assert command("train", *flags, "--iters", 2, "--save_dir", tmp_path, *opts) == 2
    assert "model.mb_size=16" in capsys.readouterr().err


def test_predict_draws_and_writes_what_it_says_of_pictures(flags, dataset, tmp_path, capsys):
    assert command("train", *flags, "--iters", 2, "--save_dir", tmp_path) == 0
    config_and_model = ("--config", MB_NANO, "--model_path", tmp_path / "best_model" / "model.pdparams")
    out, pictures = tmp_path / "out", dataset.root / "origin_images"
    assert command("predict", *config_and_model, "--image_path", pictures, "--save_dir", out) == 0
    said = np.load(out / "predictions.npz")
    assert sorted(said) == [f"a/{number:06d}" for number in range(24)]
    assert said["a/000003"].shape == (5, 6)
    assert 0 <= said["a/000003"].min() <= said["a/000003"].max() <= 1
    assert read_label(out / "pseudo_color_prediction" / "a" / "000003.png").shape == (70, 93)
    assert read_image(out / "added_prediction" / "a" / "000003.jpg").shape == (210, 279, 3)

    assert command("predict", *config_and_model, "--image_path", tmp_path / "absent", "--save_dir", out) == 2
    assert "no picture there" in capsys.readouterr().err
    assert command("predict", *config_and_model, "--save_dir", out) == 2
    assert "--image_path is missing" in capsys.readouterr().err


@pytest.mark.parametrize("output_op", ["argmax", "softmax", "none"])
def test_export_makes_what_paddle_inference_runs(flags, tmp_path, output_op):
    assert command("train", *flags, "--iters", 2, "--save_dir", tmp_path) == 0
    model = ("--config", MB_NANO, "--model_path", tmp_path / "best_model" / "model.pdparams")
    shape = ("--input_shape", 1, 3, 70, 93, "--output_op", output_op)
    assert command("export", *model, "--save_dir", tmp_path / "inference", *shape) == 0
    deploy = yaml.safe_load((tmp_path / "inference" / "deploy.yaml").read_text())["Deploy"]
    assert deploy["transforms"] == [{"type": "Normalize"}]

    from paddle import inference

    settings = inference.Config(*(str(tmp_path / "inference" / deploy[key]) for key in ("model", "params")))
    settings.disable_glog_info()
    predictor = inference.create_predictor(settings)
    image = np.random.default_rng(0).normal(size=(1, 3, 70, 93)).astype(np.float32)
    (found,) = predictor.run([paddle.to_tensor(image)])
    trained = PredictorConfig(MB_NANO).build("model")
    trained.set_state_dict(weights(tmp_path / "best_model"))
    trained.eval()
    logits = trained(paddle.to_tensor(image))[0]
    expected = {"argmax": logits.argmax(1), "softmax": paddle.nn.functional.softmax(logits, 1), "none": logits}
    np.testing.assert_allclose(found.numpy(), expected[output_op].numpy(), atol=1e-4)


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A folder that is served over HTTP, and a cache of its own; (folder, address, requests so far)."""
    folder, asked = tmp_path / "served", []
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *words):
            asked.append(words)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


def archive(path, content, name="mobilenetv2/model.pdparams"):
    with tarfile.open(path, "w:gz") as tar:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))


def test_a_backbone_begins_with_fetched_weights_once_and_without_them_by_one_flag(dataset, served, tmp_path, capsys):
    folder, address, asked = served
    model = PredictorConfig(MOBILESEG).build("model")
    backbone = {name: np.full(value.shape, 0.01, np.float32) for name, value in model.backbone.state_dict().items()}
    backbone["fc.weight"] = np.zeros((3, 3), np.float32)  # a head for other classes
    archive(folder / "weights.tar.gz", pickle.dumps(backbone))

    begun = PredictorConfig(MOBILESEG).build("model")
    for _ in range(2):
        count = pretrained.load_pretrained(begun, "backbone", f"{address}/weights.tar.gz")
        assert count == len(backbone) - 1
    assert len(asked) == 1, "fetched twice"
    for name, value in begun.backbone.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), backbone[name], err_msg=name)

    where = ("--config", MOBILESEG, "--dataset_root", dataset.root, "--save_dir", tmp_path, *SHORT, "--iters", 1)
    gone = ("--opts", f"model.backbone.pretrained={address}/absent.tar.gz")
    assert command("train", *where, *gone) == 2
    assert "cannot be fetched (File not found)" in capsys.readouterr().err
    assert command("train", *where, *gone, "--no_pretrained") == 0


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_fetched_weights_run_no_code_and_leave_nothing_half(served, tmp_path):
    folder, address, _ = served
    model = PredictorConfig(MOBILESEG).build("model")
    archive(folder / "evil.tar.gz", pickle.dumps({"conv1.weight": Evil(tmp_path / "owned")}))
    archive(folder / "empty.tar.gz", b"", "readme.txt")
    archive(folder / "other.tar.gz", pickle.dumps({"a": np.zeros(3, np.float32)}))
    archive(folder / "whole.tar.gz", os.urandom(200_000))
    (folder / "cut.tar.gz").write_bytes((folder / "whole.tar.gz").read_bytes()[:100_000])
    for name, says in (
        ("evil", "no Paddle checkpoint"),
        ("empty", "holds no .pdparams"),
        ("other", "no pretrained weight fits"),
        ("cut", "--no_pretrained"),
    ):
        with pytest.raises(InputError, match=says):
            pretrained.load_pretrained(model, "backbone", f"{address}/{name}.tar.gz")
    with pytest.raises(InputError, match="does not have"):
        pretrained.load_pretrained(model, "neck", f"{address}/other.tar.gz")
    with pytest.raises(InputError, match="https://"):
        pretrained.load_pretrained(model, "backbone", "ftp://example.org/x.tar.gz")
    assert not (tmp_path / "owned").exists()
    assert not list((tmp_path / "cache").rglob(".writing-*"))
