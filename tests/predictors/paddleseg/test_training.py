import http.server
import io
import json
import os
import pickle
import re
import shutil
import signal
import ssl
import subprocess
import sys
import tarfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import paddle
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from visualdl import LogReader

from regenhance_data.dataset.importance_file import write_importance
from regenhance_data.dataset.label_png import read_label
from regenhance_data.errors import InputError
from regenhance_data.grid import MacroblockGrid
from regenhance_data.io.images import read_image
from regenhance_data.predictors.paddleseg import pretrained, settings, training
from regenhance_data.predictors.paddleseg.batches import Batches, PreparedFrames
from regenhance_data.predictors.paddleseg.checkpoints import read_paddle_state, write_paddle_state
from regenhance_data.predictors.paddleseg.config import PredictorConfig
from regenhance_data.predictors.paddleseg.optimizer_step import OptimizerStep
from regenhance_data.predictors.samples import Samples, shrunk_frame, shrunk_label
from regenhance_data.stages.make_seg_dataset import make_seg_dataset
from tests.support.commands import losses, paddleseg
from tests.support.files import ROOT, content, fill_dataset
from tests.support.paddleseg_configs import write_config

CONFIGS = ROOT / "paddleseg_configs"
MB_NANO, MOBILESEG = CONFIGS / "mb_nano.yml", CONFIGS / "mobileseg_mobilenetv2.yml"
SHORT = ("--save_interval", 2, "--log_iters", 1, "--batch_size", 2)


@pytest.fixture
def flags(dataset):
    return ("--config", MB_NANO, "--dataset_root", dataset.root, *SHORT)


def weights(folder, name="model.pdparams"):
    state = read_paddle_state(folder / name)
    return {name: value for name, value in state.items() if isinstance(value, np.ndarray)}


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


def launch(processes, *words):
    """Words of `paddleseg train` in several processes on this machine."""
    launcher = [sys.executable, "-m", "paddle.distributed.launch", "--nproc_per_node", processes, "--log_dir"]
    return [str(word) for word in (*launcher, *words[:1], Path(sys.executable).with_name("paddleseg"), *words[1:])]


@pytest.mark.slow
def test_batches_of_an_iteration_accumulate_to_what_two_processes_make_of_it(flags, tmp_path):
    # Adam makes steps of a whole learning rate of gradients that are rounding alone
    sgd = ("--opts", "optimizer.type=SGD")
    steps = (*flags, *sgd, "--iters", 3, "--save_interval", 3, "--use_ema", "--early_stop_intervals", 9, "--save_dir")
    words = launch(2, tmp_path / "logs", "train", *steps, tmp_path / "two", "--accumulate_steps", 2)
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    assert paddleseg("train", *steps, tmp_path / "one", "--accumulate_steps", 4) == 0

    np.testing.assert_allclose(losses(tmp_path / "two"), losses(tmp_path / "one"), rtol=1e-4)
    for name in ("model.pdparams", "model.pdema"):
        two, one = (weights(tmp_path / run / "iter_3", name) for run in ("two", "one"))
        assert two.keys() == one.keys()
        for tensor, value in two.items():
            np.testing.assert_allclose(value, one[tensor], atol=2e-4, err_msg=f"{name} {tensor}")


@pytest.mark.slow
def test_a_launched_training_that_is_told_to_stop_keeps_its_iteration(flags, tmp_path):
    more = ("--iters", 4000, "--save_interval", 4000, "--save_dir", tmp_path / "run")
    words = launch(2, tmp_path / "logs", "train", *flags, *more)
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    log = tmp_path / "logs" / "workerlog.0"
    try:
        wait_for(lambda: log.exists() and "iter 2/" in log.read_text())
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
    finally:
        process.kill()
    (checkpoint,) = (tmp_path / "run").glob("iter_*")
    assert f"--resume_model {checkpoint}" in log.read_text()
    assert weights(checkpoint)


def wait_for(is_so, seconds=90):
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.1)


@pytest.mark.slow
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
    assert f"stopped at iteration {checkpoint.name.removeprefix('iter_')}; to resume" in said
    assert f"--resume_model {checkpoint}" in said
    assert weights(checkpoint)


