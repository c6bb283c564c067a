"""What was found in a camera's last frame, as a part of what is enhanced in the next."""

import json
import weakref
from dataclasses import replace

import numpy as np
import pytest

from deploy import export_static_map, run_cameras
from deploy.artifacts.onnx import read_onnx
from deploy.backends.registry import load_predictor
from deploy.export.tensorrt_check import problems
from deploy.online.cameras import CameraFrame, importance_by
from deploy.online.loop import Loop
from deploy.online.plan import Plan
from deploy.online.plan_file import plan_from_dict
from regenhance_data.detectors.settings import DetectorSettings
from regenhance_data.errors import InputError
from regenhance_data.grid import MacroblockGrid
from regenhance_data.regions.cache import CachePolicy, MacroblockCache
from regenhance_data.regions.coverage import found_coverage
from regenhance_data.regions.selection import select_macroblocks
from regenhance_data.upscalers.enhancement import RegionEnhancer
from regenhance_data.upscalers.loading import load_upscaler
from regenhance_data.upscalers.settings import UpscalerSettings
from tests.support.cameras import square_frames
from tests.support.detectors import write_detector, write_segmenter
from tests.support.files import encode, noise
from tests.support.predictors import write_predictor
from tools import evaluate_online

HEIGHT, WIDTH = 139, 203  # which macroblocks do not divide
GRID = MacroblockGrid(HEIGHT, WIDTH)


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    from regenhance_data.detectors.loading import load_detector

    path = write_detector(tmp_path_factory.mktemp("detector") / "d.onnx", "yolox", (64, 96))
    return load_detector(DetectorSettings(f"onnx:{path}", max_box_area=1.0, score_threshold=0.05))


def frames_of(camera, count, seed=0, shot=0):
    frames = square_frames(count, HEIGHT, WIDTH, seed=seed)
    return [CameraFrame(camera, number, number / 10, lr, lr, shot=shot) for number, lr in enumerate(frames)]


def loop_of(detector, **settings):
    """A loop whose predictor finds nothing important."""
    plan = Plan(**{"budget": 0.4, **settings})
    upscaler = load_upscaler(UpscalerSettings("bicubic", 2))
    return Loop(plan, GRID, lambda frames: np.zeros((len(frames), *GRID.shape)), RegionEnhancer(upscaler), detector)


@pytest.mark.parametrize("threshold", [0, 2])
def test_where_something_was_found_is_enhanced_in_the_next_frame(detector, threshold):
    settings = {"budget": 0.2, "cache": CachePolicy(threshold, max_age=2)}
    loop, without = loop_of(detector, feedback=1.0, **settings), loop_of(detector, **settings)
    last, checked, apart = {}, 0, 0
    for frames in zip(frames_of("gate", 8), frames_of("yard", 8, seed=1), strict=True):
        for item, other in zip(loop.step(list(frames)).done, without.step(list(frames)).done, strict=True):
            apart += (item.selected != other.selected).any()
            if item.frame.camera in last:
                wanted = (found_coverage(last[item.frame.camera], GRID.scaled(2)) > 0) & ~item.cached
                checked += wanted.sum()
                assert item.selected[wanted].all()
            last[item.frame.camera] = item.found
    assert checked
    assert apart


