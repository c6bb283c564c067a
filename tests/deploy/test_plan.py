"""The planner on small frames whose squares only super-resolution shows, and the plan that the loop takes."""

import argparse
import json
import math
import shutil
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy import plan, run_cameras
from deploy.online.arguments import add_plan_arguments, changed_by_flags
from deploy.online.plan import MODES, Plan
from deploy.online.plan_file import Files, Machine, PlanRecord, Point, Recall, read_plan, write_plan
from deploy.online.plan_making import Material, against_static_map, judged, warn_if_busy, warn_of_rate
from deploy.online.plan_report import held_against
from deploy.online.planning import (
    DO_NOT_ENHANCE,
    FEEDBACK,
    NONE,
    NOT_REACHABLE,
    REACHED,
    WHOLE,
    Measured,
    Search,
    Target,
    choose,
    to_measure,
)
from deploy.online.trials import Trial, Trials
from regenhance_data.dataset.folder import Dataset
from regenhance_data.dataset.importance_file import write_importance
from regenhance_data.errors import InputError
from regenhance_data.evaluation.bootstrap import FrameScores
from regenhance_data.evaluation.record import CANNOT_TELL, NOT_WORTH_IT, WORTH_IT, Estimate, Verdict
from regenhance_data.io.images import write_image
from regenhance_data.metrics.detection import count_matches, f1
from regenhance_data.metrics.metric import F1
from regenhance_data.regions.cache import NO_CACHE, CachePolicy
from regenhance_data.regions.reuse import ReusePolicy
from tests.support.detectors import BLUE, RED, write_detector
from tests.support.files import encode
from tests.support.predictors import write_predictor
from tests.support.upscalers import write_repeating

HEIGHT, WIDTH, FRAMES = 64, 96, 24