def test_a_stopped_training_has_the_losses_of_an_unbroken_one(flags, tmp_path, monkeypatch):
    """SIGTERM in the middle of iteration 3 of 6, here from inside, so that it is always the same one."""
    from regenhance_data.predictors.paddleseg import optimizer_step

    steps = (*flags, "--iters", 6, "--save_interval", 4, "--log_iters", 4, "--use_ema")
    assert paddleseg("train", *steps, "--save_dir", tmp_path / "whole") == 0
    real, calls = optimizer_step.OptimizerStep.run, []

    def run_step(self, *args):
        calls.append(1)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(self, *args)

    with monkeypatch.context() as patched:
        patched.setattr(optimizer_step.OptimizerStep, "run", run_step)
        assert paddleseg("train", *steps, "--save_dir", tmp_path / "on") == 143
    assert [path.name for path in (tmp_path / "on").glob("iter_*")] == ["iter_3"]
    on = ("--save_dir", tmp_path / "on", "--resume_model", tmp_path / "on" / "iter_3")
    assert paddleseg("train", *steps, *on) == 0
    assert losses(tmp_path / "on") == pytest.approx(losses(tmp_path / "whole"), rel=1e-5)
    whole, again = (weights(tmp_path / name / "iter_6") for name in ("whole", "on"))
    for name, value in whole.items():
        np.testing.assert_allclose(value, again[name], atol=1e-5, err_msg=name)


def test_a_training_that_goes_on_leaves_no_later_checkpoint_and_none_of_another(flags, tmp_path):
    steps = (*flags, "--save_interval", 1, "--keep_checkpoint_max", 2, "--save_dir")
    assert paddleseg("train", *steps, tmp_path / "base", "--iters", 3) == 0
    shutil.copytree(tmp_path / "base" / "iter_2", tmp_path / "other" / "iter_900")
    before = content(tmp_path / "other")
    for folder, flag in (("other", "--overwrite"), ("base", "--do_eval")):
        on = ("--resume_model", tmp_path / "base" / "iter_2", "--iters", 4)
        if folder == "other":  # where another training is
            assert paddleseg("train", *steps, tmp_path / folder, *on) == 2
            assert content(tmp_path / "other") == before
        assert paddleseg("train", *steps, tmp_path / folder, *on, flag) == 0
        assert sorted(path.name for path in (tmp_path / folder).glob("iter_*")) == ["iter_3", "iter_4"]
        shutil.copytree(tmp_path / "other" / "iter_3", tmp_path / "base" / "iter_2", dirs_exist_ok=True)


def test_a_refused_training_leaves_an_earlier_one_as_it_was(flags, tmp_path, capsys, monkeypatch):
    assert paddleseg("train", *flags, "--iters", 2, "--save_dir", tmp_path) == 0
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    on = ("--iters", 4, "--resume_model", tmp_path / "iter_2", "--save_dir", tmp_path)
    assert paddleseg("train", *flags, *on, "--use_ema") == 2
    assert "iter_2: was trained without --use_ema; leave it out" in capsys.readouterr().err
    assert paddleseg("train", *flags, "--iters", 1, "--save_dir", tmp_path) == 2
    assert f"contains an earlier training; resume it with --resume_model {tmp_path}/iter_2" in capsys.readouterr().err
    monkeypatch.setattr(settings, "find_spec", lambda name: None)
    assert paddleseg("train", *flags, "--iters", 2, "--save_dir", tmp_path, "--use_vdl", "--overwrite") == 2
    assert "pip install visualdl" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def _plain(value):
    return np.array(value) if isinstance(value, np.ndarray) else value


def test_another_batch_size_or_seed_of_a_resumed_training_is_told(flags, tmp_path, capsys):
    assert paddleseg("train", *flags, "--iters", 2, "--save_dir", tmp_path) == 0
    on = ("--iters", 3, "--resume_model", tmp_path / "iter_2", "--save_dir", tmp_path / "on", "--overwrite")
    capsys.readouterr()
    assert paddleseg("train", *flags, *on) == 0
    assert "was trained with" not in capsys.readouterr().out
    assert paddleseg("train", *flags, *on, "--batch_size", 3, "--seed", 7) == 0
    assert "iter_2: was trained with batch_size 2, now 3; seed 0, now 7" in capsys.readouterr().out
    record = tmp_path / "iter_2" / "predictor.yaml"  # an earlier kit recorded less
    record.write_text(yaml.safe_dump({**yaml.safe_load(record.read_text()), "training": None}))
    assert paddleseg("train", *flags, *on, "--seed", 7) == 0
    assert "was trained with" not in capsys.readouterr().out


def validations(folder):
    return [row for row in json.loads((folder / "train_log.json").read_text()) if "ranking" in row]


def best_iteration(folder):
    return yaml.safe_load((folder / "best_model" / "predictor.yaml").read_text())["training"]["iteration"]