def test_masks_hold_where_something_was_found(detector):
    left_half = ((0, 0), (WIDTH / 2, 0), (WIDTH / 2, HEIGHT), (0, HEIGHT))
    loop = loop_of(detector, feedback=1.0)
    for frame in frames_of("gate", 6):
        [item] = loop.step([replace(frame, masks=(left_half,))]).done
        assert not item.selected[:, : GRID.cols // 2].any()
        assert item.selected.any()


def test_threads_choose_what_one_round_after_the_other_chooses(detector):
    rounds = [list(one) for one in zip(frames_of("gate", 12), frames_of("yard", 12, seed=1), strict=True)]
    one_by_one, live = loop_of(detector, feedback=2.0), loop_of(detector, feedback=2.0)
    expected = [loop_of(detector, feedback=2.0).run(rounds), live.run_live(rounds, lambda: None)]
    for number, frames in enumerate(rounds):
        alone = one_by_one.step(frames)
        for threaded in expected:
            found = next(threaded)
            assert found.frames[0].number == number
            for ours, theirs in zip(alone.done, found.done, strict=True):
                np.testing.assert_array_equal(ours.selected, theirs.selected)
                np.testing.assert_array_equal(ours.found.boxes, theirs.found.boxes)


def test_a_new_shot_knows_nothing_of_the_last(detector):
    first, *_ = frames_of("gate", 1)
    loop = loop_of(detector, feedback=1.0)
    [known] = loop_of(detector, feedback=1.0).step([first]).done
    for frame in frames_of("gate", 3, seed=2):
        loop.step([frame])
    [again] = loop.step([replace(first, shot=1)]).done
    np.testing.assert_array_equal(again.selected, known.selected)


def test_nothing_is_kept_of_a_camera_that_is_removed_while_its_rounds_are_under_way(detector, monkeypatch):
    caches = weakref.WeakSet()

    class Cache(MacroblockCache):
        def __init__(self, *about):
            super().__init__(*about)
            caches.add(self)

    monkeypatch.setattr("deploy.online.loop.MacroblockCache", Cache)
    [gate], [yard] = frames_of("gate", 1), frames_of("yard", 1, seed=1)
    loop, removed = loop_of(detector, feedback=1.0), [[], [], [], ["gate"], [], ["gate", "none"]]
    rounds = [[gate], [gate], [gate], [gate], [gate, yard], [yard]]  # in the fourth it is there again
    asked = iter(removed)
    done = list(loop.run_live(rounds, lambda: None, lambda: next(asked)))
    assert [one.removed for one in done] == removed
    assert done[2].done[0].cached.any()
    assert not done[3].done[0].cached.any()
    np.testing.assert_array_equal(done[3].done[0].selected, done[0].done[0].selected)
    assert len(caches) == 1  # that of the yard


def test_plans_keep_it_and_those_of_earlier_versions_have_none():
    content = Plan(feedback=1.5).to_dict()
    assert plan_from_dict(json.loads(json.dumps(content))) == Plan(feedback=1.5)
    del content["feedback"]
    assert plan_from_dict(content) == Plan()


def test_the_command_takes_it_for_detectors_of_boxes(tmp_path, capsys):
    predictor = write_predictor(tmp_path / "p.onnx", (HEIGHT, WIDTH))
    video = encode(tmp_path / "gate.mp4", noise(3, HEIGHT, WIDTH), pixel_format="yuv444p")
    found = write_detector(tmp_path / "d.onnx", "yolox", (64, 96))
    words = ["--video", video, "--predictor", predictor, "--upscaler", "bicubic", "--no_video", "--save_dir"]

    def run(*flags):
        run_cameras.main(run_cameras.make_parser().parse_args([str(word) for word in (*words, *flags)]))

    run(tmp_path / "out", "--detector", f"onnx:{found}", "--feedback", 1)
    assert json.loads((tmp_path / "out" / "run.json").read_text())["plan"]["feedback"] == 1
    with pytest.raises(InputError, match="--feedback -1: expected a weight from 0 to 100"):
        run(tmp_path / "other", "--detector", f"onnx:{found}", "--feedback", -1)
    segmenter = write_segmenter(tmp_path / "s.onnx")
    with pytest.raises(InputError, match="--feedback: takes boxes"):
        run(tmp_path / "other", "--detector", f"onnx:{segmenter}", "--feedback", 1)


def test_a_flat_map_is_a_predictor_to_which_all_macroblocks_are_alike(tmp_path, capsys):
    def call(command, *words):
        command.main(command.make_parser().parse_args([str(word) for word in words]))

    flags = ["--flat", HEIGHT, WIDTH, "--save_dir", tmp_path]
    with pytest.raises(InputError, match="--scale 30: expected a whole number from 2 to 8"):
        call(export_static_map, *flags, "--scale", 30)
    call(export_static_map, *flags, "--scale", 2)
    assert capsys.readouterr().err == ""
    call(export_static_map, "--flat", WIDTH, HEIGHT, "--save_dir", tmp_path / "swapped")
    assert f"--flat {WIDTH} {HEIGHT}: frames of {HEIGHT}x{WIDTH}, higher than wide; height" in capsys.readouterr().err
    flat = tmp_path / f"flat_{WIDTH}x{HEIGHT}_x2.onnx"
    predictor = load_predictor(flat)
    assert problems(read_onnx(flat).model) == []  # it can become an engine
    assert (predictor.input_hw, predictor.metadata["scale"]) == ((HEIGHT, WIDTH), "2")
    assert not predictor.predict(np.zeros((2, HEIGHT, WIDTH, 3), np.uint8)).any()
    video = encode(tmp_path / "gate.mp4", noise(2, HEIGHT, WIDTH), pixel_format="yuv444p")
    found = write_detector(tmp_path / "d.onnx", "yolox", (64, 96))
    words = ["--predictor", flat, "--upscaler", "bicubic", "--no_video"]
    call(run_cameras, *words, "--video", video, "--detector", f"onnx:{found}", "--save_dir", tmp_path / "out")
    assert "is a flat map, so macroblocks are chosen at random; give --feedback 1" in capsys.readouterr().err
    call(
        *(run_cameras, *words, "--video", video, "--detector", f"onnx:{found}", "--feedback", 1),
        *("--save_dir", tmp_path / "out"),
    )
    assert "flat map" not in capsys.readouterr().err
    with pytest.raises(InputError, match="--feedback: goes with --predictor"):
        call(evaluate_online, "--video", video, "--upscaler", "bicubic", "--feedback", 1, "--save_dir", tmp_path / "e")


def test_a_flat_map_chooses_other_macroblocks_in_each_frame_and_the_same_in_each_run(tmp_path):
    export_static_map.main(
        export_static_map.make_parser().parse_args(["--flat", str(HEIGHT), str(WIDTH), "--save_dir", str(tmp_path)])
    )
    importance = importance_by(load_predictor(tmp_path / f"flat_{WIDTH}x{HEIGHT}.onnx"))
    frames = [*frames_of("gate", 120)]
    chosen = np.stack([select_macroblocks(importance([frame])[0], 0.25) for frame in frames])
    np.testing.assert_array_equal(chosen[:2], [select_macroblocks(importance([one])[0], 0.25) for one in frames[:2]])
    assert chosen.any(0).all()  # so an object is found wherever it is
    assert importance(frames).max() < 1e-3  # what was found last comes first
