"""Commands start fast: --help and refusals that need no model import no heavy library."""

import subprocess
import sys

import pytest

from regenhance_data.io.images import write_image
from tests.support.files import ROOT, noise

HEAVY = {"torch", "torchvision", "paddle", "paddleseg", "matplotlib", "onnx", "onnxruntime", "openvino", "scipy", "ray"}
COMMANDS = sorted(
    f"{path.parent.name}/{path.name}"
    for folder in ("tools", "deploy")
    for path in (ROOT / folder).glob("*.py")
    if "make_parser" in path.read_text() or path.stem == "doctor"
)


def imported_by(*words, code):
    """The top-level modules that a command imports until it exits with `code`, and its stderr."""
    command = [sys.executable, "-X", "importtime", *map(str, words)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == code, result.stderr[-2000:]
    lines = [line for line in result.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}, result.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_help_imports_no_heavy_library(command):
    modules, _ = imported_by(command, "--help", code=0)
    assert not modules & {*HEAVY, "av"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("make_importance --data DATA --detector magic", "no such detector"),
        ("make_importance --data DATA --detector onnx:no.onnx", "no.onnx: no such file"),
        ("make_importance --data DATA --detector builtin --score_threshold 2", "--score_threshold 2"),
        ("make_importance --data DATA --detector builtin --formula path --points 2", "--points 2"),
        ("make_importance --data no --detector builtin", "no: "),
        ("super_resolve --data DATA --model magic", "no such upscaler"),
        ("super_resolve --data DATA --model edsr:no.pt", "no.pt: no such file"),
        ("super_resolve --data no --model builtin", "no: "),
        ("evaluate --data DATA --model no.onnx --save_dir out", "no.onnx: no such predictor"),
        ("evaluate --data DATA --model localhost:8000/v2/models/m --save_dir out", "is an address, and this command"),
        ("evaluate_reuse --data DATA --model http://localhost/v2/models/m --save_dir out", "is an address"),
        ("evaluate --data DATA --budgets 2 --save_dir out", "--budgets"),
        ("evaluate_reuse --data DATA --model no.onnx --save_dir out", "no.onnx: no such predictor"),
        ("compare_formulas --data no --detector builtin --save_dir out", "no: "),
        ("compare_formulas --data DATA --formulas magic --save_dir out", "formula magic"),
        ("extract --video no.mp4 --data out", "no.mp4: no such video"),
        ("demo --video no.mp4 --detector onnx:d.onnx --save_dir out", "no.mp4: no such video"),
        ("demo --detector magic --save_dir out", "no such detector"),
        ("predict_importance --model no.pth --data DATA --save_dir out", "no.pth: no such model"),
        ("train_accmodel --data no --save_dir out", "no: "),
        ("train_accmodel --data DATA --epochs 0 --save_dir out", "--epochs 0"),
        ("train_builtin_detector --streets 0 --save_dir out", "--streets 0"),
        ("train_builtin_upscaler --detector no.pt --save_dir out", "no.pt: no such weights"),
        ("report_dataset --data no", "no: "),
        ("check_dataset --data no", "no: "),
        ("make_seg_dataset --data no", "no: "),
        ("export_onnx --config CONFIG --random_weights --save_dir out", "--dataset_root or --input_size is missing"),
        ("export_onnx --config CONFIG --random_weights --input_size 48 64 --input_scale 0.3 --save_dir out", "0.3"),
        ("export_onnx --config no.txt --random_weights --input_size 48 64 --save_dir out", "no.txt: "),
        ("export_onnx --config CONFIG --model_path no.pdparams --dataset_root DATA --save_dir out", "no such file"),
        ("export_detector --detector magic --frame_size 64 96 --save_dir out", "no such detector"),
        ("export_detector --detector builtin --save_dir out", "--frame_size or --video is missing"),
        ("export_upscaler --model magic --save_dir out", "no such upscaler"),
        ("export_upscaler --model bicubic --save_dir out", "--model bicubic: cannot be exported"),
        ("export_upscaler --model edsr:no.pt --save_dir out", "no.pt: no such file"),
        ("onnx2trt --onnx no.onnx --dry_run", "no.onnx: "),
        ("onnx2trt --onnx HTTP://localhost/v2/models/m --dry_run", "is an address, and this command takes files"),
        ("benchmark --models localhost/v2/models/m --save_dir out", "is an address, and this command takes files"),
        ("benchmark --models no.onnx --save_dir out", "no.onnx: no such file"),
        ("benchmark --models all --backends magic --save_dir out", "--backends magic"),
        ("trt_infer --model no.onnx --video no.mp4 --save_dir out", "no"),
    ],
)
def test_refusals_that_need_no_model_import_no_heavy_library(tmp_path, words, message):
    for folder, image in (("origin_images", noise(1, 32, 48)[0]), ("hr_images", noise(1, 96, 144)[0])):
        write_image(tmp_path / "data" / folder / "000000.png", image)
    config = ROOT / "paddleseg_configs" / "mb_nano.yml"
    places = {"CONFIG": config, "DATA": tmp_path / "data", "out": tmp_path / "out", "no": tmp_path / "no"}
    tool, *flags = words.split()
    folder = "tools" if (ROOT / "tools" / f"{tool}.py").exists() else "deploy"
    modules, stderr = imported_by(f"{folder}/{tool}.py", *(places.get(flag, flag) for flag in flags), code=2)
    assert message in stderr
    assert not modules & HEAVY