@pytest.mark.parametrize("change", [None, "importance", "list"])
def test_validations_on_other_frames_do_not_count_in_a_resumed_training(tmp_path, change, capsys):
    for name, seed in (("data", 0), ("moved", 1 if change == "importance" else 0)):
        make_seg_dataset(fill_dataset(tmp_path / name, {"a": 24}, seed=seed), gap=2)
    if change == "list":
        val = tmp_path / "moved" / "val.txt"
        val.write_text("".join(val.read_text().splitlines(keepends=True)[1:]))
    words = ("train", "--config", MB_NANO, *SHORT, "--save_dir", tmp_path / "run", "--dataset_root")
    assert paddleseg(*words, tmp_path / "data", "--iters", 2) == 0
    capsys.readouterr()
    on = ("--iters", 4, "--resume_model", tmp_path / "run" / "iter_2")
    assert paddleseg(*words, tmp_path / "moved", *on) == 0
    assert ("iter_2: was trained with other frames, labels or importance" in capsys.readouterr().err) == bool(change)
    assert [row.get("counts", True) for row in validations(tmp_path / "run")] == [not change, True]
    if change:
        assert best_iteration(tmp_path / "run") == 4


def scripted(monkeypatch, *rankings, dies_at=None):
    """Let validations find these rankings, and the process end while it writes the checkpoint of an iteration."""
    real, write, left = training.validate, training.write_paddle_state, list(rankings)

    def written(path, state):
        if path.parent.name == f"iter_{dies_at}":
            raise SystemExit(137)
        write(path, state)

    monkeypatch.setattr(training, "validate", lambda *args: {**real(*args), "ranking": left.pop(0)})
    monkeypatch.setattr(training, "write_paddle_state", written)


@pytest.mark.parametrize("ema", [(), ("--use_ema",)], ids=["plain", "ema"])
def test_a_training_killed_as_it_writes_its_best_checkpoint_ends_as_an_unbroken_one(flags, tmp_path, monkeypatch, ema):
    steps = (*flags, "--iters", 10, "--keep_checkpoint_max", 2, *ema)
    with monkeypatch.context() as patched:
        scripted(patched, 0.5, 0.1, 0.2, 0.9, 0.3)
        assert paddleseg("train", *steps, "--save_dir", tmp_path / "whole") == 0
    with monkeypatch.context() as patched:
        scripted(patched, 0.5, 0.1, 0.2, 0.9, dies_at=8)
        assert paddleseg("train", *steps, "--save_dir", tmp_path / "on") == 137
    assert best_iteration(tmp_path / "on") == 2
    with monkeypatch.context() as patched:
        scripted(patched, 0.9, 0.3)
        on = ("--save_dir", tmp_path / "on", "--resume_model", tmp_path / "on" / "iter_6")
        assert paddleseg("train", *steps, *on) == 0
    whole, again = (tmp_path / name for name in ("whole", "on"))
    assert [(row["iter"], row["ranking"]) for row in validations(again)] == [
        (row["iter"], row["ranking"]) for row in validations(whole)
    ]
    assert not any("counts" in row for row in validations(again))
    assert best_iteration(whole) == best_iteration(again) == 8
    for folder in ("best_model", "iter_10"):
        for name, value in weights(whole / folder).items():
            np.testing.assert_allclose(value, weights(again / folder)[name], atol=1e-5, err_msg=name)


def test_a_best_model_that_is_gone_is_chosen_anew_and_the_log_is_kept(flags, tmp_path, monkeypatch, capsys):
    steps = (*flags, "--iters", 6, "--keep_checkpoint_max", 2, "--save_dir", tmp_path)
    scripted(monkeypatch, 0.5, 0.1, 0.9, 0.3)
    assert paddleseg("train", *steps) == 0
    assert paddleseg("train", *steps, "--resume_model", tmp_path / "iter_4") == 0
    assert "of iteration 2, are gone" in capsys.readouterr().out
    assert [(row["iter"], row["ranking"]) for row in validations(tmp_path)] == [(2, 0.5), (4, 0.1), (6, 0.3)]
    assert best_iteration(tmp_path) == 6
    np.testing.assert_array_equal(*(weights(tmp_path / folder)["head.weight"] for folder in ("best_model", "iter_6")))


def test_where_nothing_can_be_ranked_the_last_checkpoint_is_the_best_and_told(tmp_path, capsys):
    data = fill_dataset(tmp_path / "data", {"a": 24})
    importance = data.importance("a")
    shown = np.stack([cells if number < 1 else cells * 0 for number, cells in sorted(importance.items())])
    write_importance(data.importance_path("a"), shown, np.arange(24))
    make_seg_dataset(data, gap=2)
    where = ("--config", MB_NANO, "--dataset_root", data.root, "--save_dir", tmp_path / "run")
    assert paddleseg("train", *where, *SHORT, "--iters", 4) == 0
    said = capsys.readouterr().out
    assert "best_model is the last checkpoint" in said
    assert "ranking 0.000" not in said
    best, last = ((tmp_path / "run" / name / "model.pdparams").read_bytes() for name in ("best_model", "iter_4"))
    assert best == last
    assert paddleseg("val", *where, "--model_path", tmp_path / "run" / "best_model" / "model.pdparams") == 0
    assert "cannot tell" in capsys.readouterr().out
    assert "cannot tell" in json.loads((tmp_path / "run" / "val.json").read_text())["verdict"]


