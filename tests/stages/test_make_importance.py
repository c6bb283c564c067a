import re
from dataclasses import replace

import numpy as np
import pytest

from regenhance_data import errors
from regenhance_data.dataset.folder import Dataset
from regenhance_data.dataset.importance_file import read_importance, write_importance
from regenhance_data.detectors.diagnosis import warn_of_empty_frames, why_nothing
from regenhance_data.detectors.settings import DetectorSettings
from regenhance_data.importance.frame_pairs import read_pair
from regenhance_data.io.files import read_yaml
from regenhance_data.io.images import write_image
from regenhance_data.stages.make_importance import make_importance, sampled_hr_frames
from tests.support.detectors import BLUE, RED, squares

SCALE = 2
HR_HW = (100, 140)  # 50×70 LR pixels: 4×5 macroblocks, those at the edges partial


@pytest.fixture
def dataset(tmp_path):
    """Two clips of three frames; the first frame of each shows nothing."""
    for clip in ("a", "b"):
        for number in range(3):
            dim = tuple(np.array(RED) * 5 // 8)
            hr = squares(*HR_HW, *[(32 + 16 * number, 48, dim), (8, 16, BLUE)][: number and 2])
            write_image(tmp_path / "hr_images" / clip / f"{number:06d}.png", hr)
            origin = hr.reshape(50, 2, 70, 2, 3).mean((1, 3)).astype(np.uint8)
            write_image(tmp_path / "origin_images" / clip / f"{number:06d}.png", origin)
    dataset = Dataset.open(tmp_path)
    dataset.save(scale=SCALE)
    return dataset


@pytest.mark.slow
def test_every_clip_gets_a_file_and_dataset_yaml_says_what_made_it(run, dataset, detector_file):
    result = run("tools/make_importance.py", "--data", dataset.root, "--detector", f"onnx:{detector_file}")
    assert "6 frames; 33.3% of them without a detection (all zero)" in result.stdout
    for clip in ("a", "b"):
        importance, frames = read_importance(dataset.importance_path(clip))
        assert frames.tolist() == [0, 1, 2]
        assert importance.shape == (3, 4, 5)
        assert [bool(m.any()) for m in importance] == [False, True, True]
        assert np.unravel_index(importance[1].argmax(), (4, 5)) == (1, 1)  # the dim square's; the bright one is sure
    info = read_yaml(dataset.root / "dataset.yaml")
    assert info["detector"]["spec"] == f"onnx:{detector_file}"
    assert (info["importance"]["formula"], info["importance"]["clear"]) == ("gain", "hr_images")


def test_work_that_is_done_is_kept_and_work_of_other_settings_is_not(dataset, detector):
    make_importance(dataset, detector.settings, "product", "hr_images")
    made = {clip: dataset.importance_path(clip).stat().st_mtime_ns for clip in ("a", "b")}
    dataset.importance_path("b").unlink()
    make_importance(Dataset.open(dataset.root), detector.settings, "product", "hr_images")
    assert dataset.importance_path("a").stat().st_mtime_ns == made["a"]
    first, _ = read_importance(dataset.importance_path("b"))
    make_importance(Dataset.open(dataset.root), detector.settings, "gradient", "hr_images")
    second, _ = read_importance(dataset.importance_path("b"))
    assert not np.allclose(first, second)


def test_importance_from_elsewhere_is_replaced_on_demand_alone(dataset, detector):
    write_importance(dataset.importance_path("b"), np.ones((3, 4, 5)), np.arange(3))
    with pytest.raises(errors.InputError, match=r"b\.npz: was not made by this tool; move it away or give --overwrite"):
        make_importance(dataset, detector.settings, "gain", "hr_images")
    assert dataset.importance("b")[0].min() == 1
    make_importance(dataset, detector.settings, "gain", "hr_images", overwrite=True)
    assert dataset.importance("b")[0].max() == 0
    make_importance(dataset, detector.settings, "gain", "hr_images")


def test_what_a_kill_left_beside_finished_importance_is_removed(dataset, detector):
    make_importance(dataset, detector.settings, "product", "hr_images")
    left = dataset.importance_path("a").with_name(".parts-a")
    left.mkdir()
    (left / "0-2.npy").write_bytes(b"half")
    make_importance(Dataset.open(dataset.root), detector.settings, "product", "hr_images")
    assert not left.exists()


def test_files_of_other_settings_stay_when_a_run_is_cut_short(dataset, detector):
    make_importance(dataset, detector.settings, "product", "hr_images")
    before = {path: path.read_bytes() for path in (dataset.importance_path("a"), dataset.importance_path("b"))}
    (dataset.root / "hr_images" / "a" / "000001.png").write_bytes(b"broken")
    with pytest.raises(errors.InputError, match=r"000001.png: does not decode"):
        make_importance(Dataset.open(dataset.root), detector.settings, "gradient", "hr_images")
    assert {path: path.read_bytes() for path in before} == before
    assert Dataset.open(dataset.root).record.importance.formula == "product"


def test_a_clear_frame_of_the_wrong_size_is_refused_with_both_sizes(dataset, detector):
    write_image(dataset.root / "hr_images" / "a" / "000002.png", squares(100, 138))
    with pytest.raises(errors.InputError, match=r"000002.png: is 138x100, expected 140x100"):
        make_importance(dataset, detector.settings, "product", "hr_images")


def test_a_scale_that_is_not_recorded_is_that_of_the_first_clear_frame(dataset, detector, capsys):
    record = dataset.root / "dataset.yaml"
    record.unlink()
    (dataset.root / "hr_images").rename(dataset.root / "sr_images")  # other software made them
    with pytest.raises(
        errors.InputError, match=r"is 140x100, .*; write 'scale: 2' into .*dataset.yaml, if all HR frames"
    ):
        read_pair(Dataset.open(dataset.root), dataset.frames("a")[0], "sr_images")
    make_importance(Dataset.open(dataset.root), detector.settings, "product", "sr_images")
    assert Dataset.open(dataset.root).record.recorded_scale == SCALE
    assert f"sr_images: 2 times as large as the LR frames; {record} records this scale" in capsys.readouterr().out
    make_importance(Dataset.open(dataset.root), detector.settings, "product", "sr_images")
    assert "records this scale" not in capsys.readouterr().out
    record.write_text("scale: 2\n")  # as a user writes it
    make_importance(Dataset.open(dataset.root), detector.settings, "product", "sr_images", overwrite=True)


def test_frames_that_are_no_whole_number_of_times_as_large_are_refused(dataset, detector):
    (dataset.root / "dataset.yaml").unlink()
    for clip in ("a", "b"):
        for frame in dataset.frames(clip):
            write_image(dataset.path("hr_images", frame), squares(100, 210))
    with pytest.raises(errors.InputError, match=r"000000.png: is 210x100, expected 210x150 .*; make it again with"):
        make_importance(Dataset.open(dataset.root), detector.settings, "product", "hr_images")
    assert Dataset.open(dataset.root).record.recorded_scale is None


def test_a_missing_clear_frame_or_folder_is_refused(dataset, detector):
    assert dataset.hr_folder() == "hr_images"
    with pytest.raises(errors.InputError, match=r"sr_images: no such folder; make it with tools/super_resolve.py"):
        dataset.hr_folder("sr_images")
    (dataset.root / "hr_images" / "b" / "000001.png").unlink()
    with pytest.raises(errors.InputError, match=r"b/000001.png: no such HR frame \(1 of 6 are missing, of b\)"):
        make_importance(dataset, detector.settings, "product", "hr_images")


def test_what_a_file_was_taken_for_is_recorded_and_makes_nothing_stale(dataset, detector, capsys):
    make_importance(dataset, detector.settings, "product", "hr_images")
    record = Dataset.open(dataset.root).record.detector
    assert record["read_as"] == "YOLOX: 2 classes (red, blue), BGR 0..255, any size"
    made = dataset.importance_path("a").stat().st_mtime_ns
    older = {key: value for key, value in record.items() if key != "read_as"}
    Dataset.open(dataset.root).save(detector=older)
    make_importance(Dataset.open(dataset.root), DetectorSettings.from_dict(older), "product", "hr_images")
    assert dataset.importance_path("a").stat().st_mtime_ns == made
    assert "warning" not in capsys.readouterr().err


def test_detections_that_are_too_large_are_counted(dataset, detector, capsys):
    small = replace(detector.settings, max_box_area=0.001)
    make_importance(dataset, small, "product", "hr_images")
    said = capsys.readouterr().out
    assert re.search(r"^8 detections are larger than --max_box_area 0.001 .*--max_box_area 1 keeps", said)


@pytest.mark.parametrize(
    ("settings", "cause"),
    [
        ({"max_box_area": 0.001}, r"\d+ detections in 6 frames are larger than --max_box_area 0.001"),
        ({"classes": ("1",), "max_box_area": 0.001}, r"\d+ detections in 6 frames are larger"),
        (
            {"pixel_range": 1.0},
            r"the best score in 6 frames is .*; with --pixel_range 255 it finds 8",
        ),
        ({"score_threshold": 1.0}, r"the best score in 6 frames is 1, --score_threshold is 1; "),
    ],
)
def test_where_nothing_is_found_the_likely_cause_is_named(dataset, detector_file, settings, cause):
    frames = sampled_hr_frames(dataset, "hr_images")
    assert frames.shape == (6, *HR_HW, 3)
    assert re.search(cause, why_nothing(DetectorSettings(f"onnx:{detector_file}", **settings), frames))


@pytest.mark.parametrize(
    ("settings", "cause"),
    [
        ({"classes": ("blue",)}, r"--classes leaves out \d+ of \d+ detections in 9 frames: red, blue"),
        ({"score_threshold": 0.7}, r"in 9 frames .* it finds 1, with --score_threshold 0.35 \d+$"),
        ({}, r"so most frames have nothing to find"),
    ],
)
def test_where_little_is_found_the_likely_cause_is_named(detector_file, capsys, settings, cause):
    dim = tuple(np.array(RED) * 5 // 8)
    shown = [squares(*HR_HW, (32, 16 * n, dim)) for n in range(4)] + [squares(*HR_HW, (8, 16, BLUE))]
    frames = np.stack([*shown, *[squares(*HR_HW)] * 4])
    reason = why_nothing(DetectorSettings(f"onnx:{detector_file}", **settings), frames)
    assert re.search(cause, reason)
    warn_of_empty_frames(5, 10, lambda: reason)
    assert not capsys.readouterr().err
    warn_of_empty_frames(6, 10, lambda: reason)
    assert f"6 of 10 frames have no detection: {reason}" in capsys.readouterr().err


def test_classes_that_leave_everything_out_are_named(dataset, detector_file):
    frames = sampled_hr_frames(dataset, "hr_images")
    only_blue = np.stack([frame * np.array([0, 0, 1], np.uint8) for frame in frames])
    cause = why_nothing(DetectorSettings(f"onnx:{detector_file}", classes=("red",)), only_blue)
    assert re.match(r"--classes leaves out all \d+ detections in 6 frames: blue", cause)


def test_an_interrupt_says_what_was_kept(dataset, detector, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("regenhance_data.stages.make_importance.importance_map", interrupted)
    with pytest.raises(KeyboardInterrupt, match="kept 0 of 6 frames; give the command again to go on"):
        make_importance(dataset, detector.settings, "product", "hr_images")
