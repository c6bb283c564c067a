"""Two runs of a command that write to one folder: the second is refused."""

import importlib
import os

import pytest

from regenhance_data.errors import InputError
from regenhance_data.io.files import alone, locked
from regenhance_data.predictors.paddleseg import command

DATA, PREDICTOR = ("--data", "D"), ("--predictor", "P.onnx", "--upscaler", "builtin")
COMMANDS = {
    "deploy.benchmark": ("benchmark", "--models", "M.onnx"),
    "deploy.export_detector": ("export_detector",),
    "deploy.export_onnx": ("export_onnx", "--config", "C.yml", "--random_weights"),
    "deploy.export_static_map": ("export_static_map", "--data", "D"),
    "deploy.export_upscaler": ("export_upscaler", "--model", "builtin"),
    "deploy.make_triton_repository": ("make_triton_repository", "--models", "M.onnx"),
    "deploy.run_cameras": ("run", "--video", "rtsp://10.255.255.1/x", *PREDICTOR, "--detector", "builtin"),
    "deploy.plan": ("plan", *DATA, *PREDICTOR, "--target_fps", "5"),
    "tools.benchmark_clips": ("benchmark_clips", "--manifest", "M.yaml"),
    "tools.compare_formulas": ("compare_formulas", *DATA),
    "tools.demo": ("demo",),
    "tools.estimate_gain": ("estimate_gain", *DATA),
    "tools.evaluate": ("evaluate", *DATA),
    "tools.evaluate_reuse": ("evaluate_reuse", *DATA, "--model", "M.onnx"),
    "tools.evaluate_online": ("evaluate_online", *DATA, *PREDICTOR),
    "tools.predict_importance": ("predict_importance", *DATA, "--model", "M.pth"),
    "tools.render_scene": ("render_scene",),
    "tools.train_accmodel": ("train", *DATA),
    "tools.train_builtin_detector": ("train_builtin_detector",),
    "tools.train_builtin_upscaler": ("train_builtin_upscaler",),
    "tools.train_upscaler": ("train_upscaler", *DATA),
}


@pytest.mark.parametrize("module", COMMANDS)
def test_a_second_run_is_refused_before_it_reads_or_changes_anything(module, tmp_path):
    script, (name, *words) = importlib.import_module(module), COMMANDS[module]
    flag = "--repository" if name == "make_triton_repository" else "--save_dir"
    folder = tmp_path / "new" / "out"
    args = script.make_parser().parse_args([*words, flag, str(folder)])
    with locked(folder / f".{name}.lock"), pytest.raises(InputError, match=f"is working there .process {os.getpid()} "):
        script.main(args)
    assert not (tmp_path / "new").exists(), "an empty folder is left"


@pytest.mark.parametrize("verb", ["train", "predict", "export"])
def test_a_second_training_prediction_or_export_of_paddleseg_is_refused(verb, tmp_path, capsys):
    weights = tmp_path / "model.pdparams"
    weights.touch()
    words = [verb, "--config", "paddleseg_configs/mb_nano.yml", "--save_dir", str(tmp_path / "out")]
    words += [] if verb == "train" else ["--model_path", str(weights)]
    words += ["--image_path", str(tmp_path)] if verb == "predict" else []
    with locked(tmp_path / "out" / f".{verb}.lock"), pytest.raises(SystemExit, match="2"):
        command.main(words)
    assert "another run is working there" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["model.pdparams"]


def test_the_folder_of_a_command_is_free_again_and_keeps_what_was_written(tmp_path):
    class Args:
        save_dir = tmp_path / "out"

    def main(args):
        (args.save_dir / "a.json").touch()

    for _ in range(2):
        alone("main")(main)(Args)
    assert [path.name for path in Args.save_dir.iterdir()] == ["a.json"]


def test_the_command_that_holds_a_folder_is_cut_between_words(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["x.py", *["--detector", "onnx:detector.onnx"] * 20])
    cut = pytest.raises(InputError, match=r"(--detector|onnx:detector\.onnx) …\); wait")
    with locked(tmp_path / ".lock"), cut, locked(tmp_path / ".lock"):
        pass