def test_val_says_what_a_good_figure_is_and_writes_only_where_it_is_told(flags, tmp_path, capsys, monkeypatch):
    assert paddleseg("train", *flags, "--iters", 2, "--save_dir", tmp_path / "run") == 0
    (tmp_path / "empty").mkdir()
    capsys.readouterr()
    monkeypatch.chdir(tmp_path / "empty")
    assert paddleseg("val", *flags[:4], "--model_path", tmp_path / "run" / "iter_2" / "model.pdparams") == 0
    said = capsys.readouterr().out
    assert "than the static map (" in said
    assert "(the static map)" in said
    assert "0.09 a random order" in said
    assert not list((tmp_path / "empty").iterdir())


def test_predictions_that_stopped_go_on_where_they_were(flags, dataset, tmp_path, capsys):
    assert paddleseg("train", *flags, "--iters", 2, "--save_dir", tmp_path / "run") == 0
    pictures, out = tmp_path / "pictures", tmp_path / "out"
    shutil.copytree(dataset.root / "origin_images", pictures)
    words = ("predict", "--config", MB_NANO, "--model_path", tmp_path / "run" / "iter_2" / "model.pdparams")
    words += ("--image_path", pictures)
    assert paddleseg(*words, "--save_dir", tmp_path / "whole") == 0
    fifth = pictures / "a" / "000005.png"
    whole = fifth.read_bytes()
    fifth.write_bytes(whole[:50])
    assert paddleseg(*words, "--save_dir", out) == 2
    fifth.write_bytes(whole)
    (out / "added_prediction" / "a" / "000002.jpg").unlink()
    (pictures / "a" / "000003.png").touch()
    capsys.readouterr()
    shutil.copytree(out, tmp_path / "other")
    assert paddleseg(*words, "--save_dir", out) == 0
    assert "kept 3 of 24 pictures of an interrupted run" in capsys.readouterr().out
    assert content(out) == content(tmp_path / "whole")
    assert paddleseg(*words, "--save_dir", tmp_path / "other", "--budget", 0.3) == 0
    assert "interrupted" not in capsys.readouterr().out


@pytest.mark.slow
def test_a_dataset_with_five_levels_needs_no_further_flags(tmp_path, capsys, run):
    data = fill_dataset(tmp_path / "data", {"a": 24})
    make_seg_dataset(data, gap=2, levels=5)
    where = ("--config", MB_NANO, "--dataset_root", data.root, "--save_dir", tmp_path / "run")
    assert paddleseg("train", *where, *SHORT, "--iters", 2) == 0
    said = capsys.readouterr().out
    assert f"num_classes is 5 instead of 10, the levels in {data.root}/dataset.yaml" in said
    assert "2 iterations, the warm-up takes 1 instead of 50" in said
    model = ("--model_path", tmp_path / "run" / "best_model" / "model.pdparams")
    assert paddleseg("val", *where, *model) == 0
    colours = ("--custom_color", *range(15))
    pictures = ("--image_path", data.root / "origin_images", "--config", MB_NANO)
    assert paddleseg("predict", *pictures, *model, "--save_dir", tmp_path / "out", *colours) == 0
    with Image.open(tmp_path / "out" / "pseudo_color_prediction" / "a" / "000000.png") as picture:
        assert picture.getpalette()[:15] == list(range(15))
    assert paddleseg("export", "--config", MB_NANO, *model, "--save_dir", tmp_path / "e", "--with_softmax") == 0
    assert "deploy.yaml (softmax)" in capsys.readouterr().out
    run("deploy/export_onnx.py", *where, *model)


def test_another_optimizers_state_is_refused(flags, tmp_path, capsys):
    assert paddleseg("train", *flags, "--iters", 2, "--save_dir", tmp_path) == 0
    on = ("--iters", 4, "--resume_model", tmp_path / "iter_2", "--save_dir", tmp_path / "on")
    assert paddleseg("train", *flags, *on, "--opts", "optimizer.type=Momentum", "optimizer.momentum=0.9") == 2
    assert "model.pdopt is not of this config's optimizer" in capsys.readouterr().err
    state = read_paddle_state(tmp_path / "iter_2" / "model.pdopt")
    write_paddle_state(tmp_path / "iter_2" / "model.pdopt", {name: _plain(state[name]) for name in list(state)[1:]})
    assert paddleseg("train", *flags, *on) == 2
    assert "model.pdopt is not of this config's optimizer" in capsys.readouterr().err