def lr_frames(count, seed=0):
    """LR frames of three 4×4 squares each, which stay in place for four frames: interpolation blurs two dim ones, which
    the detector misses then.
    """
    rng = np.random.default_rng(seed)
    frames = []
    for number in range(count):
        if number % 4 == 0:
            frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
            places = rng.permutation((HEIGHT // 4 - 2) * (WIDTH // 4 - 2))[:3]
            for place, colour, light in zip(places, (RED, BLUE, RED), (5, 5, 8), strict=True):
                top, left = 4 * (place // (WIDTH // 4 - 2) + 1), 4 * (place % (WIDTH // 4 - 2) + 1)
                frame[top : top + 4, left : left + 4] = np.array(colour) * light // 8
        frames.append(frame)
    return frames


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Flags for a predictor of brightness, an upscaler that repeats pixels and a detector of squares."""
    folder = tmp_path_factory.mktemp("parts")
    predictor = write_predictor(folder / "predictor.onnx", (HEIGHT, WIDTH))
    upscaler = write_repeating(folder / "upscaler.onnx")
    detector = write_detector(folder / "detector.onnx", "yolox", (2 * HEIGHT, 2 * WIDTH))
    return ["--predictor", predictor, "--upscaler", f"onnx:{upscaler}", "--detector", f"onnx:{detector}"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A dataset with originals, of one clip, whose frames are all validation frames."""
    root = tmp_path_factory.mktemp("data")
    for number, frame in enumerate(lr_frames(FRAMES)):
        write_image(root / "origin_images" / "gate" / f"{number:06d}.png", frame)
        write_image(root / "hr_images" / "gate" / f"{number:06d}.png", frame.repeat(2, 0).repeat(2, 1))
    dataset = Dataset.open(root)
    dataset.save(scale=2, clips={"gate": {"frame_rate": 25.0}})
    for split in ("val", "test"):
        dataset.write_split(split, dataset.frames("gate"))
    return root


def make_plan(data, parts, save_dir, *flags):
    words = ["--data", data, *parts, "--save_dir", save_dir, *flags]
    plan.main(plan.make_parser().parse_args([str(word) for word in words]))
    return read_plan(save_dir / "plan.json")


@pytest.fixture(scope="module")
def planned(data, parts, tmp_path_factory):
    """The folder of a plan for the best score."""
    folder = tmp_path_factory.mktemp("plan")
    make_plan(data, parts, folder, "--budgets", 0.1, 0.3)
    return folder


def regions(budget=0.1, **changes):
    return replace(Plan(budget, halo_px=3, cache=NO_CACHE), **changes)


def test_the_front_is_measured_and_the_best_is_chosen(planned):
    record = read_plan(planned / "plan.json")
    assert (record.answer, record.verdict.answer, record.metric) == (REACHED, WORTH_IT, "f1")
    assert (record.reference, record.frames, record.clips) == ("the original HR frames", FRAMES, ("gate",))
    assert record.chosen in record.front
    values = [point.score.value for point in record.front]
    assert record.chosen.score.value == max(values) == 1  # the upscaler makes the originals
    assert values == sorted(values, reverse=True)
    assert [point.fps[1] for point in record.front] == sorted(point.fps[1] for point in record.front)
    for point in record.front:
        assert point.fps[0] <= point.fps[1] <= point.fps[2]
        assert point.ms["detect"][0] > 0
    page = (planned / "plan.html").read_text()
    assert "is what limits" not in page
    assert "It limits the loop" in page
    assert 'src="http' not in page


def test_a_target_that_is_not_reachable_is_told_with_the_most_that_is(data, parts, tmp_path, capsys):
    flags = "--target_fps", 90000, "--cameras", 2, "--budgets", 0.3, "--max_frames", 12
    record = make_plan(data, parts, tmp_path, *flags)
    assert (record.answer, record.target.cameras) == (NOT_REACHABLE, 2)
    assert "of each of 2 cameras: not reachable on this machine: at most " in capsys.readouterr().out


def test_a_plan_is_held_against_other_frames(planned, data, parts, tmp_path, capsys):
    words = ["--data", data, *parts, "--save_dir", tmp_path, "--check", planned / "plan.json"]
    plan.main(plan.make_parser().parse_args([str(word) for word in words]))
    same = "1.000 (95 %: 1.00-1.00 from 24 frames)"
    assert f"F1 {same}, planned {same}: +0.000, no more than chance explains (±0.000); " in capsys.readouterr().out
    assert json.loads((tmp_path / "check.json").read_text())["measured"]["score"] == 1


def test_true_boxes_replace_originals_that_are_missing(planned, data, parts, tmp_path):
    shutil.copytree(data, tmp_path / "data")
    (tmp_path / "data/hr_images/gate/000005.png").unlink()
    words = ["--data", tmp_path / "data", *parts, "--save_dir", tmp_path / "out", "--check", planned / "plan.json"]
    with pytest.raises(InputError, match=r"000005\.png"):
        plan.main(plan.make_parser().parse_args([str(word) for word in words]))
    truth = {"classes": ["red"], "frames": {str(number): [[0, 0, 8, 8, 0]] for number in range(FRAMES)}}
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    plan.main(plan.make_parser().parse_args([str(word) for word in (*words, "--truth", tmp_path / "truth.json")]))
    assert json.loads((tmp_path / "out/check.json").read_text())["measured"]["frames"] == FRAMES


def test_a_plan_is_held_against_with_its_own_threads_and_cameras(planned, data, parts, tmp_path, monkeypatch):
    content = json.loads((planned / "plan.json").read_text())
    content["machine"]["threads"], content["target"]["cameras"] = 1, 3
    (tmp_path / "plan.json").write_text(json.dumps(content))
    asked = []

    def load(material, threads):
        asked.append(threads)
        return loaded(material, threads)

    def trials(engines, clips, cameras, *more):
        asked.append(cameras)
        return Trials(engines, clips, cameras, *more)

    loaded = Material.load
    monkeypatch.setattr(Material, "load", load)
    monkeypatch.setattr("deploy.online.plan_making.Trials", trials)
    words = ["--data", data, *parts, "--save_dir", tmp_path / "out", "--check", tmp_path / "plan.json"]
    plan.main(plan.make_parser().parse_args([str(word) for word in words]))
    assert asked == [1, 3]


def test_flags_change_single_values_of_a_plan():
    parser = argparse.ArgumentParser()
    add_plan_arguments(parser)
    planned = Plan(0.4, halo_px=3, reuse=ReusePolicy(4), cache=CachePolicy(6.0, 50))
    for words, changed in (
        ([], planned),
        (["--floor", "0.2"], replace(planned, floor=0.2)),
        (["--budget", "0.05"], replace(planned, budget=0.05)),
        (["--cache_age", "9"], replace(planned, cache=CachePolicy(6.0, 9))),
        (["--predict_change", "0.1"], replace(planned, reuse=ReusePolicy(None, 0.1))),
    ):
        assert changed_by_flags(planned, parser.parse_args(words))[0] == changed
    with pytest.raises(InputError, match=r"--floor 0.5: expected a share from 0 to the budget \(0.4\)"):
        changed_by_flags(planned, parser.parse_args(["--floor", "0.5"]))


def test_a_difference_is_held_against_what_so_few_frames_tell():
    planned = Estimate(0.66, (0.61, 0.71))
    told = [held_against(Estimate(value, (value - 0.05, value + 0.05)), 24, planned, 37) for value in (0.61, 0.5)]
    assert told[0].endswith(
        "planned 0.660 (95 %: 0.61-0.71 from 37 frames): -0.050, no more than chance explains (±0.071)"
    )
    assert told[1].endswith("-0.160, more than chance explains (±0.071)")
    assert held_against(planned, 24, Estimate(math.nan, (math.nan, math.nan)), 9).endswith("planned –")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--budgets", 2], "--budgets: expected shares between 0 and 1"),
        (["--target_fps", 0], "--target_fps 0: expected frames a second"),
        (["--target_f1", "good"], "--target_f1 good: expected a score, as 0.8, or a share, as 95%"),
        (["--target_f1", "120%"], "--target_f1 120%: expected a score"),
        (["--cameras", 0], "--cameras 0: expected a number from 1"),
        (["--split", "train"], "train"),
    ],
)
def test_what_cannot_be_planned_is_refused(data, parts, tmp_path, flags, words):
    with pytest.raises(InputError, match=words):
        make_plan(data, parts, tmp_path, *flags)
    assert not (tmp_path / "plan.json").exists()


# --- the loop with a plan ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return encode(tmp_path_factory.mktemp("video") / "gate.mp4", lr_frames(4))


def run(parts, video, plan_path, save_dir, *flags):
    words = ["--video", video, *parts, "--plan", plan_path, "--no_video", "--save_dir", save_dir, *flags]
    run_cameras.main(run_cameras.make_parser().parse_args([str(word) for word in words]))
    return json.loads((save_dir / "run.json").read_text())["plan"]


def test_the_loop_takes_a_plan_and_flags_replace_what_it_says(planned, parts, video, tmp_path, capsys):
    chosen = read_plan(planned / "plan.json").chosen.plan
    ran = run(parts[:4], video, planned / "plan.json", tmp_path)  # the plan knows the detector
    assert (ran["mode"], ran["budget"], ran["halo"]) == (chosen.mode, chosen.budget, chosen.halo_px)
    assert capsys.readouterr().err == ""
    ran = run(parts, video, planned / "plan.json", tmp_path, "--mode", "regions", "--budget", 0.3, "--cache_age", 9)
    assert (ran["mode"], ran["budget"], ran["detect_every"]) == ("regions", 0.3, chosen.detect_every)
    assert (ran["cache_age"], ran["cache_threshold"]) == (9, chosen.cache.threshold)
    assert "--budget, --cache_age, --mode: given, and taken instead of what " in capsys.readouterr().out


def test_a_plan_of_other_files_is_refused_and_one_of_another_machine_is_told(planned, parts, video, tmp_path, capsys):
    other = write_predictor(tmp_path / "other.onnx", (HEIGHT, WIDTH + 16))
    with pytest.raises(InputError, match=r"plan\.json: is for another predictor than .*other\.onnx; plan again"):
        run(["--predictor", other, *parts[2:]], video, planned / "plan.json", tmp_path)
    with pytest.raises(InputError, match=r"is for another --upscaler file; give the same, or plan again"):
        run([*parts[:3], "bicubic", *parts[4:]], video, planned / "plan.json", tmp_path)
    with pytest.raises(InputError, match=r"is for another --detector classes \(\[\], not \['red'\]\)"):
        run(parts, video, planned / "plan.json", tmp_path, "--classes", "red")
    record = read_plan(planned / "plan.json")
    write_plan(tmp_path / "plan.json", replace(record, machine=replace(record.machine, cores=999)))
    run(parts, video, tmp_path / "plan.json", tmp_path)
    assert "plan.json: was made on another machine (cores " in capsys.readouterr().err


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: "[" * 100_000,
        lambda text: "[]",
        lambda text: "{}",
        lambda text: " " * 2_000_000,
        lambda text: text.replace('"mode": "', '"mode": "x'),
        lambda text: text.replace('"cores": ', '"cores": -'),
        lambda text: text.replace('"detect_every": ', '"detect_every": 1e400, "x": '),
        lambda text: text.replace('"detect_every": ', '"detect_every": true, "x": '),
        lambda text: text.replace('"packages": {', '"packages": {"x": [], '),
        lambda text: text.replace('"budget": ', f'"budget": {"9" * 4000}, "x": '),
        lambda text: text.replace('"score": ', '"score": NaN, "x": '),
    ],
)
def test_a_broken_plan_is_one_line(planned, tmp_path, damage):
    text = (planned / "plan.json").read_text()
    (tmp_path / "plan.json").write_text(damage(text))
    with pytest.raises(InputError, match=r"plan\.json: ") as told:
        read_plan(tmp_path / "plan.json")
    assert len(str(told.value)) < 400 + len(str(tmp_path))


