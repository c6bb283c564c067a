import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from regenhance_data import errors
from regenhance_data.dataset.folder import Dataset, Frame
from regenhance_data.dataset.importance_file import write_importance
from regenhance_data.detections import Detections
from regenhance_data.detectors.loading import load_detector
from regenhance_data.detectors.settings import DetectorSettings
from regenhance_data.evaluation.evaluate import evaluate
from regenhance_data.evaluation.record import Estimate, EvaluationResult, Scores, read_evaluation, write_evaluation
from regenhance_data.evaluation.truth import read_truth, warn_of_no_score
from regenhance_data.grid import MacroblockGrid
from regenhance_data.io.images import write_image
from regenhance_data.metrics.detection import count_matches, f1, iou_matrix
from regenhance_data.metrics.segmentation import count_pixels, miou
from regenhance_data.regions.composite import composite
from regenhance_data.regions.coverage import box_coverage
from regenhance_data.regions.selection import select_macroblocks
from regenhance_data.stages.make_importance import make_importance
from tests.support.detectors import BLUE, RED, squares
from tests.support.files import fill_dataset
from tests.support.predictors import write_predictor

BUDGETS = (0.05, 0.1, 0.4)


@st.composite
def detections(draw, most=6):
    corners = draw(arrays(np.float32, (draw(st.integers(0, most)), 2), elements=st.integers(0, 40)))
    sizes = draw(arrays(np.float32, corners.shape, elements=st.integers(1, 30)))
    scores = draw(arrays(np.float32, len(corners), elements=st.floats(0.5, 1, width=32)))
    labels = draw(arrays(np.int64, len(corners), elements=st.integers(0, 1)))
    return Detections(np.hstack([corners, corners + sizes]), scores, labels)


def reordered(found, order):
    return Detections(found.boxes[order], found.scores[order], found.labels[order])


@given(detections(), detections())
def test_every_box_is_counted_once(found, reference):
    true, wrong, missed = count_matches(found, reference)
    assert (true + wrong, true + missed) == (len(found.boxes), len(reference.boxes))
    assert min(true, wrong, missed) >= 0


@given(detections())
def test_the_same_detections_score_one(found):
    assert f1(count_matches(found, found)) == 1


@given(detections(), detections(), st.randoms(use_true_random=False))
def test_the_order_of_detections_does_not_matter(found, reference, random):
    distinct = np.unique(found.scores, return_index=True)[1]  # equal scores have no order to keep
    found = reordered(found, distinct)
    order = random.sample(range(len(found.boxes)), len(found.boxes))
    np.testing.assert_array_equal(count_matches(found, reference), count_matches(reordered(found, order), reference))


@given(detections(), detections())
def test_overlap_is_symmetric_and_a_share(a, b):
    overlap = iou_matrix(a.boxes, b.boxes)
    np.testing.assert_allclose(overlap, iou_matrix(b.boxes, a.boxes).T)
    assert ((overlap >= 0) & (overlap <= 1)).all()
    np.testing.assert_allclose(np.diag(iou_matrix(a.boxes, a.boxes)), 1)


def test_matching_is_by_class_by_score_and_from_half_an_overlap_on():
    def boxes(*rows):
        table = np.array(rows, np.float32).reshape(-1, 6)
        return Detections(table[:, :4], table[:, 4], table[:, 5].astype(np.int64))

    reference = boxes((0, 0, 10, 10, 1, 0), (100, 0, 110, 10, 1, 0))
    assert count_matches(boxes((0, 0, 10, 10, 0.9, 1)), reference).tolist() == [0, 1, 2]  # another class
    assert count_matches(boxes((0, 0, 10, 5, 0.9, 0)), reference).tolist() == [1, 0, 1]  # an overlap of 0.5
    assert count_matches(boxes((0, 0, 10, 4.9, 0.9, 0)), reference).tolist() == [0, 1, 2]
    twice = boxes((0, 0, 10, 10, 0.9, 0), (0, 0, 10, 9, 0.8, 0))
    assert count_matches(twice, reference).tolist() == [1, 1, 1]
    assert f1(count_matches(boxes(), boxes())) == 1
    assert f1(count_matches(boxes(), reference)) == 0


