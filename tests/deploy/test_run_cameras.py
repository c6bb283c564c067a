"""The loop on video files, with a small predictor and detector and bicubic upscaling."""

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest

from deploy import run_cameras
from deploy.backends.registry import load_predictor
from deploy.online.cameras import Camera, CameraFrame, importance_by, rounds
from deploy.online.durations import Durations
from deploy.online.loop import EnhancedFrame, Loop
from deploy.online.plan import MODES, Plan
from deploy.online.running import busiest
from deploy.online.sinks.frame import FrameResult
from deploy.online.tracking import Tracks
from regenhance_data.detections import Detections
from regenhance_data.detectors.loading import load_detector
from regenhance_data.detectors.settings import DetectorSettings
from regenhance_data.errors import InputError
from regenhance_data.regions.cache import CachePolicy
from regenhance_data.regions.composite import composite, upsample_frame
from regenhance_data.regions.reuse import ReusePolicy
from regenhance_data.regions.selection import select_macroblocks
from regenhance_data.upscalers.enhancement import RegionEnhancer
from regenhance_data.upscalers.loading import load_upscaler
from regenhance_data.upscalers.settings import UpscalerSettings
from tests.support.cameras import square_frames
from tests.support.detectors import write_detector, write_segmenter
from tests.support.files import ROOT, encode, noise
from tests.support.predictors import write_predictor
from tests.support.videos import cut_in_the_middle, encode_as

HEIGHT, WIDTH, FRAMES = 64, 96, 10


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """A predictor of brightness and a detector of squares on frames twice as large."""
    folder = tmp_path_factory.mktemp("parts")
    predictor = write_predictor(folder / "predictor.onnx", (HEIGHT, WIDTH))
    return predictor, write_detector(folder / "detector.onnx", "yolox", (2 * HEIGHT, 2 * WIDTH))


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    return [
        encode(folder / f"{name}.mp4", square_frames(FRAMES, HEIGHT, WIDTH, seed=seed))
        for seed, name in enumerate(("gate", "yard"))
    ]


def run(parts, videos, save_dir, *flags, source="--video"):
    predictor, detector = parts
    words = [source, *videos, "--predictor", predictor, "--detector", f"onnx:{detector}", "--save_dir", save_dir]
    words += ["--max_box_area", 1, *flags]
    if "none" not in flags and "--upscaler" not in flags:
        words += ["--upscaler", "bicubic"]
    run_cameras.main(run_cameras.make_parser().parse_args([str(word) for word in words]))


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "detections.jsonl").read_text().splitlines()]