shares, words = st.floats(0, 1), st.text(st.characters(codec="utf-8", exclude_characters=";:"), max_size=8)
threes, above_zero = (st.tuples(*[st.floats(least, 1e9)] * 3) for least in (0, 1e-3))
plans = st.builds(
    lambda budget, floor, **rest: Plan(budget, floor * budget, **rest),
    shares,
    shares,
    mode=st.sampled_from(MODES),
    halo_px=st.none() | st.integers(0, 99),
    reuse=st.builds(ReusePolicy, st.integers(1, 9), st.none() | shares),
    detect_every=st.integers(1, 99),
    cache=st.builds(CachePolicy, st.floats(0, 255), st.integers(1, 999)),
    feedback=st.floats(0, 100),
)
points = st.builds(
    Point, plans, above_zero, st.builds(Estimate, shares, st.tuples(shares, shares)), st.dictionaries(words, threes)
)
records = st.builds(
    PlanRecord,
    target=st.builds(Target, st.none() | st.floats(0.1, 99), st.integers(1, 99), st.none() | st.floats(0.1, 1)),
    answer=words,
    verdict=st.builds(Verdict, st.sampled_from([WORTH_IT, CANNOT_TELL]), words),
    metric=st.sampled_from(["f1", "miou"]),
    reference=words,
    frames=st.integers(1, 99),
    clips=st.lists(words).map(tuple),
    tried=st.integers(1, 99),
    chosen=points,
    front=st.lists(points, max_size=3).map(tuple),
    machine=st.builds(
        Machine,
        words,
        st.integers(1, 99),
        st.none() | words,
        st.dictionaries(words, words),
        st.none() | st.integers(1, 99),
    ),
    files=st.builds(Files, words, st.integers(1, 9), *[st.dictionaries(words, st.none() | words)] * 2, words),
    recall=st.none()
    | st.builds(Recall, st.sampled_from(["gain", "path:0.1,0.5"]), st.lists(st.tuples(shares, shares)).map(tuple)),
)