class_maps = arrays(np.uint8, (4, 5), elements=st.integers(0, 3))


@given(class_maps, class_maps)
def test_miou_is_the_mean_overlap_of_the_classes_that_the_reference_shows(found, reference):
    counts = count_pixels(found, reference, range(4))
    overlaps = [
        ((found == c) & (reference == c)).sum() / ((found == c) | (reference == c)).sum() for c in np.unique(reference)
    ]
    np.testing.assert_allclose(miou(counts), np.mean(overlaps))
    assert miou(count_pixels(found, found, range(4))) == 1
    assert miou(count_pixels(found, np.zeros_like(found), [3])) == 1  # class 3 counts alone, and there is none


@given(arrays(np.float32, (5, 7), elements=st.floats(0, 10, width=32)), st.floats(0, 1))
def test_a_budget_chooses_exactly_its_share_of_the_best_macroblocks(scores, budget):
    chosen = select_macroblocks(scores, budget)
    assert chosen.sum() == int(budget * 35 + 0.5)
    if chosen.any() and not chosen.all():
        assert scores[chosen].min() >= scores[~chosen].max()


def test_equal_scores_favour_no_corner_and_give_the_same_choice_again():
    flat = np.zeros((20, 30))
    chosen = select_macroblocks(flat, 0.2)
    np.testing.assert_array_equal(chosen, select_macroblocks(flat, 0.2))
    quarters = [chosen[:10, :15], chosen[:10, 15:], chosen[10:, :15], chosen[10:, 15:]]
    assert all(18 <= quarter.sum() <= 42 for quarter in quarters)
    assert not select_macroblocks(np.where(np.eye(20, 30, dtype=bool), np.nan, 0.0), 0.9)[:20, :20].diagonal().any()


