"""The check sees what the report warns of, and HR frames that are missing."""

import re
import shutil

import numpy as np
import pytest

from regenhance_data import errors
from regenhance_data.dataset.check import check_dataset
from regenhance_data.dataset.folder import Dataset
from regenhance_data.dataset.importance_file import read_importance, write_importance
from regenhance_data.dataset.next_steps import hr_frames_command, importance_command
from regenhance_data.dataset.statistics import collect_statistics
from regenhance_data.dataset.warnings import dataset_warnings
from regenhance_data.io.images import write_image
from regenhance_data.stages.make_seg_dataset import make_seg_dataset
from regenhance_data.stages.super_resolve import super_resolve
from regenhance_data.upscalers.settings import UpscalerSettings
from tests.support.files import fill_dataset, noise


@pytest.fixture
def dataset(tmp_path):
    """Two clips with HR frames, importance and labels."""
    dataset = fill_dataset(tmp_path / "data", {"day": 30, "night": 30}, 48, 80)
    super_resolve(dataset, UpscalerSettings("bicubic", 2))
    make_seg_dataset(dataset, gap=2)
    return Dataset.open(dataset.root)


def warned(dataset):
    return "\n".join(map(str, dataset_warnings(collect_statistics(Dataset.open(dataset.root)))))


def test_missing_hr_frames_are_a_problem_where_the_record_says_how_they_were_made(dataset):
    assert check_dataset(dataset) == []
    for number in (3, 4, 29):
        (dataset.root / "sr_images" / "night" / f"{number:06d}.png").unlink()
    (problem,) = check_dataset(dataset)
    assert problem.endswith(
        "sr_images/night/000003.png: is missing, as 3 of 30 HR frames of the clip are; run tools/super_resolve.py again"
    )
    assert "3 of 30 HR frames of night are missing in sr_images/; run tools/super_resolve.py again" in warned(dataset)
    shutil.rmtree(dataset.root / "sr_images" / "night")
    assert "as 30 of 30 HR frames of the clip are" in check_dataset(dataset)[0]
    shutil.rmtree(dataset.root / "sr_images")  # they may go once importance is computed
    assert check_dataset(dataset) == []


def test_missing_originals_are_to_be_extracted_again(tmp_path):
    dataset = fill_dataset(tmp_path / "data", {"a": 12, "b": 12}, 48, 80)
    dataset.save(clips={"a": {"keep_hr": True, "height": 48, "source": "a.mp4"}, "b": {"keep_hr": False}})
    make_seg_dataset(dataset, gap=1)
    with pytest.raises(errors.InputError, match=r"hr_images: no such folder; make it with tools/extract.py --keep_hr$"):
        dataset.hr_folder()
    assert hr_frames_command(dataset)[1:] == [  # clip b has settings of its own
        *("tools/extract.py", "--manifest", "YOUR_CLIPS.yaml", "--data", str(dataset.root), "--overwrite")
    ]
    for frame in dataset.frames("a")[:5]:
        write_image(dataset.path("hr_images", frame), np.zeros((144, 240, 3), np.uint8))
    (problem,) = check_dataset(dataset)  # clip b never had originals
    assert "hr_images/a/000005.png: is missing, as 7 of 12 HR frames of the clip are; run tools/extract.py" in problem
    with pytest.raises(
        errors.InputError, match=r"sr_images: no such folder; .*, or give --clear hr_images, which exists"
    ):
        dataset.hr_folder("sr_images")


def test_lost_hr_frames_and_frames_of_other_sizes_are_warned_of(dataset):
    dataset.save(importance={"formula": "gain", "clear": "sr_images"})
    shutil.rmtree(dataset.root / "sr_images")
    assert "the HR frames in sr_images/ that importance was made from are gone" in warned(dataset)
    for number in (7, 8):
        write_image(dataset.root / "origin_images" / "day" / f"{number:06d}.png", noise(1, 40, 80)[0])
    assert "2 of 30 LR frames of day differ in size from its first one" in warned(dataset)


@pytest.mark.parametrize(
    ("size_wh", "advice"),
    [
        ((64, 48), "; no height makes these shapes equal"),
        ((40, 24), "; to make them equal, give each the same height in a --manifest ('height: 24')"),
    ],
)
def test_the_advice_for_clips_of_two_sizes_can_be_followed(dataset, size_wh, advice):
    fill_dataset(dataset.root, {"other": 3}, size_wh[1], size_wh[0])
    assert "LR frames have 2 sizes: 80x48 (" in warned(dataset)
    assert f"{size_wh[0]}x{size_wh[1]} (other)" in warned(dataset)
    assert advice in warned(dataset)


@pytest.mark.slow
def test_the_command_prints_what_the_report_warns_of(run, tmp_path):
    dataset = fill_dataset(tmp_path / "data", {"cam": 40})
    importance, numbers = read_importance(dataset.importance_path("cam"))
    importance[1:] = 0  # no cut gives each split some
    write_importance(dataset.importance_path("cam"), importance, numbers)
    make_seg_dataset(dataset, gap=1)
    check, report = (run(f"tools/{name}.py", "--data", dataset.root) for name in ("check_dataset", "report_dataset"))
    assert "no problems" in check.stdout
    assert "the test block of cam has no object: none of its" in check.stderr
    assert re.search(r"there is only one clip", check.stderr)
    assert check.stderr == report.stderr


def test_suggestions_fit_the_frames(tmp_path):
    small = fill_dataset(tmp_path / "small", {"cam": 2}, 360, 64)
    assert hr_frames_command(small)[-2:] == ["--model", "general"]
    large = fill_dataset(tmp_path / "large", {"cam": 2}, 720, 64)
    assert hr_frames_command(large)[-3:] == ["onnx:YOUR_UPSCALER.onnx", "--scale", "2"]
    large.save(upscaler={"spec": "bicubic"})
    assert hr_frames_command(large)[-2:] == ["--model", "bicubic"]
    assert importance_command(large)[-2:] == ["--detector", "onnx:YOUR_DETECTOR.onnx"]
    large.save(detector={"spec": "builtin"})
    assert "--detector" not in importance_command(large)