@pytest.mark.parametrize("rate", [1e12, 1e30])
def test_a_network_that_says_nan_stops_the_training_with_one_line(flags, tmp_path, capsys, rate):
    assert paddleseg("train", *flags, "--iters", 6, "--learning_rate", rate, "--save_dir", tmp_path) == 2
    assert "lower --learning_rate" in capsys.readouterr().err


def test_frames_are_the_same_whoever_else_draws_at_the_time(dataset):
    frames = PreparedFrames(Samples(dataset, "train", 10), PredictorConfig(MB_NANO), "train_dataset")
    keys = [(index, seed) for index in range(5) for seed in range(8)]
    alone = [frames[key][0] for key in keys]
    with ThreadPoolExecutor(8) as pool:
        for image, again in zip(alone, pool.map(lambda key: frames[key][0], keys), strict=True):
            np.testing.assert_array_equal(image, again)


def test_a_mirrored_frame_has_the_same_macroblocks(dataset):
    # 93 pixels are five macroblocks and a part
    config = PredictorConfig(MB_NANO)
    config.seg.dic["train_dataset"]["transforms"] = [{"type": "RandomHorizontalFlip", "prob": 1.0}]
    samples = Samples(dataset, "train", 10)
    image, label = PreparedFrames(samples, config, "train_dataset")[3, 0]  # RGB by now
    assert label.shape == (70, 96)
    cells = samples.read(3)[1][::16, ::16]
    np.testing.assert_array_equal(label[::16, 8::16], cells[:, ::-1])
    np.testing.assert_array_equal(image[:, :, ::-1].transpose(1, 2, 0)[:, :93], samples.read(3)[0])


def test_a_training_without_progress_stops_early_and_is_logged_for_visualdl(flags, tmp_path, capsys):
    stops = ("--iters", 60, "--early_stop_intervals", 2, "--use_vdl")  # its importance is noise: nothing to learn
    assert paddleseg("train", *flags, *stops, "--save_dir", tmp_path) == 0
    assert "no better validation in the last 2" in capsys.readouterr().out
    rows = json.loads((tmp_path / "train_log.json").read_text())
    last = max(row["iter"] for row in rows)
    assert last < 60
    (records,) = tmp_path.glob("vdlrecords*.log")
    scalars = LogReader(file_path=str(records)).get_data("scalar", "Train/loss")
    assert [scalar.id for scalar in scalars] == list(range(1, last + 1))


class Small(paddle.nn.Layer):
    def __init__(self):
        super().__init__()
        self.conv = paddle.nn.Conv2D(3, 4, 1)

    def forward(self, x):
        return [self.conv(x)]


def test_mixed_precision_runs_the_network_under_auto_cast_and_scales_the_loss(monkeypatch):
    """What can be seen of it without a GPU: what is asked of Paddle."""
    asked, real = [], paddle.amp.auto_cast
    network = Small()
    optimizer = paddle.optimizer.SGD(0.1, network.parameters())
    losses_of = {"types": [paddle.nn.CrossEntropyLoss(axis=1)], "coef": [1]}
    batch = (paddle.rand([1, 3, 8, 8]), paddle.zeros([1, 8, 8], "int64"))
    monkeypatch.setattr(paddle.amp, "auto_cast", lambda **settings: asked.append(settings) or real(enable=False))
    for precision in ("fp32", "fp16"):
        step = OptimizerStep(
            network, losses_of, optimizer, accumulate_steps=1, precision=precision, config_path=MB_NANO
        )
        assert np.isfinite(step.run([batch], seed=0))
    assert [settings["enable"] for settings in asked] == [False, True]
    assert asked[1]["level"] == "O1"
    assert "bilinear_interp_v2" in asked[1]["custom_black_list"]


def test_an_input_scale_that_cuts_macroblocks_is_refused_and_one_of_the_training_is_kept(dataset, tmp_path, capsys):
    where = ("--dataset_root", dataset.root, *SHORT, "--no_pretrained", "--save_dir", tmp_path, "--config")
    for scale in (0.3333, 0.03125):
        assert paddleseg("train", *where, MOBILESEG, "--iters", 1, "--input_scale", scale) == 2
        assert "are cut by it" in capsys.readouterr().err
    assert paddleseg("train", *where, MB_NANO, "--iters", 2, "--input_scale", 0.5) == 0
    assert paddleseg("train", *where, MB_NANO, "--iters", 4, "--resume_model", tmp_path / "iter_2") == 0
    assert yaml.safe_load((tmp_path / "iter_4" / "predictor.yaml").read_text())["input_scale"] == 0.5


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