def test_a_composite_is_hr_where_selected_and_upsampled_elsewhere():
    grid = MacroblockGrid(50, 70).scaled(2)
    hr, upsampled = np.full((100, 140, 3), 200, np.uint8), np.full((100, 140, 3), 50, np.uint8)
    for budget, expected in ((0, upsampled), (1, hr)):
        np.testing.assert_array_equal(
            composite(hr, upsampled, select_macroblocks(np.zeros(grid.shape), budget), grid), expected
        )
    selected = np.zeros(grid.shape, bool)
    selected[1, 4] = True  # 12 pixels wide: at the right edge
    image = composite(hr, upsampled, selected, grid)
    assert (image[32:64, 128:] == 200).all()
    assert (image == 200).sum() == 32 * 12 * 3


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, detector):
    """Eight frames of squares that only the HR frames show: the LR frames are dark and flat elsewhere too."""
    root = tmp_path_factory.mktemp("dataset")
    rng = np.random.default_rng(0)
    for number in range(8):
        columns, rows = rng.permutation(17)[:2] * 8, rng.permutation(11)[:2] * 8
        dim = [tuple(np.array(colour) * 5 // 8) for colour in (RED, BLUE)]
        hr = squares(100, 140, *zip(columns, rows, dim, strict=True))
        hr[90:] = rng.integers(0, 90, (10, 140, 3), np.uint8)  # differs from the upsampled frame, but is no object
        write_image(root / "hr_images" / f"{number:06d}.png", hr)
        write_image(root / "origin_images" / f"{number:06d}.png", np.zeros((50, 70, 3), np.uint8))
    dataset = Dataset.open(root)
    dataset.save(scale=2)
    dataset.write_split("test", dataset.frames("")[:4])
    make_importance(dataset, detector.settings, "product", "hr_images")
    return Dataset.open(root)


def test_the_oracle_finds_what_matters_and_chance_does_not(dataset, detector):
    result = evaluate(dataset, dataset.frames(""), detector, "hr_images", BUDGETS).to_dict()
    assert (result["metric"], result["frames"], result["none"], result["all"]) == ("f1", 8, 0, 1)
    curves = result["curves"]
    assert set(curves) == {"oracle", "difference", "boxes", "random"}
    assert set(curves["oracle"]) == {"0.05", "0.1", "0.4"}
    assert curves["oracle"]["0.4"] == 1
    assert curves["oracle"]["0.1"] > curves["difference"]["0.1"]
    assert curves["oracle"]["0.1"] > curves["random"]["0.1"]
    for curve, points in curves.items():
        for budget, value in points.items():
            low, high = result["intervals_95"][curve][budget]
            assert low <= value <= high
            assert result["recovered"][curve][budget] == value
    assert result == evaluate(dataset, dataset.frames(""), detector, "hr_images", BUDGETS).to_dict()


def test_models_named_alike_are_called_by_their_folders(tmp_path):
    from tools.evaluate import named

    paths = [Path("a/m.onnx"), Path("b/m.onnx"), Path("c/m.onnx"), Path("c/n.onnx")]
    assert list(named(paths)) == ["predictor", "b/m", "c/m", "n"]
    assert list(named([Path("a/m.onnx"), Path("runs/predictor.onnx")])) == ["predictor", "runs/predictor"]
    assert list(named([Path("a/predictor.onnx"), Path("predictor.onnx")])) == [
        "predictor",
        f"{Path.cwd().name}/predictor",
    ]
    for paths, taken in (
        (["a.onnx", "b.onnx", "b.onnx"], "b.onnx: another model, b.onnx, is"),
        (["a.onnx", "x/c/b.onnx", "y/c/b.onnx"], "y/c/b.onnx: another model, x/c/b.onnx, is called 'c/b' too"),
        (["a.onnx", "oracle.onnx"], "oracle.onnx: a baseline is called 'oracle' too"),
        (["a.onnx", "none.onnx"], "none.onnx: a baseline is"),
    ):
        with pytest.raises(errors.InputError, match=f"--model {taken}.*give each once, or rename this one"):
            named([Path(name) for name in paths])


@given(st.lists(st.tuples(*[st.floats(0, 90)] * 4, st.floats(0, 1)), max_size=5))
def test_boxes_cover_macroblocks_by_the_pixels_in_them(rows):
    boxes = np.array([[x, y, x + w, y + h] for x, y, w, h, _ in rows]).reshape(-1, 4).round().clip(0, 90)
    scores = np.array([row[4] for row in rows])
    grid = MacroblockGrid(96, 96)
    pixels = np.zeros((96, 96))
    for (left, top, right, bottom), score in zip(boxes.astype(int), scores, strict=True):
        pixels[top:bottom, left:right] += score
    found = Detections(boxes, scores, np.zeros(len(boxes), int))
    np.testing.assert_allclose(box_coverage(found, grid), grid.mean(pixels), atol=1e-9)


def test_a_predictor_is_judged_by_the_macroblocks_it_chooses(dataset, detector):
    frames = dataset.frames("")
    flat = evaluate(dataset, frames, detector, "hr_images", BUDGETS, {"predictor": lambda lr: np.zeros((4, 5))})
    curves = flat.scores.curves
    assert curves["predictor"][0.05].value < curves["oracle"][0.05].value
    with pytest.raises(errors.InputError, match=r"000000.png: the model of 'predictor' gives 5x5 mac.*, expected 4x5"):
        evaluate(dataset, frames, detector, "hr_images", BUDGETS, {"predictor": lambda lr: np.zeros((5, 5))})


@pytest.mark.slow
def test_the_command_writes_figures_a_plot_and_a_table(run, dataset, tmp_path):
    truth = {"classes": ["red", "blue"], "frames": {str(n): [[10, 20, 26, 36, 0]] if n else [] for n in range(8)}}
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    model = write_predictor(tmp_path / "model.onnx", (50, 70))
    other = write_predictor(tmp_path / "other.onnx", (50, 70))
    flags = ("--every", 2, "--budgets", *BUDGETS, "--truth", tmp_path / "truth.json", "--model", model, other)
    result = run("tools/evaluate.py", "--data", dataset.root, *flags, "--save_dir", tmp_path / "e")
    written = json.loads((tmp_path / "e" / "evaluation.json").read_text())
    assert (written["frames"], written["settings"]["split"]) == (2, "test")
    assert written["settings"]["detector"] == dataset.record.detector
    assert set(written["curves"]) == {"predictor", "other", "oracle", "difference", "boxes", "random"}
    assert written["settings"]["models"] == {"predictor": str(model), "other": str(other)}
    assert written["curves"]["other"] == written["curves"]["predictor"]
    assert set(written["truth"]["curves"]) == set(written["curves"])
    assert written["truth"]["all"] < 1
    assert f"{written['curves']['oracle']['0.4']:.3f}" in result.stdout
    assert written["intervals_95"]["oracle"]["0.1"] is None  # of two frames
    assert "against the true boxes" in result.stdout
    assert "warning: 2 frames are few" in result.stderr
    record = read_evaluation(tmp_path / "e" / "evaluation.json")
    assert record.result.truth.recovered("oracle", 0.1) == written["truth"]["recovered"]["oracle"]["0.1"]
    write_evaluation(tmp_path / "again.json", record)
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "e" / "evaluation.json").read_bytes()
    assert (tmp_path / "e" / "evaluation.png").stat().st_size > 10_000
    assert "<svg" in (tmp_path / "e" / "evaluation.svg").read_text()
    for rows, told in (([], "no true box counts"), ([[0, 0, 9, 9, 0]], "no detection on the HR frames overlaps")):
        truth["frames"] = dict.fromkeys(map(str, range(8)), rows)
        (tmp_path / "truth.json").write_text(json.dumps(truth))
        result = run("tools/evaluate.py", "--data", dataset.root, *flags[:-3], "--save_dir", tmp_path / "none")
        assert f"warning: --truth: {told}" in result.stderr


def evaluation_json(**changed):
    scores = {"none": 0.5, "all": 1, "curves": {"predictor": {"0.1": 0.75}}}
    bounds = {"none": [0.4, 0.6], "all": [1, 1], "predictor": {"0.1": [0.7, 0.8]}}
    settings = {"data": "d", "split": "test", "every": 1, "clear": "sr_images", "scale": 3, "mb_size": 16}
    settings |= {"detector": {}, "ran": {"predictor": {"model": "m.onnx", "sha256": "", "backend": "openvino"}}}
    return {"metric": "f1", "frames": 9, **scores, "intervals_95": bounds, "settings": settings} | changed


@pytest.mark.parametrize(
    "changed",
    [
        {"metric": "accuracy"},
        {"metric": []},
        {"frames": None},
        {"frames": float("inf")},
        {"none": 2},
        {"none": float("nan")},
        {"all": "1"},
        {"curves": []},
        {"curves": {}},
        {"curves": {"predictor": {"a tenth": 0.75}}},
        {"intervals_95": {}},
        {"intervals_95": {"none": [0.4], "all": [1, 1], "predictor": {"0.1": [0.7, 0.8]}}},
        {"truth": {}},
        {"settings": []},
        {"settings": {"ran": {}}},
    ],
)
def test_a_broken_evaluation_is_refused(tmp_path, changed):
    path = tmp_path / "evaluation.json"
    path.write_text(json.dumps(evaluation_json()))
    assert read_evaluation(path).result.scores.recovered("predictor", 0.1) == 0.5
    path.write_text(json.dumps(evaluation_json(**changed)))
    with pytest.raises(errors.InputError, match=r"is not an evaluation\.json"):
        read_evaluation(path)
    path.write_text("[]")
    with pytest.raises(errors.InputError, match=r"is not an evaluation\.json"):
        read_evaluation(path)


def test_true_boxes_are_read_for_the_classes_that_count(tmp_path, detector_file):
    path = tmp_path / "truth.json"
    path.write_text('{"classes": ["blue", "red"], "frames": {"3": [[1, 2, 3, 4, 0], [5, 6, 7, 8, 1]], "4": []}}')
    detector = load_detector(DetectorSettings(f"onnx:{detector_file}", classes=("red",)))
    truth = read_truth(path, detector, fill_dataset(tmp_path / "data", {"cam": 5}), "cam", [3, 4])
    assert (truth[3].boxes.tolist(), truth[3].labels.tolist()) == ([[5, 6, 7, 8]], [0])
    assert len(truth[4].boxes) == 0


def test_true_boxes_that_are_too_large_for_a_detection_are_left_out_and_told(tmp_path, detector_file, capsys):
    dataset, path = fill_dataset(tmp_path / "data", {"cam": 2}), tmp_path / "truth.json"
    height, width = 70 * dataset.scale, 93 * dataset.scale
    most = 0.1 * width * height
    rows = [[0, 0, 100, most / 100, 0], [0, 0, 100, most / 100 + 1, 0], [-500, 0, 9, 90, 0], [0, 0, 9, 9, 1]]
    path.write_text(json.dumps({"classes": ["red", "blue"], "frames": {"0": rows, "1": [[-9, -9, 999, 999, 0]]}}))

    def count(**settings):
        detector = load_detector(DetectorSettings(f"onnx:{detector_file}", **settings))
        return [len(boxes.boxes) for boxes in read_truth(path, detector, dataset, "cam", []).values()]

    assert count(max_box_area=0.1, classes=("red",)) == [2, 0]  # of a box, the part in the frame is measured
    assert "2 of 4 true boxes are larger than --max_box_area 0.1 of the frame" in capsys.readouterr().out
    assert count(max_box_area=1.0) == [4, 1]
    assert not capsys.readouterr().out


@pytest.mark.parametrize(
    ("classes", "listed", "told"),
    [
        (
            (),
            ["red"],
            "'classes' lacks 1 of the detector's 2 classes: all detections of them count as false; --classes red",
        ),
        (
            ("1", "red"),
            ["red"],
            "'classes' lacks blue, which the detector counts: all .* --classes red leaves them out",
        ),
        (("blue",), ["red"], "'classes' lacks blue, which the detector counts: all detections of them count as false$"),
        (("red",), ["blue", "red"], None),
        ((), ["blue", "red"], None),
    ],
)
def test_counted_classes_that_the_true_boxes_lack_are_warned_of(tmp_path, detector_file, capsys, classes, listed, told):
    path = tmp_path / "truth.json"
    path.write_text(json.dumps({"classes": listed, "frames": {}}))
    detector = load_detector(DetectorSettings(f"onnx:{detector_file}", classes=classes))
    read_truth(path, detector, fill_dataset(tmp_path / "data", {"cam": 1}), "cam", [])
    warned = capsys.readouterr().err.strip()
    assert re.search(told, warned) if told else not warned


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "not readable as JSON"),
        ("[" * 100_000, "not readable as JSON .it is nested too deeply"),
        ("[]", "is no mapping; expected {.*label"),
        ('{"frames": {}}', "there is no 'classes'; expected {"),
        ('{"classes": ["red"]}', "there is no 'frames'; expected {"),
        ('{"classes": "red", "frames": {}}', "'classes' is no list of names; expected {"),
        ('{"classes": ["red"], "frames": []}', "'frames' is no mapping of numbers to lists; expected {"),
        ('{"classes": ["cat"], "frames": {}}', "'classes' has cat: the detector has no such class"),
        ('{"classes": ["red", "blue", "red"], "frames": {}}', "'classes' has 'red' twice; list each class once"),
        ('{"classes": ["red"], "frames": {}, "frame_hw": 540}', "'frame_hw' is no .height, width.; give the size"),
        ('{"classes": ["red"], "frames": {"cam/000139": []}}', "frame 'cam/000139' is no number; number frames as"),
        ('{"classes": ["red"], "frames": {"7": {}}}', "frame 7: expected a list of boxes"),
        *(
            ('{"classes": ["red"], "frames": {"0": [[1, 2, 3, 4, 0], BOX]}}'.replace("BOX", box), f"frame 0: {told}")
            for box, told in {
                "[1, 2, 3, 4]": "expected a list of boxes",
                "7": "expected a list of boxes",
                '[1, 2, 3, 4, "red"]': "label 'red' is no number; a label is an index into 'classes', from 0",
                "[1, 2, 3, 4, 7]": "label 7 is no index into 'classes', which has 1; labels count from 0",
                "[1, 2, 3, 4, -1]": "label -1 is no index into 'classes'",
                "[1, 2, 3, 4, 0.5]": "label 0.5 is no index into 'classes'",
                "[1, 2, 3, 4, NaN]": "a box is five finite numbers",
                '[1, 2, 3, "x", 0]': "a box is five finite numbers",
                "[1, 2, 3, [4], 0]": "a box is five finite numbers",
                "[500, 300, 60, 320, 0]": "box .500, 300, 60, 320. has x2 <= x1",  # x, y, width, height
                "[500, 300, 60, 40, 0]": "box .500, 300, 60, 40. has x2 <= x1",
                "[5, 3, 5, 4, 0]": "box .5, 3, 5, 4. has x2 <= x1",
            }.items()
        ),
    ],
)
def test_a_broken_file_of_true_boxes_is_refused(tmp_path, detector, content, told):
    (tmp_path / "truth.json").write_text(content)
    with pytest.raises(errors.InputError, match=rf"truth\.json: {told}") as refused:
        read_truth(tmp_path / "truth.json", detector, fill_dataset(tmp_path / "data", {"cam": 1}), "cam", [])
    assert not re.search(r"\w+Error", str(refused.value))