@settings(max_examples=15)
@given(record=records)
def test_a_plan_is_read_as_it_was_written(record):
    assert PlanRecord.from_dict(json.loads(json.dumps(record.to_dict(), allow_nan=False))) == record


# --- the search and the choice, on scores and times that are given ----------------------------------------------------


def searched(value_of, exact_px=7, budgets=(0.02, 0.05, 0.1, 0.2, 0.4), kept=0.5, finds_boxes=True):
    """{plan: its value} of all that a search tries. value_of: the score of a plan."""
    done = {}

    def trial(one):
        ms = {"none": 10, "whole": 40}.get(one.mode, 10 + 50 * one.budget + (one.halo_px or 0) / 10)
        return done.setdefault(one, Trial(one, (), {"predict": 0.1, "detect": ms}, kept if one.cache.threshold else 0))

    search = Search(trial, lambda one: value_of(one.plan), budgets, exact_px, finds_boxes)
    assert {one.plan for one in search.run()} <= {*done}
    return {one: value_of(one) for one in done}


def test_the_halo_is_the_least_whose_score_equals_the_exact_one():
    for least in (0, 1, 3, 7):
        found = searched(lambda one, least=least: 0.5 + 0.4 * ((one.halo_px or 0) >= least) - 0.1 * one.detect_every)
        assert {one.halo_px for one in found if one.budget == 0.05} == {least}


