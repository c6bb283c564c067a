"""The comparison of strategies at run time, on frames whose squares only super-resolution shows."""

import json
import re
import signal
import subprocess
import sys
import time

import numpy as np
import onnx
import pytest
import torch

from deploy.export.static_map import export_flat_map
from regenhance_data.dataset.folder import Dataset
from regenhance_data.detectors.loading import load_detector
from regenhance_data.detectors.settings import DetectorSettings
from regenhance_data.errors import InputError
from regenhance_data.io.images import write_image
from regenhance_data.stages.make_importance import make_importance
from tests.support.cameras import square_frames
from tests.support.detectors import BLUE, RED, write_detector
from tests.support.files import ROOT, encode
from tests.support.predictors import write_predictor
from tests.support.upscalers import write_repeating
from tools import evaluate, evaluate_online

HEIGHT, WIDTH, FRAMES, BUDGETS = 64, 96, 20, ("0.1", "0.3")


def lr_frames(count, height=HEIGHT, width=WIDTH, seed=0):
    """LR frames of three 4×4 squares each, uint8 [height, width, 3]: interpolation blurs the two dim ones, which the
    detector misses then.
    """
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(count):
        frame = np.zeros((height, width, 3), np.uint8)
        places = rng.permutation((height // 4 - 2) * (width // 4 - 2))[:3]
        for place, colour, light in zip(places, (RED, BLUE, RED), (5, 5, 8), strict=True):
            top, left = 4 * (place // (width // 4 - 2) + 1), 4 * (place % (width // 4 - 2) + 1)
            frame[top : top + 4, left : left + 4] = np.array(colour) * light // 8
        frames.append(frame)
    return frames


def repeated(frame, scale=2):
    return frame.repeat(scale, 0).repeat(scale, 1)


def fill(root, clips, hr_folder="sr_images", **about):
    """A dataset of clips {id: LR frames} at scale 2, whose HR frames have each pixel four times."""
    for clip, frames in clips.items():
        for number, frame in enumerate(frames):
            write_image(root / "origin_images" / clip / f"{number:06d}.png", frame)
            if hr_folder:
                write_image(root / hr_folder / clip / f"{number:06d}.png", repeated(frame))
    dataset = Dataset.open(root)
    dataset.save(scale=2, **about)
    dataset.write_split("test", dataset.all_frames())
    return root


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Flags for a predictor of brightness, an upscaler that repeats pixels and a detector of squares."""
    folder = tmp_path_factory.mktemp("parts")
    predictor = write_predictor(folder / "predictor.onnx", (HEIGHT, WIDTH))
    upscaler = write_repeating(folder / "upscaler.onnx")
    detector = write_detector(folder / "detector.onnx", "yolox", (2 * HEIGHT, 2 * WIDTH))
    return {"--predictor": predictor, "--upscaler": f"onnx:{upscaler}", "--detector": f"onnx:{detector}"}


@pytest.fixture(scope="module")
def data(tmp_path_factory, parts):
    root = fill(tmp_path_factory.mktemp("data"), {"gate": lr_frames(FRAMES)})
    settings = load_detector(DetectorSettings(parts["--detector"])).settings
    make_importance(Dataset.open(root), settings, "product", "sr_images")
    Dataset.open(root).write_split("train", Dataset.open(root).frames("gate")[:5])
    return root


def compare(parts, save_dir, *flags, **changed):
    """Run the command with the parts and further flags; returns its JSON with the rows by curve and budget."""
    given = parts | {f"--{name}": value for name, value in changed.items()}
    words = [str(word) for item in given.items() if item[1] is not None for word in item]
    words += [str(word) for word in (*flags, "--save_dir", save_dir)]
    evaluate_online.main(evaluate_online.make_parser().parse_args(words))
    result = json.loads((save_dir / "evaluate_online.json").read_text())
    return {**result, "rows": {(row["curve"], row["budget"]): row for row in result["rows"]}}


def curves_of(result):
    return {curve for curve, _ in result["rows"]}


@pytest.mark.slow
def test_scores_are_those_of_the_offline_evaluation(parts, data, tmp_path, capsys):
    online = compare(parts, tmp_path, "--data", data, "--budgets", *BUDGETS)
    printed = capsys.readouterr().out.splitlines()
    assert max(len(line) for line in printed if "%  " in line) <= 160
    words = ["--data", data, "--model", parts["--predictor"], "--budgets", *BUDGETS, "--save_dir", tmp_path]
    evaluate.main(evaluate.make_parser().parse_args([str(word) for word in words]))
    offline = json.loads((tmp_path / "evaluation.json").read_text())
    assert (online["reference"], online["frames"]) == ("whole-frame super-resolution", FRAMES)
    scores = {key: row["f1"] for key, row in online["rows"].items()}
    assert (scores["none", 0], scores["all", 1]) == (offline["none"], offline["all"]) == (0.5, 1)
    for ours, theirs in (
        ("predictor", "predictor"),
        ("oracle", "oracle"),
        ("static", "static"),
        ("boxes, two passes", "boxes"),
    ):
        assert {f"{b:g}": score for (curve, b), score in scores.items() if curve == ours} == pytest.approx(
            offline["curves"][theirs],
            abs=1 / (3 * FRAMES),  # one detection
        )
    assert 0.5 < scores["predictor", 0.1] < 1
    assert curves_of(online) == {
        *("none", "all", "slices", "every n-th frame whole", "random", "boxes, two passes", "static", "oracle"),
        *("predictor", "predictor + cache"),  # and no difference, which originals alone give
        "boxes of the last frame",
    }
    assert {path.name for path in tmp_path.iterdir()} >= {"evaluate_online.png", "evaluate_online.svg"}


def test_feedback_has_rows_of_its_own(parts, data, tmp_path):
    result = compare(parts, tmp_path, "--data", data, "--max_frames", 3, "--budgets", 0.1, "--feedback", 3)
    assert {curve for curve in curves_of(result) if "feedback" in curve} == {
        *("predictor + feedback", "predictor + feedback + cache")
    }
    assert result["settings"]["plan"]["feedback"] == 3


def test_originals_are_the_reference_and_true_boxes_come_before_them(parts, data, tmp_path):
    root = fill(tmp_path / "data", {"gate": lr_frames(4), "yard": lr_frames(3, seed=1)}, "hr_images")
    result = compare(parts, tmp_path / "originals", "--data", root, "--every", 2, "--max_frames", 1)
    assert (result["reference"], result["frames"]) == ("the original HR frames", 2)
    assert not any("feedback" in curve for curve in curves_of(result))
    assert result["clips"] == ["gate", "yard"]
    assert "difference" in curves_of(result)
    assert "oracle" not in curves_of(result)
    truth = tmp_path / "truth.json"
    truth.write_text(json.dumps({"classes": ["red", "blue"], "frames": {str(n): [] for n in range(3)}}))
    flags = ("--data", root, "--truth", truth)
    result = compare(parts, tmp_path / "true", *flags, "--clips", "gate", "--max_frames", 2)
    assert (result["reference"], result["frames"], result["clips"]) == ("true boxes", 2, ["gate"])
    assert {row["f1"] for row in result["rows"].values()} == {None}  # none of the frames has a true box
    assert result["verdict"]["answer"] == "cannot tell"
    for wrong, words in (
        (("--clips", "gate"), r"truth\.json: has no entry for frame 3"),
        ((), r"--truth: is of one clip"),
        (("--clips", "attic"), r"--clips attic: .* there are: gate, yard"),
    ):
        with pytest.raises(InputError, match=words):
            compare(parts, tmp_path / "wrong", *flags, *wrong)


def test_enhancement_may_not_help(parts, tmp_path):
    bright = [np.where(frame > 0, 255, 0).astype(np.uint8) for frame in lr_frames(FRAMES)]
    root = fill(tmp_path / "data", {"gate": bright}, "hr_images")
    result = compare(parts, tmp_path, "--data", root, "--budgets", 0.1, predictor=None)
    assert result["rows"]["none", 0]["f1"] == 1
    assert result["verdict"]["text"].startswith("not worth it: whole-frame super-resolution gains ")
    assert "predictor" not in curves_of(result)


def test_a_detector_that_finds_nothing_says_nothing(parts, data, tmp_path, capsys):
    flags = ("--score_threshold", 1, "--max_frames", 2, "--budgets", 0.1)
    result = compare(parts, tmp_path, "--data", data, *flags)
    assert {row["f1"] for row in result["rows"].values()} == {None}
    assert result["verdict"]["answer"] == "cannot tell"
    assert result["verdict"]["advice"] == "give frames with objects, other --classes or a lower --score_threshold"
    assert "nan" not in capsys.readouterr().out


def test_videos_are_originals_or_lr_frames_by_their_height(parts, tmp_path, capsys):
    flags = ("--max_frames", 2, "--every", 3, "--budgets", 0.1)
    lr = encode(tmp_path / "lr.mp4", lr_frames(8), pixel_format="yuv444p")
    result = compare(parts, tmp_path, "--video", lr, *flags)
    assert (result["frames"], result["reference"]) == (2, "whole-frame super-resolution")
    assert "taken as LR frames" in capsys.readouterr().out
    with pytest.raises(InputError, match="--jpeg_quality: --video has LR frames"):
        compare(parts, tmp_path, "--video", lr, *flags, "--jpeg_quality", 75)
    originals = encode(tmp_path / "hr.mp4", square_frames(4, 480, 640))
    flags += ("--jpeg_quality", 60)
    result = compare(parts, tmp_path, "--video", originals, *flags, predictor=None, upscaler="bicubic")
    assert (result["frames"], result["reference"]) == (2, "the original HR frames")
    assert result["settings"]["lr_size"] == [213, 160]
    printed = capsys.readouterr()
    assert "taken as originals; LR frames of 213x160, JPEG 60, are made of them" in printed.out
    assert "a verdict needs 20 frames, and there are 2 at most" in printed.err
    for curve in ("none", "slices", "difference"):
        assert curve in curves_of(result)
    odd = encode(tmp_path / "odd.mp4", square_frames(2, 720, 1280))  # 3 does not divide its width
    result = compare(parts, tmp_path, "--video", odd, "--budgets", 0.1, predictor=None, upscaler="bicubic")
    assert result["settings"]["lr_size"] == [426, 240]


def test_videos_that_do_not_fit_are_refused_before_the_first_frame(parts, tmp_path):
    large, small = (encode(tmp_path / f"{h}.mp4", square_frames(2, h, h * 4 // 3)) for h in (960, 480))
    with pytest.raises(
        InputError, match=r"480\.mp4: has 480 lines, originals for LR frames of 320 lines at scale 3 need"
    ):
        compare(parts, tmp_path / "out", "--video", large, small, predictor=None, upscaler="bicubic")
    lr = encode(tmp_path / "lr.mp4", lr_frames(2, 32, 48), pixel_format="yuv444p")
    with pytest.raises(InputError, match=r"lr\.mp4: has 32 lines, LR frames need 64; give a video of more lines"):
        compare(parts, tmp_path / "out", "--video", lr)
    assert not (tmp_path / "out").exists()


def test_segmentation_is_compared_by_the_classes_that_count(parts, data, tmp_path):
    network = torch.nn.Conv2d(3, 3, 4, 4)
    with torch.no_grad():  # black, red and blue
        network.weight.copy_(torch.tensor([[0, 0, 0], [1, 0, 0], [0, 0, 1]])[..., None, None] / 16)
        network.bias.copy_(torch.tensor([0.55, 0, 0]))
    torch.jit.save(torch.jit.trace(network.eval(), torch.rand(1, 3, 64, 96)), tmp_path / "d.pt")
    pixels = ("--pixel_mean", 0, 0, 0, "--pixel_std", 1, 1, 1, "--detector_layout", "segmentation")
    flags = ("--data", data, "--max_frames", 2, "--budgets", 0.1, *pixels)
    detector = f"torchscript:{tmp_path / 'd.pt'}"
    scores = []
    for counted in ((), ("--classes", 2)):  # blue, of which the upsampled frames have none
        result = compare(parts, tmp_path, *flags, *counted, detector=detector)
        assert (result["metric"], result["rows"]["all", 1]["miou"]) == ("miou", 1)
        assert not curves_of(result) & {"slices", "boxes, two passes"}
        scores.append(result["rows"]["none", 0]["miou"])
    assert 0 < scores[0] < 1
    assert scores[1] == 0


@pytest.mark.parametrize(
    ("changed", "flags", "words"),
    [
        ({"upscaler": "builtin"}, (), "--upscaler: scale 2 is needed, builtin makes frames 3 times"),
        ({"detector": None}, ("--split", "all"), "--detector is missing; give one of: builtin"),
        ({}, ("--budgets", 0.1, 1.5), "--budgets: expected shares between 0 and 1"),
        ({}, ("--every", 0), "--every 0: expected at least 1"),
        ({}, ("--jpeg_quality", 75), "--jpeg_quality: goes with --video"),
        ({}, ("--split", "val"), r"val\.txt"),
        ({"predictor": "none.onnx"}, (), r"none\.onnx: no such predictor"),
        ({"predictor": "http://localhost:8000/v2/models/m"}, (), "is an address, and this command takes files"),
        ({"predictor": "other.onnx"}, (), r"takes frames of 64x48, the frames are 96x64; use .*--input_size 64 96"),
        ({"predictor": "flat.onnx"}, (), r"takes frames of 64x48, .*; use deploy/export_static_map\.py --flat 64 96"),
        ({"predictor": "scale3.onnx"}, (), r"is for scale 3 and .* the frames have scale 2"),
        ({"upscaler": "onnx:x3.onnx"}, (), r"--upscaler: scale 2 is needed, .*x3\.onnx makes frames 3 times"),
    ],
)
def test_wrong_flags_and_pairings_are_one_line(parts, tmp_path, changed, flags, words):
    root = fill(tmp_path / "data", {"gate": lr_frames(1)}, hr_folder=None)
    write_predictor(tmp_path / "other.onnx", (48, 64))
    export_flat_map((48, 64), 2, tmp_path / "flat.onnx")
    model = onnx.load(write_predictor(tmp_path / "scale3.onnx", (HEIGHT, WIDTH)))
    next(one for one in model.metadata_props if one.key == "scale").value = "3"
    onnx.save(model, tmp_path / "scale3.onnx")
    write_repeating(tmp_path / "x3.onnx", scale=3)
    placed = {
        name: value and re.sub(r"(\w+\.onnx)", lambda found: str(tmp_path / found[0]), value)
        for name, value in changed.items()
    }
    with pytest.raises(InputError, match=words):
        compare(parts, tmp_path / "out", "--data", root, *flags, **placed)
    assert not (tmp_path / "out").exists()


def test_wrong_sources_are_one_line(parts, tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    with pytest.raises(InputError, match=r"broken\.mp4"):
        compare(parts, tmp_path / "out", "--video", broken)
    root = fill(tmp_path / "data", {"gate": lr_frames(1), "yard": lr_frames(1, 48, 64)}, hr_folder=None)
    gap = fill(tmp_path / "gap", {"gate": lr_frames(2)}, "hr_images")
    (gap / "hr_images" / "gate" / "000001.png").unlink()
    with pytest.raises(InputError, match=r"hr_images/gate/000001\.png: no such HR frame \(1 of 2 are missing\)"):
        compare(parts, tmp_path / "out", "--data", gap)
    with pytest.raises(InputError, match=r"frames have several sizes \(gate 96x64, yard 64x48\); give --clips"):
        compare(parts, tmp_path / "out", "--data", root)
    assert not (tmp_path / "out").exists()


def test_a_broken_frame_costs_what_comes_after_it(parts, tmp_path):
    root = fill(tmp_path / "data", {"gate": lr_frames(3)}, "hr_images")
    write_image(root / "hr_images/gate/000002.png", np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    with pytest.raises(InputError, match=r"000002\.png: is 96x64, .*; kept the results of 2 frames, in .*out"):
        compare(parts, tmp_path / "out", "--data", root, "--budgets", 0.1)
    result = json.loads((tmp_path / "out/evaluate_online.json").read_text())
    assert (result["frames"], result["interrupted"]) == (2, True)


@pytest.mark.parametrize("is_measuring", [False, True])
@pytest.mark.slow
def test_ctrl_c_keeps_the_frames_that_are_done(parts, tmp_path, is_measuring):
    long = encode(tmp_path / "long.mp4", lr_frames(FRAMES) * 100)
    words = [*(word for item in parts.items() for word in item), "--video", long, "--save_dir", tmp_path / "out"]
    command = [sys.executable, "-u", "tools/evaluate_online.py", *map(str, words)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while "upscaler " not in process.stdout.readline():
            assert process.poll() is None, process.stderr.read()
        if is_measuring:
            time.sleep(8)  # warming up takes one or two
        process.send_signal(signal.SIGINT)
        printed, said = process.communicate(timeout=60)
    assert process.returncode == 130
    (line,) = [line for line in said.splitlines() if not line.startswith("warning")]
    if not (tmp_path / "out").exists():
        # the second part where frames were being measured already
        assert line.removesuffix(": no frame was done, so nothing is written") == "evaluate_online.py: interrupted"
        assert not is_measuring
        return
    result = json.loads((tmp_path / "out" / "evaluate_online.json").read_text())
    kept = f"kept the results of {result['frames']} frames, in {tmp_path / 'out'}"
    assert line == f"evaluate_online.py: interrupted: {kept}"
    assert (result["interrupted"], 0 < result["frames"] < 100 * FRAMES) == (True, True)
    assert result["verdict"]["text"] in printed