def test_true_boxes_beyond_the_frame_are_counted(tmp_path, detector, capsys):
    dataset, path = fill_dataset(tmp_path / "data", {"cam": 2}), tmp_path / "truth.json"
    width, height = 93 * dataset.scale, 70 * dataset.scale

    def warned(*rows):
        path.write_text(json.dumps({"classes": ["red", "blue"], "frames": {"0": [], "1": [[*row, 0] for row in rows]}}))
        assert len(read_truth(path, detector, dataset, "cam", [])[1].boxes) == len(rows)
        return capsys.readouterr().err

    inside = [-1, -1, 9, 9], [width - 9, height - 9, width + 1, height + 1]
    assert not warned(*inside)
    said = warned(*inside, [40, 30, 10 * width, 34])
    assert f"1 of 3 true boxes reach more than 1 px beyond the HR frame of {width}x{height}, as in frame 1; cl" in said
    assert "2 of 2 true boxes" in (said := warned([-9, 0, 0, 9], [0, -2, 9, 9]))
    assert "as in frame 1; 1 lie wholly outside and can never match; clip them" in said


@pytest.mark.parametrize(
    ("value", "objects", "told"),
    [
        (np.nan, 5, "no true box counts on these frames, so there is no score against the truth"),
        (0.0, 5, r"no detection on the HR frames overlaps .* pixels of the HR frames \(140x100\), and of the right"),
        (0.0, 0, None),  # the detector finds nothing, which is told elsewhere
        (0.1, 5, None),
    ],
)
def test_it_is_told_why_nothing_matches_the_truth(capsys, value, objects, told):
    score = Estimate(value, (np.nan, np.nan))
    result = EvaluationResult("f1", 9, Scores(score, score, {}), Scores(score, score, {}), objects=objects)
    warn_of_no_score(result, MacroblockGrid(100, 140))
    warned = capsys.readouterr().err
    assert re.search(told, warned) if told else not warned
    warn_of_no_score(replace(result, truth=None), MacroblockGrid(100, 140))
    assert not capsys.readouterr().err