@pytest.mark.slow
@pytest.mark.parametrize("config", [MB_NANO, CONFIGS / "pp_mobileseg_tiny.yml"], ids=lambda path: path.stem)
def test_a_predictor_of_smaller_frames_has_the_macroblocks_of_the_frame_all_the_way(config, dataset, run, tmp_path):
    where = ("--config", config, "--dataset_root", dataset.root, "--save_dir", tmp_path)
    gently = ("--no_pretrained", "--learning_rate", 1e-3)
    assert paddleseg("train", *where, *SHORT, "--iters", 2, "--input_scale", 0.5, *gently) == 0
    model = tmp_path / "best_model" / "model.pdparams"
    assert yaml.safe_load(model.with_name("predictor.yaml").read_text())["input_scale"] == 0.5
    assert paddleseg("val", *where, "--model_path", model) == 0
    best = max(json.loads((tmp_path / "train_log.json").read_text()), key=lambda row: row.get("ranking", -9))
    assert json.loads((tmp_path / "val.json").read_text())["ranking"] == pytest.approx(best["ranking"], abs=1e-6)
    # what it was trained with is known: the export, which compares itself with Paddle, needs no flag
    run("deploy/export_onnx.py", *where, "--model_path", model)
    from deploy.backends.registry import load_predictor

    predictor = load_predictor(tmp_path / f"{config.stem}.onnx")
    assert (predictor.input_hw, predictor.grid.shape) == ((70, 93), (5, 6))
    assert float(predictor.metadata["input_scale"]) == 0.5


def test_another_input_scale_than_that_of_the_training_is_refused(flags, tmp_path, capsys):
    assert paddleseg("train", *flags, "--iters", 2, "--input_scale", 0.5, "--save_dir", tmp_path) == 0
    model = tmp_path / "iter_2" / "model.pdparams"
    assert paddleseg("val", *flags, "--save_dir", tmp_path, "--model_path", model, "--input_scale", 1) == 2
    assert "was trained with --input_scale 0.5, not 1" in capsys.readouterr().err


def test_a_network_for_another_grid_is_refused(flags, dataset, tmp_path, capsys):
    opts = ("--opts", "model.mb_size=8")
    assert paddleseg("train", *flags, "--iters", 2, "--save_dir", tmp_path, *opts) == 2
    said = f"--opts model.mb_size=8: {dataset.root}/dataset.yaml has macroblocks of 16 pixels; leave it out"
    assert said in capsys.readouterr().err


@pytest.fixture(scope="module")
def dataset_of_8(tmp_path_factory):
    """With macroblocks of 8 pixels, and HR frames of twice the size."""
    data = fill_dataset(tmp_path_factory.mktemp("of_8"), {"a": 24})
    write_importance(data.importance_path("a"), np.random.default_rng(0).random((24, 9, 12)), np.arange(24))
    make_seg_dataset(data, mb_size=8, gap=2)
    data.save(scale=2)
    return data


@pytest.mark.parametrize("kind", ["grid", "pixels"])
@pytest.mark.parametrize("given", [True, False])
def test_a_predictor_of_other_macroblocks_needs_no_further_flags(kind, given, dataset, dataset_of_8, tmp_path, capsys):
    config = MB_NANO if kind == "grid" else write_config(tmp_path / "pixels.yml")
    flag = ("--opts", "model.mb_size=8") if given and kind == "grid" else ()
    where = ("--config", config, "--save_dir", tmp_path / "run")
    on = ("--dataset_root", dataset_of_8.root)
    assert paddleseg("train", *where, *on, *SHORT, "--iters", 2, "--no_pretrained", *flag) == 0
    about = yaml.safe_load((tmp_path / "run" / "best_model" / "predictor.yaml").read_text())
    assert (about["mb_size"], about["scale"]) == (8, 2)
    where = (*where, "--model_path", tmp_path / "run" / "best_model" / "model.pdparams", *flag)
    assert paddleseg("val", *where, *on) == 0
    assert paddleseg("predict", *where, "--image_path", dataset.root / "origin_images") == 0
    assert np.load(tmp_path / "run" / "predictions.npz")["a/000003"].shape == (9, 12)
    assert paddleseg("export", *where, "--input_shape", 1, 3, 70, 93) == 0
    kit = yaml.safe_load((tmp_path / "run" / "deploy.yaml").read_text())["Kit"]
    assert (kit["mb_size"], kit["scale"]) == (8, 2)
    capsys.readouterr()
    if kind == "grid":
        assert paddleseg("val", *where, "--dataset_root", dataset.root) == 2
        assert "model.pdparams: are weights for macroblocks of 8 pixels, " in capsys.readouterr().err
    else:  # its pixels are averaged over any macroblocks
        assert paddleseg("val", *where, "--dataset_root", dataset.root) == 0


