import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regenhance_data.dataset.folder import Dataset
from regenhance_data.errors import InputError
from regenhance_data.evaluation.bootstrap import ALL_ENHANCED, NOTHING_ENHANCED, bootstrap_differences
from regenhance_data.evaluation.formula_comparison import compare_formulas, formulas_table, greedy_selections
from regenhance_data.evaluation.record import Estimate
from regenhance_data.importance.formula_spec import FORMULAS
from regenhance_data.io.images import write_image
from regenhance_data.metrics.detection import f1
from tests.support.detectors import BLUE, RED, squares

BUDGETS = (0.05, 0.1, 0.4)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Six frames of squares that only the HR frames show, over noise that differs and means nothing."""
    root = tmp_path_factory.mktemp("dataset")
    rng = np.random.default_rng(0)
    for number in range(6):
        columns, rows = rng.permutation(17)[:2] * 8, rng.permutation(10)[:2] * 8
        dim = [tuple(np.array(colour) * 5 // 8) for colour in (RED, BLUE)]
        clear = squares(100, 140, *zip(columns, rows, dim, strict=True))
        clear[90:] = rng.integers(0, 90, (10, 140, 3), np.uint8)
        write_image(root / "hr_images" / f"{number:06d}.png", clear)
        write_image(root / "origin_images" / f"{number:06d}.png", np.zeros((50, 70, 3), np.uint8))
    dataset = Dataset.open(root)
    dataset.save(scale=2)
    return dataset


def compared(dataset, detector, formulas=FORMULAS, greedy=0, frames=slice(None)):
    return compare_formulas(dataset, dataset.frames("")[frames], detector, "hr_images", formulas, BUDGETS, greedy)


def test_every_formula_has_its_f1_at_every_budget_its_time_and_its_distance_to_the_first(dataset, detector):
    result = compared(dataset, detector)
    assert (result["metric"], result["frames"], result["none"], result["all"]) == ("f1", 6, 0, 1)
    assert list(result["curves"]) == list(result["ms"]) == list(FORMULAS)
    assert list(result["difference"]) == list(FORMULAS[1:])
    assert result["greedy"] is None
    for formula, points in result["curves"].items():
        assert list(points) == ["0.05", "0.1", "0.4"]
        assert result["ms"][formula] > 0
        if formula != "product":
            means = [np.mean(list(result["curves"][name].values())) for name in (formula, "product")]
            np.testing.assert_allclose(result["difference"][formula]["mean"], means[0] - means[1], atol=1e-9)
    assert result["curves"]["product"]["0.4"] == 1


def test_the_search_is_a_bound_on_the_frames_it_looked_at(dataset, detector):
    result = compared(dataset, detector, ("product", "gain"), greedy=2)
    assert result["greedy"]["frames"] == 2
    curves = result["greedy"]["curves"]
    assert set(curves) == {"product", "gain", "greedy"}
    for budget, best in curves["greedy"].items():
        assert best >= max(curves["product"][budget], curves["gain"][budget])
    assert curves["greedy"]["0.4"] == 1
    assert "on the 2 frames of the greedy search" in formulas_table(result)
    assert compared(dataset, detector, ("product",), greedy=9, frames=slice(3))["greedy"]["frames"] == 3


@given(st.lists(st.integers(0, 9), min_size=6, max_size=6), st.integers(0, 8))
def test_where_macroblocks_help_on_their_own_the_search_takes_the_best_ones_first(worths, steps):
    worths = np.array(worths).reshape(2, 3)
    sets = list(greedy_selections(lambda masks: [float(worths[mask].sum()) for mask in masks], (2, 3), steps))
    assert [mask.sum() for mask in sets] == list(range(min(steps, 6) + 1))
    for mask in sets[1:]:
        assert worths[mask].sum() == np.sort(worths.ravel())[::-1][: mask.sum()].sum()


def test_the_distance_between_formulas_is_resampled_frame_by_frame():
    rng = np.random.default_rng(1)
    frames = []
    for _ in range(40):
        true = int(rng.integers(0, 5))  # frames differ far more than formulas do
        worse, better = np.array([true, 3, 5 - true]), np.array([true + 1, 2, 4 - true])
        frames.append(
            {NOTHING_ENHANCED: worse, ALL_ENHANCED: better, ("a", 0.1): worse, ("b", 0.1): better, ("c", 0.1): worse}
        )
    result = bootstrap_differences(frames, ["a", "b", "c"])
    low, high = result["b"].interval_95
    assert 0 < low < result["b"].value < high
    assert result["c"] == Estimate(0, (0, 0))
    total = {name: np.sum([frame[name, 0.1] for frame in frames], 0) for name in "ab"}
    assert result["b"].value == pytest.approx(f1(total["b"]) - f1(total["a"]))


def test_the_table_has_the_best_formula_first_and_every_line_as_many_figures(dataset, detector):
    lines = formulas_table(compared(dataset, detector, ("gradient", "product"))).splitlines()
    assert lines[0].split()[:5] == ["F1", "5%", "10%", "40%", "mean"]
    assert "less gradient's" in lines[0]
    means = [float(line.split()[4]) for line in lines[1:]]
    assert means == sorted(means, reverse=True)


@pytest.mark.slow
def test_the_command_writes_json_and_table_and_says_what_comes_next(run, dataset, detector_file, tmp_path):
    words = ["tools/compare_formulas.py", "--data", dataset.root, "--detector", f"onnx:{detector_file}", "--every", 3]
    words += ["--formulas", "gradient", "path:0.1,0.5", "path:0.1,0.5", "--budgets", 0.1, "--save_dir", tmp_path]
    result = run(*words)
    written = json.loads((tmp_path / "formulas.json").read_text())
    assert list(written["curves"]) == ["gradient", "path:0.1,0.5"]
    assert (written["frames"], written["settings"]["clear"]) == (2, "hr_images")
    assert (tmp_path / "formulas.txt").read_text() in result.stdout
    assert "next: python tools/make_importance.py" in result.stdout
    following = result.stdout.split("next: ")[1].split()[1:]
    run(*following, "--detector", f"onnx:{detector_file}")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--formulas", "best"], "formula best: expected one of product, gradient"),
        (["--budgets", "1.5"], "--budgets: expected shares between 0 and 1"),
        (["--greedy", "-1"], "--greedy -1: expected at least 0"),
        (["--detector", "onnx:none.onnx"], "none.onnx: no such file"),
        ([], "--detector is missing"),
    ],
)
def test_bad_flags_are_refused_in_one_line(refused, tmp_path, flags, words):
    write_image(tmp_path / "data" / "origin_images" / "000000.png", np.zeros((16, 16, 3), np.uint8))
    write_image(tmp_path / "data" / "hr_images" / "000000.png", np.zeros((32, 32, 3), np.uint8))
    Dataset.open(tmp_path / "data").save(scale=2)
    assert words in refused(
        "tools/compare_formulas.py", "--data", tmp_path / "data", "--save_dir", tmp_path / "out", *flags
    )
    assert not (tmp_path / "out").exists()


def test_no_frames_and_detectors_without_boxes_are_refused(dataset, detector, monkeypatch):
    with pytest.raises(InputError, match="no frame to compare on"):
        compared(dataset, detector, frames=slice(0))
    monkeypatch.setattr(detector, "task", "segmentation")
    with pytest.raises(InputError, match="is for segmentation; formulas are compared by F1"):
        compared(dataset, detector)
