"""The weights that trainings of mb_nano begin with."""

import shutil

import numpy as np
import pytest
import yaml

from deploy.backends.registry import load_predictor
from regenhance_data.predictors.paddleseg.checkpoints import load_trained_weights, read_paddle_state
from regenhance_data.predictors.paddleseg.config import PredictorConfig
from regenhance_data.predictors.paddleseg.config_file import pretrained_sources
from tests.support.commands import paddleseg
from tests.support.files import ROOT

MB_NANO, TINY = (ROOT / "paddleseg_configs" / f"{name}.yml" for name in ("mb_nano", "pp_mobileseg_tiny"))
WEIGHTS = ROOT / "paddleseg_configs/weights/mb_nano/model.pdparams"


def test_they_are_small_whole_and_say_where_they_are_from():
    assert pretrained_sources(MB_NANO) == {"": str(WEIGHTS)}
    assert WEIGHTS.stat().st_size < 1e6
    load_trained_weights(PredictorConfig(MB_NANO).build("model"), WEIGHTS)
    card = WEIGHTS.with_name("README.md").read_text()
    clips = yaml.safe_load((ROOT / "tests/benchmarks/general.yaml").read_text())["clips"]
    for clip in clips:
        assert f"{clip['video']} | {clip['licence']} |" in card


LEFT_OUT = "are weights of another network or grid; this training begins with random weights"


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        ((), 0, f"model: begins with the pretrained weights of {WEIGHTS} (82 tensors)"),
        (("--no_pretrained",), 0, ""),
        (("--opts", "model.depth=2"), 0, LEFT_OUT),
        (("--opts", "model.width=32"), 0, LEFT_OUT),
        (("--input_scale", 0.5), 0, LEFT_OUT),
        (("--opts", f"model.pretrained={WEIGHTS.parent}"), 2, "mb_nano: is a folder; give the .pdparams file in it"),
        (("--opts", f"model.pretrained={WEIGHTS}", "model.depth=2"), 2, "are weights of another network or grid"),
    ],
)
def test_a_training_begins_with_them_where_they_fit(flags, code, said, dataset, tmp_path, capsys):
    where = ("--config", MB_NANO, "--dataset_root", dataset.root, "--iters", 1, "--batch_size", 2, "--save_dir")
    assert paddleseg("train", *where, tmp_path / "one", *flags) == code
    captured = capsys.readouterr()
    if said:
        assert said in captured.out + captured.err
    else:
        assert "begins with" not in captured.out
    if said == LEFT_OUT:  # then nothing of them is in it
        assert paddleseg("train", *where, tmp_path / "two", *flags, "--no_pretrained") == 0
        one, two = (read_paddle_state(tmp_path / name / "best_model/model.pdparams") for name in ("one", "two"))
        assert all(np.array_equal(one[name], two[name]) for name in two)


def test_weights_that_a_config_names_itself_must_fit(dataset, tmp_path, capsys):
    (tmp_path / "own.yml").write_text(f"_base_: {MB_NANO}\nmodel: {{depth: 2, pretrained: own.pdparams}}\n")
    where = ("--config", tmp_path / "own.yml", "--dataset_root", dataset.root, "--save_dir", tmp_path / "run")
    assert paddleseg("train", *where, "--iters", 1) == 2
    assert "own.pdparams: no such pretrained weights, neither from here nor beside" in capsys.readouterr().err
    shutil.copy(WEIGHTS, tmp_path / "own.pdparams")
    assert paddleseg("train", *where, "--iters", 1) == 2
    assert "own.pdparams: are weights of another network or grid" in capsys.readouterr().err


def test_a_path_of_weights_is_beside_its_config_first_then_from_here(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    for path in ("mine/own.pdparams", "own.pdparams", "here.pdparams", "weights/mb_nano/model.pdparams"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    (tmp_path / "mine/mine.yml").write_text(f"_base_: {MB_NANO}\niters: 4\n")
    assert pretrained_sources(tmp_path / "mine/mine.yml") == {"": str(WEIGHTS)}
    beside = str(tmp_path / "mine/own.pdparams")
    for named in ("own.pdparams", "here.pdparams", "none.pdparams", "https://a/b", "x" * 999):
        found = beside if named == "own.pdparams" else named
        (tmp_path / "mine/own.yml").write_text(f"_base_: {MB_NANO}\nmodel: {{pretrained: '{named}'}}\n")
        assert pretrained_sources(tmp_path / "mine/own.yml") == {"": found}


def test_an_export_without_a_training_takes_them_for_frames_of_any_size(run, refused, tmp_path):
    words = ("deploy/export_onnx.py", "--zero_shot", "--input_size", 37, 53, "--save_dir", tmp_path, "--config")
    assert "has general weights, of other cameras" in run(*words, MB_NANO).stderr
    predictor = load_predictor(tmp_path / "mb_nano_zero_shot_53x37.onnx")
    assert (predictor.input_hw, predictor.grid.shape) == ((37, 53), (3, 4))
    assert predictor.metadata["weights"] == "general"
    assert "names no file of general weights" in refused(*words, TINY)
    given = (*words, MB_NANO, "--opts", f"model.pretrained={WEIGHTS}")
    assert "give others with --model_path" in refused(*given)