def test_true_boxes_that_lack_a_frame_are_refused_before_any_is_evaluated(tmp_path, detector):
    path = tmp_path / "truth.json"
    path.write_text('{"classes": ["red"], "frames": {"0": [], "1": [], "3": []}}')
    dataset = fill_dataset(tmp_path / "data", {"cam": 5})
    assert sorted(read_truth(path, detector, dataset, "cam", [0, 3])) == [0, 1, 3]
    with pytest.raises(errors.InputError, match=r"truth\.json: has no entry for frame 2 and 1 more; add them"):
        read_truth(path, detector, dataset, "cam", range(5))


def test_true_boxes_of_frames_beyond_the_clip_are_named(tmp_path, detector, capsys):
    dataset, path = fill_dataset(tmp_path / "data", {"cam": 5}), tmp_path / "truth.json"
    path.write_text('{"classes": ["red"], "frames": {"4": [], "5": [], "999": [[1, 2, 3, 4, 0]]}}')
    read_truth(path, detector, dataset, "cam", [4])
    assert "truth.json: has frame 5 and 1 more, not in the clip, which ends with 4: such" in capsys.readouterr().out
    message = (
        "has frame 5 and 1 more, not in the clip, which ends with 4, and no entry for frame 3; number them as .*cam"
    )
    with pytest.raises(errors.InputError, match=message):
        read_truth(path, detector, dataset, "cam", [3, 4])