def test_the_weight_of_feedback_is_the_best_one_for_all_budgets():
    for best in FEEDBACK:
        found = searched(lambda one, best=best: one.budget - 0.1 * abs(one.feedback - best))
        fed = {(one.budget, one.feedback) for one in found if one.feedback and one.budget != 0.1}
        assert fed == {(budget, best) for budget in (0.02, 0.05, 0.2, 0.4)}
        assert {one.feedback for one in found if one.cache.threshold and one.detect_every == 1} == {best}


def test_a_budget_that_is_given_twice_is_tried_once():
    assert len(searched(lambda plan: plan.budget, budgets=(0.1, 0.1))) == len(
        searched(lambda p: p.budget, budgets=(0.1,))
    )


def test_the_speed_without_feedback_is_measured_too():
    """Enhancement and detection overlap without it, which a trial, one stage after the other, does not show."""
    values = {NONE: 0.5, regions(): 0.6, regions(feedback=0.3): 0.7}
    trials = [Trial(one, (), {"detect": 30 if one.selects else 20}, 0) for one in values]
    for target in (Target(), Target(fps=20), Target(f1=0.6)):
        some = to_measure(trials, lambda trial: values[trial.plan], target)
        assert {trial.plan for trial in some} == {*values}


@pytest.mark.parametrize(("brings", "finds_boxes"), [(0.004, True), (-0.1, True), (0.1, False)])
def test_feedback_is_planned_only_where_it_brings_more_and_boxes_are_found(brings, finds_boxes):
    def value(one):
        return one.budget + brings * bool(one.feedback)

    found = searched(value, finds_boxes=finds_boxes)
    assert {one.budget for one in found if one.feedback} == ({0.1} if finds_boxes else set())


def test_a_larger_budget_is_tried_only_while_it_brings_more():
    found = searched(lambda one: min(one.budget, 0.1))
    assert {one.budget for one in found if one.mode == "regions"} == {0.02, 0.05, 0.1, 0.2}


def test_the_cache_has_the_laxest_threshold_that_is_not_below_fresh_selection():
    def value(one, harmful):
        return one.budget + (-0.006 if one.cache.threshold >= harmful else 0.01 if one.cache.threshold else 0)

    for harmful, expected in ((11, {10}), (9, {10, 8}), (8, {10, 8, 6}), (6, {10, 8, 6, 3}), (3, {10, 8, 6, 3})):
        found = searched(lambda one, harmful=harmful: value(one, harmful))
        assert {one.cache.threshold for one in found} - {0} == expected
        rare = {one.cache.threshold for one in found if one.detect_every > 1} - {0}
        assert rare == ({min(expected)} if harmful > 3 else set())  # what is worse is not tried further
    assert {one.cache.threshold for one in searched(lambda one: one.budget, kept=0.01)} == {0, 10}


def test_an_upscaler_of_whole_frames_alone_has_no_regions():
    assert {one.mode for one in searched(lambda one: one.budget, exact_px=None)} == {"none", "whole"}


def measured(one, found, fps, frames=24, objects=10):
    """A point that finds so many of the objects of each frame; found: a number, or one for each frame."""
    found = np.broadcast_to(found, frames)
    counts = tuple(np.array([some, 0, objects - some]) for some in found)
    value = float(f1(np.sum(counts, axis=0)))
    return Measured(Trial(one, counts, {}, 0), value, (0.9 * fps, fps, 1.1 * fps))


def chosen(target, *points):
    frames = len(points[0].trial.counts)
    return choose(points, target, FrameScores(F1, ["gate"] * frames))