def test_weights_without_their_record_are_refused_with_what_is_missing(flags, dataset_of_8, tmp_path, capsys):
    assert paddleseg("train", *flags, "--iters", 2, "--input_scale", 0.5, "--save_dir", tmp_path) == 0
    (tmp_path / "best_model" / "predictor.yaml").unlink()
    assert paddleseg("val", *flags[:4], "--model_path", tmp_path / "best_model" / "model.pdparams") == 2
    assert "copy predictor.yaml of its training beside it, or give its --input_scale and" in capsys.readouterr().err


def test_overlapping_lists_are_told_and_learnt_frames_are_not_compared_with_the_static_map(tmp_path, capsys):
    data = make_and_split(tmp_path / "lr=0.02")  # a folder that is named after a setting, as people do
    where = ("--config", MB_NANO, "--dataset_root", data.root)
    opts = ("--opts", f"train_dataset.train_path={data.root}/train.txt", f"val_dataset.val_path={data.root}/train.txt")
    assert paddleseg("train", *where, *SHORT, "--iters", 2, "--save_dir", tmp_path / "run", *opts) == 0
    count = len(data.read_split("train"))
    assert f"{count} of {count} validation frames are training frames too" in capsys.readouterr().err
    model = ("--model_path", tmp_path / "run" / "best_model" / "model.pdparams", "--opts")
    assert paddleseg("val", *where, *model, opts[2]) == 0
    captured = capsys.readouterr()
    assert f"{count} of {count} frames are of train.txt" in captured.err
    assert "static map" not in captured.out
    assert paddleseg("val", *where, *model, f"val_dataset.val_path={data.root}/val.txt") == 0
    captured = capsys.readouterr()
    assert "frames are of" not in captured.err
    assert "static map" in captured.out


def make_and_split(root):
    data = fill_dataset(root, {"a": 24})
    make_seg_dataset(data, gap=2)
    return data


@given(st.text(max_size=9), st.text(max_size=9))
def test_an_entry_of_the_config_may_have_an_equals_sign_in_its_value(before, after):
    key, value = "train_dataset.train_path", f"{before}={after}"
    assert PredictorConfig(MB_NANO, opts=[f"{key}={value}"]).seg.dic["train_dataset"]["train_path"] == value


def test_predict_draws_and_writes_what_it_says_of_pictures(flags, dataset, tmp_path, capsys):
    assert paddleseg("train", *flags, "--iters", 2, "--save_dir", tmp_path) == 0
    config_and_model = ("--config", MB_NANO, "--model_path", tmp_path / "best_model" / "model.pdparams")
    out, pictures = tmp_path / "out", dataset.root / "origin_images"
    assert paddleseg("predict", *config_and_model, "--image_path", pictures, "--save_dir", out) == 0
    said = np.load(out / "predictions.npz")
    assert sorted(said) == [f"a/{number:06d}" for number in range(24)]
    assert said["a/000003"].shape == (5, 6)
    assert 0 <= said["a/000003"].min() <= said["a/000003"].max() <= 1
    assert read_label(out / "pseudo_color_prediction" / "a" / "000003.png").shape == (70, 93)
    assert read_image(out / "added_prediction" / "a" / "000003.jpg").shape == (210, 279, 3)

    inside = ("--image_path", out / "added_prediction")
    assert paddleseg("predict", *config_and_model, *inside, "--save_dir", out / "added_prediction") == 2
    assert "another folder" in capsys.readouterr().err
    for again in range(2):  # what was drawn is not drawn again
        assert paddleseg("predict", *config_and_model, "--image_path", pictures, "--save_dir", pictures / "drawn") == 0
        assert "24 pictures" in capsys.readouterr().out, again
    shutil.rmtree(pictures / "drawn")
    odd = tmp_path / "odd" / os.fsdecode(b"\xff.png")
    odd.parent.mkdir()
    shutil.copyfile(pictures / "a" / "000000.png", odd)
    assert paddleseg("predict", *config_and_model, "--image_path", odd.parent, "--save_dir", out) == 2
    assert "is not a name in UTF-8" in capsys.readouterr().err
    assert paddleseg("predict", *config_and_model, "--image_path", tmp_path / "absent", "--save_dir", out) == 2
    assert "no picture there" in capsys.readouterr().err
    assert paddleseg("predict", *config_and_model, "--save_dir", out) == 2
    assert "--image_path is missing" in capsys.readouterr().err