def test_true_boxes_of_other_frames_are_refused(tmp_path, detector):
    dataset = fill_dataset(tmp_path / "data", {"cam": 5})  # of 70×93 pixels
    path = tmp_path / "truth.json"

    def read(frames, **more):
        path.write_text(json.dumps({"classes": ["red"], "frames": {str(number): [] for number in frames}, **more}))
        return read_truth(path, detector, dataset, "cam", [])

    hr_hw = [70 * dataset.scale, 93 * dataset.scale]
    assert sorted(read(range(9), frame_hw=hr_hw)) == list(range(9))
    with pytest.raises(errors.InputError, match=r"boxes on frames of 93x70, the HR frames have \d+x\d+; scale them"):
        read(range(5), frame_hw=[70, 93])
    dataset.save(clips={"cam": {"source": "cam.mp4", "every": 2}})
    read(range(5), frame_hw=hr_hw)
    with pytest.raises(errors.InputError, match="has frame 8, the clip ends with 4: only some frames"):
        read(range(0, 10, 2))
    dataset.save(clips={"cam": {"source": "cam.mp4", "every": 2, "max_frames": 5}})
    assert len(read(range(20))) == 20  # of the first frames of a longer clip, rightly numbered


def test_importance_that_does_not_fit_the_frames_is_refused(tmp_path, detector):
    write_image(tmp_path / "hr_images" / "000000.png", squares(100, 140))
    write_image(tmp_path / "origin_images" / "000000.png", squares(50, 70))
    dataset = Dataset.open(tmp_path)
    dataset.save(scale=2)
    for shape, number, message in (((1, 4, 4), 0, "gives 4x4 macroblocks, expected 4x5"), ((1, 4, 5), 7, "nothing")):
        write_importance(dataset.importance_path(""), np.zeros(shape), np.array([number]))
        with pytest.raises(errors.InputError, match=message):
            evaluate(dataset, [Frame("", 0, "000000.png")], detector, "hr_images", BUDGETS)
    with pytest.raises(errors.InputError, match="no frame to evaluate"):
        evaluate(dataset, [], detector, "hr_images", BUDGETS)
