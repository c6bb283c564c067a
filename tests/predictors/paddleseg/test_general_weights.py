"""The weights that trainings of mb_nano begin with."""

import pytest
import yaml

from deploy.backends.registry import load_predictor
from regenhance_data.predictors.paddleseg.checkpoints import load_trained_weights
from regenhance_data.predictors.paddleseg.config import PredictorConfig
from regenhance_data.predictors.paddleseg.config_file import general_weights
from tests.support.commands import paddleseg
from tests.support.files import ROOT

MB_NANO, TINY = (ROOT / "paddleseg_configs" / f"{name}.yml" for name in ("mb_nano", "pp_mobileseg_tiny"))
WEIGHTS = ROOT / "paddleseg_configs/weights/mb_nano/model.pdparams"


def test_they_are_small_whole_and_say_where_they_are_from():
    assert general_weights(MB_NANO).resolve() == WEIGHTS
    assert WEIGHTS.stat().st_size < 1e6
    load_trained_weights(PredictorConfig(MB_NANO).build("model"), WEIGHTS)
    card = WEIGHTS.with_name("README.md").read_text()
    clips = yaml.safe_load((ROOT / "tests/benchmarks/general.yaml").read_text())["clips"]
    for clip in clips:
        assert f"{clip['video']} | {clip['licence']} |" in card


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        ((), 0, "model: begins with 82 pretrained weights"),
        (("--no_pretrained",), 0, ""),
        (("--opts", "model.depth=2"), 0, "of another network or grid; begin without them"),
        (("--opts", "model.width=32"), 0, "of another network or grid; begin without them"),
        (("--input_scale", 0.5), 0, "of another network or grid; begin without them"),
        (("--opts", f"model.pretrained={WEIGHTS}", "model.depth=2"), 2, "of another network or grid"),
    ],
)
def test_a_training_begins_with_them_where_they_fit(flags, code, said, dataset, tmp_path, capsys):
    where = ("--config", MB_NANO, "--dataset_root", dataset.root, "--save_dir", tmp_path)
    assert paddleseg("train", *where, "--iters", 1, "--batch_size", 2, *flags) == code
    captured = capsys.readouterr()
    if said:
        assert said in captured.out + captured.err
    else:
        assert "begins with" not in captured.out


def test_a_config_that_builds_on_theirs_has_them_too(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/mine.yml").write_text(f"_base_: {MB_NANO}\niters: 4\n")
    monkeypatch.chdir(tmp_path)
    assert general_weights(tmp_path / "mine/mine.yml").resolve() == WEIGHTS
    (tmp_path / "mine/own.pdparams").touch()
    for named, found in (
        ("own.pdparams", "mine/own.pdparams"),
        ("none.pdparams", None),
        ("https://a/b", None),
        ("x" * 999, None),
    ):
        (tmp_path / "mine/own.yml").write_text(f"_base_: {MB_NANO}\nmodel: {{pretrained: '{named}'}}\n")
        assert general_weights(tmp_path / "mine/own.yml") == (found and tmp_path / found)


def test_an_export_without_a_training_takes_them_for_frames_of_any_size(run, refused, tmp_path):
    words = ("deploy/export_onnx.py", "--zero_shot", "--input_size", 37, 53, "--save_dir", tmp_path, "--config")
    assert "has general weights, of other cameras" in run(*words, MB_NANO).stderr
    predictor = load_predictor(tmp_path / "mb_nano_53x37.onnx")
    assert (predictor.input_hw, predictor.grid.shape) == ((37, 53), (3, 4))
    assert "names no general weights" in refused(*words, TINY)