@pytest.mark.parametrize("output_op", ["argmax", "softmax", "none"])
def test_export_makes_what_paddle_inference_runs(flags, tmp_path, output_op):
    assert paddleseg("train", *flags, "--iters", 2, "--save_dir", tmp_path) == 0
    model = ("--config", MB_NANO, "--model_path", tmp_path / "best_model" / "model.pdparams")
    shape = ("--input_shape", 1, 3, 70, 93, "--output_op", output_op)
    assert paddleseg("export", *model, "--save_dir", tmp_path / "inference", *shape) == 0
    deploy = yaml.safe_load((tmp_path / "inference" / "deploy.yaml").read_text())["Deploy"]
    assert deploy["transforms"] == [{"type": "Normalize"}]

    from paddle import inference

    config = inference.Config(*(str(tmp_path / "inference" / deploy[key]) for key in ("model", "params")))
    config.disable_glog_info()
    predictor = inference.create_predictor(config)
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
    """A folder that is served over HTTPS, and a cache of its own; (folder, address, requests so far)."""
    folder, asked = tmp_path / "served", []
    folder.mkdir()
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key, "-out", certificate)
    who = ("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1")
    subprocess.run(["openssl", "req", "-x509", *curve, *who], check=True, capture_output=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *words):
            asked.append(words)

        def do_GET(self):
            if self.path == "/leads_to_http":
                self.send_response(302)
                self.send_header("Location", f"http://127.0.0.1:{plain.server_port}/other.tar.gz")
                self.end_headers()
            else:
                super().do_GET()

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    server, plain = (
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) for _ in range(2)
    )
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    for each in (server, plain):
        threading.Thread(target=each.serve_forever, daemon=True).start()
    yield folder, f"https://127.0.0.1:{server.server_port}", asked
    for each in (server, plain):
        each.shutdown()
        each.server_close()


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
    assert paddleseg("train", *where, *gone) == 2
    assert "cannot be downloaded (File not found)" in capsys.readouterr().err
    assert paddleseg("train", *where, *gone, "--no_pretrained") == 0


def test_fetched_weights_must_have_the_checksum_that_is_given(served, capsys):
    folder, address, asked = served
    model = paddle.nn.Linear(2, 2)
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    archive(folder / "weights.tar.gz", pickle.dumps(state))
    url = f"{address}/weights.tar.gz"
    for wrong, says in (("#sha256=" + "0" * 64, "its sha256 is"), ("#md5=0", "give sha256=")):
        with pytest.raises(InputError, match=says):
            pretrained.load_pretrained(model, "", url + wrong)
    assert pretrained.load_pretrained(model, "", url) == len(state)
    told = capsys.readouterr().out
    checksum = re.search(r"#sha256=[0-9a-f]{64}$", told.strip())[0]
    for _ in range(2):
        assert pretrained.load_pretrained(model, "", url + checksum) == len(state)
    assert len(asked) == 3
    assert not capsys.readouterr().out


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_fetched_weights_run_no_code_and_leave_nothing_half(served, tmp_path, monkeypatch):
    folder, address, _ = served
    model = PredictorConfig(MOBILESEG).build("model")
    archive(folder / "evil.tar.gz", pickle.dumps({"conv1.weight": Evil(tmp_path / "owned")}))
    archive(folder / "empty.tar.gz", b"", "readme.txt")
    other = tmp_path / "other.pdparams"
    other.write_bytes(pickle.dumps({"a": np.zeros(3, np.float32)}))
    archive(folder / "other.tar.gz", other.read_bytes())
    archive(folder / "whole.tar.gz", os.urandom(200_000))
    (folder / "cut.tar.gz").write_bytes((folder / "whole.tar.gz").read_bytes()[:100_000])
    (folder / "page.tar.gz").write_text("<html>Sorry</html>")
    zeros = pickle.dumps({"conv1.weight": np.zeros(3_000_000, np.float32)})
    archive(folder / "bomb.tar.gz", zeros)
    for name, says in (
        ("evil", "not a Paddle checkpoint"),
        ("empty", "holds no .pdparams"),
        ("other", "no pretrained weight fits"),
        ("cut", "--no_pretrained"),
        ("page", "not a Paddle checkpoint"),
        ("bomb", "more than"),
        ("a space", "--no_pretrained"),
    ):
        monkeypatch.setattr(pretrained, "_MOST_BYTES", 1_000_000 if name == "bomb" else 1 << 30)
        with pytest.raises(InputError, match=says):
            pretrained.load_pretrained(model, "backbone", f"{address}/{name}.tar.gz")
    with pytest.raises(InputError, match="does not have"):
        pretrained.load_pretrained(model, "neck", f"{address}/other.tar.gz")
    for refused in ("ftp://example.org/x.tar.gz", "http://example.org/x.tar.gz", f"{address}/leads_to_http"):
        with pytest.raises(InputError, match=r"come from https:|is not https:"):
            pretrained.load_pretrained(model, "backbone", refused)
    assert not (tmp_path / "owned").exists()
    assert [path.stat().st_size for path in (tmp_path / "cache").rglob("*.pdparams")] == [other.stat().st_size]
    assert not list((tmp_path / "cache").rglob(".writing-*"))
