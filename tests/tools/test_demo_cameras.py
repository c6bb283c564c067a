"""The demo on cameras and with a detector of one's own."""

import json
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO

import numpy as np
import pytest

from regenhance_data.dataset.folder import Dataset
from tests.support.commands import here
from tests.support.detectors import write_detector
from tests.support.files import encode
from tests.support.pages import Sources
from tools import demo

pytestmark = pytest.mark.timeout(900)  # on a busy machine


def squares(count: int, width: int) -> list[np.ndarray]:
    """Frames of 480 lines with dim red and blue squares that wander over grey."""
    frames = []
    for index in range(count):
        image = np.full((480, width, 3), 60, np.uint8)
        for number in range(6):
            top, left = 60 + 64 * number, (40 + 90 * number + 4 * index) % (width - 40)
            image[top : top + 16, left : left + 16] = (170, 0, 0) if number % 2 else (0, 0, 170)
        frames.append(image)
    return frames


@pytest.fixture(scope="module")
def cameras(tmp_path_factory):
    """The demo on two cameras of other shapes, with a detector of one's own: its folder, flags, stdout and stderr.

    Its commands run in this process: that they do in their own is tested with the built-in street.
    """
    folder = tmp_path_factory.mktemp("cameras")
    gate = encode(folder / "gate.mp4", squares(121, 320), pixel_format="yuv444p")
    yard = encode(folder / "yard.mp4", squares(60, 240), pixel_format="yuv444p")
    detector = write_detector(folder / "squares.onnx", "yolov8", (480, 320))
    flags = ["--video", f"{gate} {yard}", "--detector", f"onnx:{detector}", "--max_frames", 61, "--iters", 4]
    words = ["--save_dir", folder / "demo", *flags]
    said, warned = StringIO(), StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(said), redirect_stderr(warned):
        patch.setattr(demo, "run_stage", here)
        demo.main(demo.make_parser().parse_args([str(word) for word in words]))
    return folder / "demo", flags, said.getvalue(), warned.getvalue()


@pytest.mark.slow
def test_the_demo_takes_videos_and_a_detector_of_ones_own(cameras):
    out, *_ = cameras
    dataset = Dataset.open(out / "dataset")
    assert dataset.scale == 3
    assert dataset.read("hr_images", dataset.frames("gate")[0]).shape == (480, 321, 3)  # 3 times 160x107
    assert len(dataset.frames("gate")) == 61  # every second one of the whole video, not its first half
    assert len(dataset.frames("yard")) == 60


@pytest.mark.slow
def test_each_camera_has_a_report_and_a_page_links_them(cameras):
    out, *_ = cameras
    index = Sources()
    index.feed((out / "report.html").read_text())
    assert [source for source in index.found if not source.startswith("data:")] == [
        *("gate/report.html", "yard/report.html"),
        *("gate/report.html", "yard/report.html"),
    ]
    for clip, size in (("gate", "107×160"), ("yard", "80×160")):
        assert f"{clip}.mp4" in (out / clip / "report.html").read_text()
        assert size in (out / "report.html").read_text()
        evaluation = json.loads((out / clip / "evaluation.json").read_text())
        frames = [frame for frame in Dataset.open(out / "dataset").split_frames("test") if frame.clip == clip]
        assert evaluation["frames"] == len(frames)
        assert (out / clip / "overlay.mp4").is_file()


@pytest.mark.slow
def test_the_demo_ends_with_what_its_commands_found_and_advice_for_its_own_flags(cameras):
    out, _, said, warned = cameras
    assert warned.count("LR frames have 2 sizes") == 1
    validation = json.loads((out / "predictor" / "val.json").read_text())["verdict"]
    ends = said.rpartition("\n$ ")[2]
    for text in (ends, *((out / name / "report.html").read_text() for name in ("", "gate", "yard"))):
        assert f"on the validation block, while F1 is about the best tenth: {validation}." in text
        assert "--every" not in text.partition("Commands")[0]
    evaluation = json.loads((out / "yard" / "evaluation.json").read_text())["verdict"]
    assert evaluation["advice"] in said
    assert "yard: Cannot tell: " in ends
    assert "; use a larger --max_frames or a longer video" in ends


@pytest.mark.slow
def test_a_dataset_that_the_demo_did_not_make_is_left_alone(cameras, refused):
    out, flags, *_ = cameras
    (out / "stages.json").unlink()
    assert "the demo did not make" in refused("tools/demo.py", "--save_dir", out, *flags)