def test_the_best_score_at_a_speed_the_cheaper_of_equal_ones():
    good, equal, best = measured(regions(0.2), 8, 20), measured(regions(0.1), 8, 25), measured(WHOLE, 9, 5)
    none = measured(NONE, 3, 40)
    assert chosen(Target(), none, good, equal, best).point == best
    assert chosen(Target(fps=10), none, good, equal, best).point == equal
    assert chosen(Target(fps=10, cameras=3), none, good, equal, best).point == none
    assert chosen(Target(fps=24), none, good, equal, best).point == none  # 25 is the median, not every turn
    beyond = chosen(Target(fps=10, cameras=9), none, good, best)
    assert (beyond.answer, beyond.point) == (NOT_REACHABLE, none)


def test_the_fastest_with_a_score():
    points = measured(NONE, 3, 40), measured(regions(), 7, 20), measured(WHOLE, 8, 5)
    assert chosen(Target(f1=0.5), *points).point == points[1]
    assert chosen(Target(f1=0.4), *points).answer == DO_NOT_ENHANCE
    assert chosen(Target(f1=0.95, of_best=True), *points).point == points[2]
    beyond = chosen(Target(f1=0.95), *points)
    assert (beyond.answer, beyond.point) == (NOT_REACHABLE, points[2])


def test_nothing_is_enhanced_where_that_is_as_good():
    worse = chosen(Target(fps=1), measured(NONE, 8, 40), measured(regions(), 7, 20))
    assert (worse.answer, worse.point.trial.plan) == (DO_NOT_ENHANCE, NONE)
    random = np.random.default_rng(0)
    none, some = random.integers(2, 9, 24), random.integers(2, 9, 24)
    some[0] += none.sum() - some.sum() + 3  # a gain that is less than its interval
    little = chosen(Target(fps=1), measured(NONE, none, 40, objects=40), measured(regions(), some, 20, objects=40))
    assert (little.answer, little.verdict.answer) == (DO_NOT_ENHANCE, NOT_WORTH_IT)
    some[1:8] += 6
    unclear = chosen(Target(fps=1), measured(NONE, none, 40, objects=40), measured(regions(), some, 20, objects=40))
    assert unclear.verdict.answer in (CANNOT_TELL, WORTH_IT)
    assert unclear.point.trial.plan == regions()


def test_frames_without_objects_have_no_score():
    nothing = measured(NONE, 0, 40, objects=0)
    assert math.isnan(FrameScores(F1, ["gate"] * 24).value(nothing.trial.counts))
    assert NONE.to_dict()["mode"] == "none"


def test_frames_that_follow_each_other_faster_than_the_target_are_told(data, capsys):
    for target, is_told in ((None, False), (20, False), (5, True)):
        warn_of_rate(Dataset.open(data), ["gate"], target)
        assert ("has 25 frames a second, the target is 5" in capsys.readouterr().err) == is_told


def test_a_busy_machine_is_told(capsys):
    warn_if_busy([(9, 10, 11), (9, 10, 11), (5, 10, 20)])
    assert capsys.readouterr().err == ""
    warn_if_busy([(6, 10, 12), (9, 10, 11), (5, 10, 20)])
    assert "the fastest turn is 2.0 times as fast as the slowest" in capsys.readouterr().err


@pytest.mark.parametrize("flags", [["--hold"], ["--hold", "--plan", "p.json", "--budget", 0.2]])
def test_holding_is_for_the_budget_of_a_plan(parts, video, tmp_path, flags):
    words = ["--video", video, *parts, "--save_dir", tmp_path, *flags]
    with pytest.raises(InputError, match="--hold changes the budget of --plan; give a plan, and no flags"):
        run_cameras.main(run_cameras.make_parser().parse_args([str(word) for word in words]))


def tried(*rows):
    """(trials, {plan: value}) of rows (mode, budget, detect_every, milliseconds of a searched frame, value)."""
    plans = [Plan(budget, mode=mode, detect_every=every) for mode, budget, every, _, _ in rows]
    trials = [Trial(one, (), {"detect": row[3]}, 0) for one, row in zip(plans, rows, strict=True)]
    return trials, dict(zip(plans, [row[4] for row in rows], strict=True))