def test_progress_counts_the_rounds_of_the_longest_camera(parts, videos, tmp_path, monkeypatch):
    long, totals = encode(tmp_path / "long.mp4", square_frames(3 * FRAMES, HEIGHT, WIDTH)), []

    def progress(items, description, total, unit):
        totals.append(total)
        return items

    monkeypatch.setattr(run_cameras.console, "progress", progress)
    run(parts, [*videos, long], tmp_path / "out", "--files", "jsonl", "--detect_every", 2)
    run(parts, [*videos, long], tmp_path / "few", "--files", "jsonl", "--max_frames", 4)
    assert totals == [3 * FRAMES // 2, 4]


def test_a_video_whose_colours_are_not_converted_costs_itself_alone(parts, videos, tmp_path):
    odd = encode_as(tmp_path / "odd.mp4", square_frames(2, HEIGHT, WIDTH), matrix_of_colours=8)
    with pytest.raises(InputError, match=r"odd\.mp4: has colours .*YCgCo.*; the others are done"):
        run(parts, [odd, *videos], tmp_path / "out", "--files", "jsonl")
    assert len(lines(tmp_path / "out")) == 2 * FRAMES


def test_every_frame_of_every_camera_has_a_line_and_all_files_agree(parts, videos, tmp_path):
    run(parts, videos, tmp_path, "--compare")
    found = lines(tmp_path)
    assert [(line["camera"], line["frame"]) for line in found] == [
        (camera, frame) for frame in range(FRAMES) for camera in ("gate", "yard")
    ]
    count = sum(len(line["detections"]) for line in found)
    assert count
    for line in found:
        assert line["size"] == [WIDTH, HEIGHT]
        for one in line["detections"]:
            left, top, right, bottom = one["box"]
            assert 0 <= left < right <= WIDTH
            assert 0 <= top < bottom <= HEIGHT
    coco = json.loads((tmp_path / "detections.coco.json").read_text())
    assert (len(coco["images"]), len(coco["annotations"])) == (2 * FRAMES, count)
    assert {one["category_id"] for one in coco["annotations"]} <= {one["id"] for one in coco["categories"]}
    rows = [row for name in ("gate", "yard") for row in (tmp_path / "mot" / f"{name}.txt").read_text().splitlines()]
    assert len(rows) == count
    assert all(len(row.split(",")) == 10 for row in rows)
    about = json.loads((tmp_path / "run.json").read_text())
    assert about["frames"] == 2 * FRAMES
    assert about["newly_enhanced"] == pytest.approx(0.1, abs=0.03)
    assert set(about["busy"]) == {"read", "predict", "enhance", "detect", "write"}
    assert all(0 < share <= 1 for share in about["busy"].values())
    assert {name: one["detections"] for name, one in about["cameras"].items()} == {
        camera: sum(len(line["detections"]) for line in found if line["camera"] == camera)
        for camera in ("gate", "yard")
    }
    for camera in ("gate", "yard"):
        with av.open(str(tmp_path / f"{camera}.mp4")) as container:
            shapes = [frame.to_ndarray(format="rgb24").shape for frame in container.decode(video=0)]
        assert shapes == [(2 * HEIGHT, 4 * WIDTH, 3)] * FRAMES  # none | ours


def test_a_detector_of_class_maps_writes_them_and_boxes_are_told_to_be_missing(parts, videos, tmp_path, capsys):
    segmenter = write_segmenter(tmp_path / "segmenter.onnx")
    flags = ("--pixel_mean", 0, 0, 0, "--pixel_std", 1, 1, 1, "--files", "jsonl", "coco", "class_maps")
    run((parts[0], segmenter), videos[:1], tmp_path / "out", *flags)
    said = capsys.readouterr().err
    assert re.search(r"--files coco: is not written; .* does segmentation", said)
    assert "found nothing" not in said
    maps = sorted((tmp_path / "out/class_maps/gate").iterdir())
    assert len(maps) == FRAMES
    assert set(np.unique(cv2.imread(str(maps[0])))) <= {0, 1, 2}
    assert cv2.imread(str(maps[0])).shape == (2 * HEIGHT, 2 * WIDTH, 3)
    assert list(json.loads((tmp_path / "out/run.json").read_text())["sinks"]) == ["jsonl", "class_maps"]


def test_two_runs_write_the_same_detections(parts, videos, tmp_path):
    for name in ("one", "two"):
        run(parts, videos, tmp_path / name, "--no_video", "--predict_every", 3)
    for name in ("detections.jsonl", "detections.coco.json", "mot/gate.txt"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_video_that_breaks_costs_only_its_own_rest(parts, videos, tmp_path):
    whole = encode(tmp_path / "whole.mp4", noise(30, HEIGHT, WIDTH))
    cut = cut_in_the_middle(whole, tmp_path / "cut.mkv")
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    with pytest.raises(InputError, match=r"broken\.mp4"):
        run(parts, [broken, videos[1]], tmp_path / "none", "--no_video")
    with pytest.raises(InputError, match=r"cut\.mkv: damaged or cut short, \d+ frames decode; .*; the others are done"):
        run(parts, [cut, videos[1]], tmp_path / "out", "--no_video", "--budget", 1)
    run(parts, [videos[1]], tmp_path / "alone", "--no_video", "--budget", 1)
    of = {name: [line for line in lines(tmp_path / "out") if line["camera"] == name] for name in ("cut", "yard")}
    assert 0 < len(of["cut"]) < 30
    assert of["yard"] == lines(tmp_path / "alone")
    about = json.loads((tmp_path / "out" / "run.json").read_text())["cameras"]
    assert "cut short" in about["cut"]["error"]
    assert about["yard"]["error"] is None


def test_recordings_and_files_of_others_are_never_overwritten_nor_removed(parts, videos, tmp_path):
    for video in videos:
        shutil.copy(video, tmp_path)
    mine = [tmp_path / name for name in ("gate.mp4", "yard.mp4", "mot/gt.txt", "detections.coco.json")]
    mine[2].parent.mkdir()
    for path in mine[2:]:
        path.write_text("mine")
    before = [path.read_bytes() for path in mine]
    with pytest.raises(
        InputError, match=r"gate\.mp4: would be overwritten, or removed as an earlier result; give another --save_dir"
    ):
        run(parts, mine[:2], tmp_path)
    for _ in range(2):
        run(parts, mine[:2], tmp_path, "--files", "jsonl")
        assert [path.read_bytes() for path in mine] == before
    run(parts, videos, tmp_path / "out")
    made = tmp_path / "out" / "gate.mp4"
    config = tmp_path / "cameras.yaml"
    config.write_text(f"cameras:\n  - {{source: {made}, id: again}}\n")
    with pytest.raises(InputError, match=r"gate\.mp4: would be overwritten, or removed as an earlier result"):
        run(parts, [config], tmp_path / "out", source="--cameras")
    (tmp_path / "out" / "mot" / "gt.txt").write_text("mine")
    run(parts, videos[1:], tmp_path / "out", "--files", "jsonl")
    left = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*"))
    assert left == ["detections.jsonl", "mot", "mot/gt.txt", "run.json"]
    about = json.loads((tmp_path / "out" / "run.json").read_text())
    del about["files"]  # as earlier versions wrote it
    (tmp_path / "out" / "run.json").write_text(json.dumps(about))
    (tmp_path / "out" / "yard.mp4").touch()
    run(parts, videos[1:], tmp_path / "out", "--files", "mot")
    left = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*"))
    assert left == ["mot", "mot/gt.txt", "mot/yard.txt", "run.json"]


def test_a_source_that_is_a_link_to_itself_is_one_line(parts, videos, tmp_path):
    (tmp_path / "loop.mp4").symlink_to(tmp_path / "loop.mp4")
    with pytest.raises(InputError, match=r"loop\.mp4"):
        run(parts, [tmp_path / "loop.mp4", videos[1]], tmp_path / "out", "--no_video")


def test_files_of_another_aspect_ratio_are_refused_together_before_anything_is_done(parts, videos, tmp_path):
    others = [encode(tmp_path / f"{name}.mp4", square_frames(3, 64, 64)) for name in ("one", "two")]
    words = r"one\.mp4: has 64x64 frames, the model takes 96x64.*; .*two\.mp4: has 64x64 frames"
    with pytest.raises(InputError, match=words):
        run(parts, [*others, videos[1]], tmp_path / "out", "--no_video")
    assert not (tmp_path / "out").exists()


def test_a_camera_of_smaller_frames_is_told_that_they_are_enlarged(parts, tmp_path, capsys):
    small = encode(tmp_path / "small.mp4", square_frames(2, HEIGHT // 2, WIDTH // 2))
    run(parts, [small], tmp_path / "out", "--no_video")
    assert "small: frames are enlarged to the predictor's 96x64 before they are enhanced" in capsys.readouterr().err


def test_boxes_reach_the_edges_of_a_camera_whose_height_was_rounded():
    rgb, image = np.zeros((1080, 1920, 3), np.uint8), np.zeros((543, 960, 3), np.uint8)
    found = Detections(np.array([[0, 0, 960, 543]], np.float32), np.ones(1, np.float32), np.zeros(1, np.int64))
    frame = CameraFrame("gate", 0, 0.0, rgb, image)
    item = SimpleNamespace(frame=frame, image=image, found=found)
    (listed,) = FrameResult(item, ["car"], lambda *_: None).listing.detections
    assert listed["box"] == [0, 0, 1920, 1080]


def test_a_connection_that_took_nothing_is_an_error_at_the_end(parts, videos, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"rtsp://me:hush@127.0.0.1:{free.getsockname()[1]}/x"
    with pytest.raises(InputError, match=r"^rtsp://.*\*@127.*: took none of 10 frames \(Connection refused\)$"):
        run(parts, videos[:1], tmp_path / "out", "--files", "jsonl", "--push", address)
    assert len(lines(tmp_path / "out")) == FRAMES
    assert json.loads((tmp_path / "out" / "run.json").read_text())["sinks"]["push"] == {"written": 0, "dropped": FRAMES}


def test_a_camera_of_larger_frames_is_told_that_they_are_shrunk(parts, tmp_path, capsys):
    large = encode(tmp_path / "large.mp4", square_frames(2, 2 * HEIGHT, 2 * WIDTH))
    run(parts, [large], tmp_path / "out", "--no_video")
    assert "large: frames are shrunk to the predictor's 96x64 before they are enhanced" in capsys.readouterr().err


def test_cameras_of_a_file_have_their_names(parts, videos, tmp_path, capsys):
    config = tmp_path / "cameras.yaml"
    config.write_text(f"cameras:\n  - {{source: {videos[0]}, id: north 1}}\n  - {{source: {videos[1]}}}\n")
    run(parts, [config], tmp_path / "out", "--no_video", "--max_frames", 2, source="--cameras")
    assert [line["camera"] for line in lines(tmp_path / "out")] == ["north_1", "yard"] * 2
    said = capsys.readouterr().out
    assert said.count("in all results") == said.count(f"{config}: camera 1: is north_1 in all results") == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("cameras: []", "has no cameras"),
        ("cameras: [gate.mp4]", "camera 1 has no source"),
        ("cameras: [{source: a.mp4, fsp: 3}]", "camera 1 has the key 'fsp'"),
        ("cameras: [{source: a/x.mp4}, {source: b/x.mp4}]", "two cameras are called x"),
        ("cameras: [{source: a.mp4, fps: 0}]", "camera 1: fps 0: expected frames a second, 1e-06 to 1e.06"),
        ("cameras: [{source: a.mp4, weight: 1.0e+300}]", r"camera 1: weight 1e.300: expected a factor, 0 to 1e\+06"),
        ("cameras: [{source: a.mp4, weight: 1e3}]", r"camera 1: weight 1e3 \(a text\): expected a factor"),
        (
            "defaults: {fps: 5}\ncameras: [{source: a.mp4}]",
            "the file has the unknown key 'defaults'; expected: cameras",
        ),
        ("cameras: [{source: a.mp4, fps: 5, fps: 10}]", "line 1 has the key 'fps' for the second time"),
        (
            "cameras: [{source: a.mp4, masks: [[[0, 9], [5, 9], [9, 9]]]}]",
            "camera 1: mask 1 has its corners on one line",
        ),
        ("cameras: [{source: a.mp4, weight: heavy}]", r"camera 1: weight heavy \(a text\): expected a factor"),
        ("cameras: [{source: a.mp4, floor: 1.5}]", "camera 1: floor 1.5: expected a share"),
        ("cameras: [{source: a.mp4, floor: 0.3}, {source: b.mp4}]", "floors of the cameras are 0.15 in the mean"),
        ("cameras: [{source: a.mp4, masks: [[0, 0], [1, 1]]}]", "camera 1: masks are lists of at least 3 corners"),
        ("cameras: [{source: 'http://me:hush@h/x', id: [}]", "not readable as YAML .line 1: "),
    ],
)
def test_a_wrong_list_of_cameras_is_one_line(parts, tmp_path, content, words):
    config = tmp_path / "cameras.yaml"
    config.write_text(content)
    with pytest.raises(InputError, match=words) as raised:
        run(parts, [config], tmp_path / "out", source="--cameras")
    assert "hush" not in str(raised.value)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--budget", 1.5], "--budget 1.5: expected a share"),
        (["--budget", 0.1, "--floor", 0.2], "--floor 0.2: expected a share from 0 to the budget"),
        (["--detect_every", 0], "--detect_every 0"),
        (["--cache_threshold", -1], "--cache_threshold"),
        (["--halo", -1], "--halo -1"),
        (["--max_frames", 0], "--max_frames 0"),
        (["--compare"], "--compare shows two frames in a video"),
        (
            ["--upscaler", "builtin"],
            r"--upscaler: scale 2 is needed by .*\.onnx \(.*--scale of its export\), builtin makes frames 3",
        ),
    ],
)
def test_wrong_flags_and_pairings_are_one_line(parts, videos, tmp_path, flags, words):
    with pytest.raises(InputError, match=words):
        run(parts, videos, tmp_path / "out", "--no_video", *flags)


def test_modes_enhance_regions_the_whole_frame_or_nothing(parts, videos, tmp_path):
    about = {}
    for mode in MODES:
        run(parts, videos, tmp_path / mode, "--no_video", "--max_frames", 3, "--mode", mode)
        about[mode] = json.loads((tmp_path / mode / "run.json").read_text())
        assert about[mode]["mode"] == mode
        assert len(lines(tmp_path / mode)) == 6
    assert lines(tmp_path / "atlas") == lines(tmp_path / "regions")
    shares = {mode: (one["newly_enhanced"], one["amplification"]) for mode, one in about.items()}
    assert (shares["whole"], shares["none"]) == ((1, 1), (0, None))


def test_only_a_loop_that_enhances_nothing_needs_no_upscaler(refused):
    words = ("--video", "a.mp4", "--predictor", "p.onnx", "--detector", "builtin", "--save_dir", "out")
    assert "--upscaler is missing" in refused("deploy/run_cameras.py", *words)


def test_a_detector_that_finds_nothing_is_told(parts, videos, tmp_path, capsys):
    run(parts, videos, tmp_path, "--no_video", "--score_threshold", 1, "--max_frames", 2)
    assert "found nothing in 4 frames; lower --score_threshold" in capsys.readouterr().err


def test_ctrl_c_keeps_what_is_done(parts, videos, tmp_path):
    long = encode(tmp_path / "long.mp4", square_frames(FRAMES, HEIGHT, WIDTH) * 60)
    predictor, detector = parts
    words = ["--video", long, "--predictor", predictor, "--upscaler", "bicubic", "--detector", f"onnx:{detector}"]
    words += ["--save_dir", tmp_path / "out"]
    command = [sys.executable, "deploy/run_cameras.py", *map(str, words)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 120
        path = tmp_path / "out" / "detections.jsonl"
        while not (path.is_file() and path.stat().st_size > 2000) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
    assert process.returncode == 130
    count = len(lines(tmp_path / "out"))
    assert f"interrupted: kept what was found in {count} frames" in said
    about = json.loads((tmp_path / "out" / "run.json").read_text())
    assert about["interrupted"]
    assert count - 1 <= about["frames"] <= count  # it may come while a frame is written
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"detections.coco.json", "mot", "long.mp4"}


def test_masks_weights_and_floors_of_cameras_steer_the_selection(parts, videos):
    left_half = ((0, 0), (WIDTH / 2, 0), (WIDTH / 2, HEIGHT), (0, HEIGHT))
    predictor, detector = load_predictor(parts[0]), load_detector(DetectorSettings(f"onnx:{parts[1]}"))
    enhancer = RegionEnhancer(load_upscaler(UpscalerSettings("bicubic", 2)))

    def selected(mode="regions", **of_gate):
        cameras = [Camera("gate", str(videos[0]), **of_gate), Camera("yard", str(videos[1]))]
        loop = Loop(Plan(budget=0.125, mode=mode), predictor.grid, importance_by(predictor), enhancer, detector)
        masks = {"gate": [], "yard": []}
        for one in loop.run(rounds(cameras, predictor.input_hw, 1, 4, {})):
            for item in one.done:
                masks[item.frame.camera].append(item.selected | item.cached)
        return {camera: np.array(some) for camera, some in masks.items()}

    half = predictor.grid.cols // 2
    for mode in ("regions", "whole"):
        found = selected(mode, masks=(left_half,), floor=0.1)
        assert not found["gate"][:, :, :half].any()
        assert found["gate"][:, :, half:].any()
    assert found["yard"].all()
    of_gate = [selected(**some)["gate"][0].sum() for some in ({"weight": 100.0}, {}, {"weight": 1e-6})]
    assert of_gate == sorted(of_gate, reverse=True)
    assert of_gate[0] > of_gate[2]
    assert selected(weight=1e-6, floor=0.125)["gate"][0].sum() >= predictor.grid.rows * predictor.grid.cols // 8


@pytest.mark.parametrize("mode", ["regions", "atlas"])
def test_the_loop_composes_what_offline_evaluation_composes(parts, videos, mode):
    predictor = load_predictor(parts[0])
    upscaler = load_upscaler(UpscalerSettings("bicubic", 2))
    detector = load_detector(DetectorSettings(f"onnx:{parts[1]}"))
    plan = Plan(budget=0.2, mode=mode, cache=CachePolicy(threshold=0))
    loop = Loop(plan, predictor.grid, importance_by(predictor), RegionEnhancer(upscaler, mode), detector)
    for one in loop.run(rounds([Camera("gate", str(videos[0]))], predictor.input_hw, 1, None, {})):
        (item,) = one.done
        lr = item.frame.lr
        selected = select_macroblocks(predictor.predict_one(lr), 0.2)
        np.testing.assert_array_equal(item.selected, selected)
        expected = composite(upscaler(lr[None])[0], upsample_frame(lr, 2), selected, predictor.grid.scaled(2))
        np.testing.assert_array_equal(item.image, expected)


def test_on_a_still_picture_the_cache_enhances_everything_in_the_end(parts, tmp_path):
    still = encode(tmp_path / "still.mp4", square_frames(1, HEIGHT, WIDTH) * 20)
    predictor = load_predictor(parts[0])
    upscaler = load_upscaler(UpscalerSettings("bicubic", 2))
    detector = load_detector(DetectorSettings(f"onnx:{parts[1]}"))
    loop = Loop(Plan(budget=0.1), predictor.grid, importance_by(predictor), RegionEnhancer(upscaler), detector)
    for one in loop.run(rounds([Camera("gate", str(still))], predictor.input_hw, 1, None, {})):
        (item,) = one.done
    np.testing.assert_array_equal(item.image, upscaler(item.frame.lr[None])[0])
    assert not item.selected.any()


def test_frames_between_detections_are_left_out(parts, videos, tmp_path):
    run(parts, videos[:1], tmp_path, "--no_video", "--detect_every", 4)
    assert [line["frame"] for line in lines(tmp_path)] == [0, 4, 8]


def test_importance_is_kept_between_due_frames(parts, videos):
    predictor, asked = load_predictor(parts[0]), []
    predict = importance_by(predictor)
    upscaler = load_upscaler(UpscalerSettings("bicubic", 2))
    detector = load_detector(DetectorSettings(f"onnx:{parts[1]}"))

    def counted(frames):
        asked.extend(frame.number for frame in frames)
        return predict(frames)

    loop = Loop(Plan(reuse=ReusePolicy(3)), predictor.grid, counted, RegionEnhancer(upscaler), detector)
    found = loop.run(rounds([Camera("gate", str(videos[0]))], predictor.input_hw, 1, None, {}))
    maps = [one.done[0].importance for one in found]
    assert asked == [0, 3, 6, 9]
    for number, importance in enumerate(maps):
        np.testing.assert_array_equal(importance, maps[number // 3 * 3])


def test_a_second_run_leaves_nothing_of_the_first(parts, videos, tmp_path):
    run(parts, videos, tmp_path / "again")
    (tmp_path / "again" / "mine.mp4").write_bytes(b"not of the loop")
    run(parts, videos[1:], tmp_path / "again", "--no_video")
    run(parts, videos[1:], tmp_path / "once", "--no_video")
    names = [sorted(path.name for path in (tmp_path / name).rglob("*")) for name in ("again", "once")]
    assert names[0] == sorted([*names[1], "mine.mp4"])


def test_percentiles_of_durations_are_right_within_one_percent():
    durations, some = Durations(), np.random.default_rng(0).lognormal(2, 1, 5000)
    for value in some:
        durations.add(value)
    for share in (0.5, 0.95):
        assert durations.percentile(share) == pytest.approx(np.quantile(some, share), rel=0.02)
    assert Durations().percentile(0.5) is None


def found_at(camera: str, time_s: float, *boxes: tuple[int, int, int], shot: int = 0) -> EnhancedFrame:
    """A frame with a detection of 20x20 pixels at each (left, top), of a class."""
    blank, empty = np.zeros((80, 200, 3), np.uint8), np.zeros((1, 1), bool)
    corners = np.array([(left, top, left + 20, top + 20) for left, top, _ in boxes], np.float32).reshape(-1, 4)
    labels = np.array([label for _, _, label in boxes], np.int64)
    found = Detections(corners, np.full(len(boxes), 0.9, np.float32), labels)
    return EnhancedFrame(
        CameraFrame(camera, 0, time_s, blank, blank, shot=shot), empty, empty, empty, blank, found=found
    )


def test_objects_keep_their_tracks_also_where_they_are_missed_and_are_expected_nowhere(parts):
    pytest.importorskip("norfair")
    tracks = Tracks()
    for number in range(30):
        now_s = number / 10
        right, left = (10 + 3 * number, 10, 0), (110 - 3 * number, 10, 0)  # they pass through each other
        other = (60, 12, 1)  # of another class, in their way
        if number == 4:
            assert tracks.assign(found_at("gate", now_s, left, other)) == [2, 3]
        elif number < 10:
            assert tracks.assign(found_at("gate", now_s, right, left, other)) == [1, 2, 3]
        else:
            assert tracks.assign(found_at("gate", now_s, other)) == [3]
        assert tracks.assign(found_at("yard", now_s, other)) == [1]
        assert tracks.assign(found_at("yard", now_s)) == []
    assert tracks.assign(found_at("gate", 3.0, (10, 10, 0))) == [4]  # two seconds later it is another one


@pytest.mark.parametrize("rate", [0.5, 2, 25])
def test_an_object_keeps_its_number_for_a_second_or_one_frame_however_new_it_is(rate):
    pytest.importorskip("norfair")
    for seen in (1, 2, 40):
        tracks, now_s = Tracks(), 0.0
        for _ in range(seen):
            assert tracks.assign(found_at("gate", now_s, (10, 10, 0))) == [1]
            now_s += 1 / rate
        while now_s < (seen - 1) / rate + 1:
            tracks.assign(found_at("gate", now_s))
            now_s += 1 / rate
        last_s = (seen - 1) / rate
        assert tracks.assign(found_at("gate", max(last_s + 1, last_s + 1 / rate), (10, 10, 0))) == [1]
        for beyond in (2, 2.5):
            tracks.assign(found_at("gate", now_s + beyond / rate))
        assert tracks.assign(found_at("gate", now_s + 4 + 4 / rate, (10, 10, 0))) == [2]


def test_tracks_outlive_a_clock_that_is_set_back_but_not_another_source():
    pytest.importorskip("norfair")
    tracks = Tracks()
    assert tracks.assign(found_at("gate", 10.0, (10, 10, 0))) == [1]
    assert tracks.assign(found_at("gate", 8.0, (10, 10, 0))) == [1]
    assert tracks.assign(found_at("gate", 8.0, (10, 10, 0), shot=1)) == [2]
    assert tracks.assign(found_at("gate", 8.1, (10, 10, 0), (60, 10, 0), shot=1)) == [2, 3]


def test_tracks_of_a_camera_that_is_forgotten_do_not_go_on_and_numbers_do():
    pytest.importorskip("norfair")
    tracks = Tracks()
    for camera in ("gate", "yard"):
        assert tracks.assign(found_at(camera, 1.0, (10, 10, 0))) == [1]
    tracks.forget("gate")
    tracks.forget("none")
    assert tracks.assign(found_at("gate", 1.1, (10, 10, 0))) == [2]
    assert tracks.assign(found_at("yard", 1.1, (10, 10, 0))) == [1]


def test_tracks_are_in_all_files(parts, videos, tmp_path):
    pytest.importorskip("norfair")
    for name in ("one", "two"):
        run(parts, videos, tmp_path / name, "--track", "--max_frames", 4)
    assert (tmp_path / "one" / "detections.jsonl").read_bytes() == (tmp_path / "two" / "detections.jsonl").read_bytes()
    for camera in ("gate", "yard"):
        tracks = [
            one["track"] for line in lines(tmp_path / "one") for one in line["detections"] if line["camera"] == camera
        ]
        rows = (tmp_path / "one" / "mot" / f"{camera}.txt").read_text().splitlines()
        assert [int(row.split(",")[1]) for row in rows] == tracks
        coco = json.loads((tmp_path / "one" / "detections.coco.json").read_text())
        images = {image["id"]: image["file_name"].partition("/")[0] for image in coco["images"]}
        assert [one["track_id"] for one in coco["annotations"] if images[one["image_id"]] == camera] == tracks
        assert min(tracks) == 1


def test_tracks_without_their_library_are_one_line(parts, videos, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "norfair", None)
    with pytest.raises(InputError, match="--track: norfair is not installed; pip install"):
        run(parts, videos, tmp_path, "--track")


@pytest.mark.parametrize(("mode", "count"), [("regions", 1), ("none", 0)])
def test_a_camera_that_its_masks_cover_is_told_once(mode, count, parts, videos, tmp_path, capsys):
    config = tmp_path / "cameras.yaml"
    whole, half = ([[0, 0], [width, 0], [width, HEIGHT], [0, HEIGHT]] for width in (WIDTH, WIDTH / 2))
    config.write_text(f"cameras: [{{source: {videos[0]}, masks: [{whole}]}}, {{source: {videos[1]}, masks: [{half}]}}]")
    run(parts, [config], tmp_path / "out", "--files", "jsonl", "--mode", mode, source="--cameras")
    said = capsys.readouterr().err
    assert said.count("gate: its masks reach into all macroblocks, so nothing of this camera can be enhanced") == count
    assert "yard: its masks" not in said


@pytest.mark.parametrize(("feedback", "name"), [(0, "enhance"), (1, "enhance and detect")])
def test_the_busiest_thread_is_named_after_all_that_it_does(feedback, name):
    told = busiest(Plan(feedback=feedback), {"read": 0.2, "predict": 0.1, "enhance": 0.93})
    assert told == f"the busiest thread, {name}, worked 93% of the time"


def test_a_mask_outside_of_a_videos_frames_is_refused_before_anything_is_loaded(parts, videos, tmp_path):
    config = tmp_path / "cameras.yaml"
    config.write_text(f"cameras:\n  - {{source: {videos[0]}, masks: [[[0, 0], [{WIDTH + 1}, 0], [9, 9]]]}}\n")
    with pytest.raises(InputError, match=rf"mask 1 of camera gate has a corner at {WIDTH + 1}, 0, outside of its"):
        run(parts, [config], tmp_path / "out", source="--cameras")
    assert not (tmp_path / "out").exists()