def test_the_speed_of_what_may_meet_the_target_is_measured():
    trials, by_plan = tried(
        *[("none", 0.1, every, 100, 0.5 - every / 100) for every in (1, 2, 5)],
        *[("regions", budget, 1, 100 + 200 * budget, 0.5 + budget) for budget in (0.02, 0.03, 0.04, 0.05, 0.1)],
        *[("regions", budget, 2, 100 + 200 * budget, 0.45 + budget) for budget in (0.02, 0.1)],
        ("whole", 0.1, 1, 200, 0.55),
    )

    def found(target):
        some = to_measure(trials, lambda trial: by_plan[trial.plan], target)
        assert len(some) <= 7
        return {(trial.plan.mode, trial.plan.budget, trial.plan.detect_every) for trial in some}

    ends = {("none", 0.1, 5), ("regions", 0.1, 1)}
    assert found(Target(fps=15)) >= {*ends, ("none", 0.1, 2), ("regions", 0.1, 2)}  # not only 8 like 10 a second
    assert found(Target(f1=0.5)) >= {*ends, ("regions", 0.1, 2)}
    assert found(Target()) >= {*ends, ("none", 0.1, 1)}
    assert ("whole", 0.1, 1) not in found(Target())  # slower than others, and no better


@pytest.mark.parametrize(("cache", "gap_at"), [(NO_CACHE, 7), (CachePolicy(), 7), (CachePolicy(), 5)])
def test_a_trial_is_what_the_loop_finds_from_each_first_frame_on_anew_after_a_gap(data, parts, tmp_path, cache, gap_at):
    words = ["--data", data, *parts, "--save_dir", tmp_path, "--max_frames", 7]
    args = plan.make_parser().parse_args([str(word) for word in words])
    material = plan.material_from(args, Dataset.open(data))
    ((*clip,),) = material.clips
    assert {frame.shot for frame in clip} == {0}
    clips = [[replace(frame, shot=int(number >= gap_at)) for number, frame in enumerate(clip)]]
    engines, detector = material.load(None)
    trials = judged(replace(material, clips=clips), engines, detector, 1, None).trials
    settings_of = regions(0.2, detect_every=3, cache=cache)
    expected = [[] for _ in clips[0]]
    for first, shot in product(range(3), (range(gap_at), range(gap_at, 7))):
        loop, found = engines.loop(settings_of), None
        for number in shot:
            frame = clips[0][number]
            if number - shot.start >= first and (number - shot.start - first) % 3 == 0:
                found = loop.step([frame]).done[0].found
            if found is not None:
                expected[number].append(count_matches(found, detector.detect(frame.original[None])[0]))
    np.testing.assert_allclose(trials(settings_of).counts, [np.mean(some, axis=0) for some in expected])


def test_the_verdict_says_whether_the_predictor_is_better_than_the_static_map(planned, data, parts, tmp_path):
    dataset = Dataset.open(shutil.copytree(data, tmp_path / "data"))
    dataset.write_split("train", dataset.frames("gate"))
    top_row = np.zeros((FRAMES, *dataset.grid("gate").shape), np.float32)  # where there are few objects
    top_row[:, 0] = 1
    write_importance(dataset.importance_path("gate"), top_row, np.arange(FRAMES))
    words = ["--data", dataset.root, *parts, "--save_dir", tmp_path]
    args = plan.make_parser().parse_args([str(word) for word in words])
    material = plan.material_from(args, dataset)
    on = judged(material, *material.load(None), 1, None)
    record = read_plan(planned / "plan.json")

    def ending(one: Plan) -> str:
        of = replace(record, chosen=replace(record.chosen, plan=one), verdict=Verdict(WORTH_IT, ""))
        return against_static_map(of, dataset, on)

    assert ending(regions(0.3)).endswith(" above that of the static map")
    assert ending(WHOLE) == ""


def test_a_cache_that_harms_where_frames_are_left_out_is_not_planned():
    def trial(one):
        return Trial(one, (), {"detect": 10 + 50 * one.budget}, 0.5 if one.cache.threshold else 0)

    def value(one):
        kept = one.plan.cache.threshold > 0
        return one.plan.budget + kept * (0.1 if one.plan.detect_every == 1 else -0.1)

    plans = [one.plan for one in Search(trial, value, (0.1, 0.2), 7, True).run() if one.plan.cache.threshold]
    assert plans
    assert {one.detect_every for one in plans} == {1}


def test_frames_without_objects_are_refused(data, parts, tmp_path):
    with pytest.raises(InputError, match="none of the 24 frames has a reference object, so scores say nothing"):
        make_plan(data, parts, tmp_path, "--max_box_area", 1e-6)
