"""How much of the detector's accuracy comes back when only a share of the macroblocks is enhanced."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from regenhance_data.cli import InputError, progress
from regenhance_data.dataset.folder import ORIGIN, Dataset, Frame
from regenhance_data.detectors.base import BATCH, Detections, Detector, class_number
from regenhance_data.grid import MacroblockGrid
from regenhance_data.importance.formulas import FramePair, difference_map
from regenhance_data.io.files import bounded_map
from regenhance_data.plots import OTHER_COLOURS, save_figure
from regenhance_data.regions.selection import choose, composite
from regenhance_data.stages.make_importance import read_pair

MATCH_IOU = 0.5  # two boxes are of the same object from here on: PASCAL VOC's rule, and the paper's
# Two draws halve what chance adds to the random curve's variance; each costs the detector runs of a whole curve.
RANDOM_DRAWS = 2
RESAMPLES = 1000  # of the bootstrap: its 95 % bounds move by less than 0.01 between seeds
METRIC_NAMES = {"f1": "F1", "miou": "mIoU"}
BUDGETS = (0.02, 0.05, 0.1, 0.2, 0.4)
CURVES = {  # what a curve is called, and its colour (Okabe and Ito's, which everyone can tell apart)
    "predictor": ("predictor", "#0072B2"),
    "oracle": ("oracle importance", "#222222"),
    "difference": ("difference alone", "#E69F00"),
    "boxes": ("boxes on the blurred frame", "#CC79A7"),
    "random": ("random", "#999999"),
}

Point = tuple[str, float]  # a curve's name and a budget
Masks = dict[Point, list[np.ndarray]]  # the macroblocks to make clear at each point, one or more draws
# (true positives, false positives, false negatives) of one frame at each point, [3]; of segmentation, [classes, 3]
Counts = dict[Point, np.ndarray]
NONE, ALL = ("none", 0.0), ("all", 1.0)
Predict = Callable[[np.ndarray], np.ndarray]  # origin image uint8 [H, W, 3] RGB → float32 [rows, cols]


@dataclass(frozen=True)
class Metric:
    """What results are judged by. name: one of METRIC_NAMES. count: (found, reference) of a frame → its counts.
    score: counts [..., *one frame's], summed over frames → [...] in [0, 1].
    """

    name: str
    count: Callable[[Any, Any], np.ndarray]
    score: Callable[[np.ndarray], np.ndarray]


def metric_of(detector: Detector) -> Metric:
    """F1 for boxes, mIoU for segmentation."""
    if detector.task == "segmentation":
        return Metric("miou", partial(count_pixels, classes=detector.counted_classes()), miou)
    return Metric("f1", count_matches, f1)


def iou_matrix(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes [n, 4] and [m, 4] (x1, y1, x2, y2): float64 [n, m]."""
    a, b = a.astype(np.float64)[:, None], b.astype(np.float64)[None]
    overlap = (np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])).clip(0).prod(-1)
    union = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - overlap
    return np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0)


def count_matches(found: Detections, reference: Detections) -> np.ndarray:
    """(true positives, false positives, false negatives), int64 [3], of one frame.

    By falling score, each detection takes the free reference box of its class that it overlaps most, from MATCH_IOU on.
    """
    ious = iou_matrix(found.boxes, reference.boxes)
    ious[found.labels[:, None] != reference.labels[None]] = 0
    true = 0
    for place in np.argsort(-found.scores, kind="stable"):
        if ious[place].max(initial=0) >= MATCH_IOU:
            true += 1
            ious[:, ious[place].argmax()] = 0
    return np.array([true, len(found.boxes) - true, len(reference.boxes) - true])


def f1(counts: np.ndarray) -> np.ndarray:
    """2·TP / (2·TP + FP + FN) of counts [..., 3]; 1 where there is nothing to find and nothing was found."""
    true, wrong = counts[..., 0], counts[..., 1:].sum(-1)
    return np.divide(2 * true, 2 * true + wrong, out=np.ones(counts.shape[:-1]), where=true + wrong > 0)


def count_pixels(found: np.ndarray, reference: np.ndarray, classes: Sequence[int]) -> np.ndarray:
    """(true positives, false positives, false negatives) of each of the classes in the pixels of two class maps uint8
    [H, W]: int64 [classes, 3].
    """
    both, of_found, of_reference = (
        np.bincount(some.ravel(), minlength=256)[classes] for some in (found[found == reference], found, reference)
    )
    return np.stack([both, of_found - both, of_reference - both], axis=-1)


def miou(counts: np.ndarray) -> np.ndarray:
    """The mean of TP / (TP + FP + FN) of counts [..., classes, 3] over the classes that the reference shows; 1 where it
    shows none.
    """
    is_present = counts[..., 0] + counts[..., 2] > 0
    ious = counts[..., 0] / counts.sum(-1).clip(min=1)
    number = is_present.sum(-1)
    return np.divide((ious * is_present).sum(-1), number, out=np.ones(counts.shape[:-2]), where=number > 0)


def evaluate(
    dataset: Dataset,
    frames: Sequence[Frame],
    detector: Detector,
    clear: str,
    budgets: Sequence[float] = BUDGETS,
    models: Mapping[str, Predict] | None = None,
    truth: Mapping[int, Detections] | None = None,
) -> dict[str, Any]:
    """F1 (of segmentation mIoU) of the detector on composites of clear and blurred, against its results on the clear
    frames.

    Macroblocks are chosen by each of `models` (a curve's name → what predicts), the `oracle` (the importance files),
    the `difference` |clear − blurred|, the `boxes` found on the blurred frame (detection only) and at `random`; micro
    over `frames`. `truth`: true boxes by frame number; adds the same figures against them. Returns what evaluation.json
    holds, but for the settings. Streams frame by frame; each of `models` is asked once a frame, in their order.
    """
    if not frames:
        raise InputError(f"{dataset.root}: no frame to evaluate; choose another --split or a smaller --every")
    if truth is not None and len({frame.clip for frame in frames}) > 1:
        raise InputError("--truth: is of one clip, these frames are of several")
    metric = metric_of(detector)
    oracle = {clip: dataset.importance(clip) for clip in {f.clip for f in frames}}
    against: dict[str, list[Counts]] = {"clear": [], "truth": []}
    pairs = bounded_map(lambda frame: read_pair(dataset, frame, clear), frames)
    for frame, pair in zip(frames, progress(pairs, "evaluate", len(frames)), strict=True):
        scores = _random_maps(frame, pair.grid.shape)
        scores["difference"] = [difference_map(pair)]
        scores["oracle"] = [_checked(oracle[frame.clip].get(frame.number), pair, dataset, frame, "its importance file")]
        for name, predict in (models or {}).items():
            scores[name] = [_checked(predict(pair.origin), pair, dataset, frame, f"the model of '{name}'")]
        found = detect_composites(detector, pair, masks_of({}, [], pair.grid.shape)[NONE])
        if detector.task == "detection":
            scores["boxes"] = [covered_by(next(iter(found.values())), pair.grid)]
        masks = masks_of(scores, budgets, pair.grid.shape)
        found = detect_composites(detector, pair, [mask for some in masks.values() for mask in some], found)
        references = {"clear": found[masks[ALL][0].tobytes()]}
        if truth is not None:
            if frame.number not in truth:
                raise InputError(f"--truth: has no entry for frame {frame.number}; list it, [] where it shows nothing")
            references["truth"] = truth[frame.number]
        for name, reference in references.items():
            counts = {
                point: np.mean([metric.count(found[mask.tobytes()], reference) for mask in some], axis=0)
                for point, some in masks.items()
            }
            against[name].append(counts)
    result = {"metric": metric.name, "frames": len(frames), **summary(against["clear"], metric.score)}
    return result if truth is None else {**result, "truth": summary(against["truth"], metric.score)}


def masks_of(scores: Mapping[str, Sequence[np.ndarray]], budgets: Sequence[float], shape: tuple[int, int]) -> Masks:
    """The macroblocks to make clear at each point: those of each curve's maps at each budget, none, and all."""
    flat = np.zeros(shape, np.float32)
    masks = {NONE: [choose(flat, 0)], ALL: [choose(flat, 1)]}
    return masks | {(curve, b): [choose(m, b) for m in maps] for curve, maps in scores.items() for b in budgets}


def covered_by(found: Detections, grid: MacroblockGrid) -> np.ndarray:
    """How much of each macroblock boxes cover, times their scores, summed: float64 [rows, cols].

    `found` and `grid` are in pixels of the same picture. What one would enhance who has the detector and nothing else.
    """
    (lefts, tops), (rights, bottoms) = found.boxes.astype(np.float64)[:, :2].T, found.boxes.astype(np.float64)[:, 2:].T
    col_starts, row_starts = (np.arange(count) * grid.mb_size for count in (grid.cols, grid.rows))
    # [boxes, cols] and [boxes, rows] of pixels
    across = np.minimum(rights[:, None], col_starts + grid.mb_size) - np.maximum(lefts[:, None], col_starts)
    down = np.minimum(bottoms[:, None], row_starts + grid.mb_size) - np.maximum(tops[:, None], row_starts)
    return np.einsum("n,nr,nc->rc", found.scores.astype(np.float64), down.clip(0), across.clip(0)) / grid.mb_size**2


def detect_composites(
    detector: Detector, pair: FramePair, masks: Sequence[np.ndarray], known: Mapping[bytes, Any] | None = None
) -> dict[bytes, Any]:
    """What is found on the composite of each mask, by the mask's bytes; equal masks, and `known` ones, are not run
    again.
    """
    found: dict[bytes, Any] = dict(known or {})
    distinct = [item for item in {mask.tobytes(): mask for mask in masks}.items() if item[0] not in found]
    for start in range(0, len(distinct), BATCH):
        keys, some = zip(*distinct[start : start + BATCH], strict=True)
        images = np.stack([composite(pair.clear, pair.blurred, mask, pair.grid) for mask in some])
        found.update(zip(keys, detector.detect(images), strict=True))
    return found


def summary(frames: Sequence[Counts], score: Callable[[np.ndarray], np.ndarray] = f1) -> dict[str, Any]:
    """The score at every point, the share of the loss recovered, and the 95 % bootstrap interval over frames."""
    generator = np.random.default_rng(0)
    # how often each frame is drawn in each resample
    weights = generator.multinomial(len(frames), [1 / len(frames)] * len(frames), RESAMPLES)
    values, intervals = {}, {}
    for point in frames[0]:
        counts = np.stack([frame[point] for frame in frames]).astype(np.float64)
        values[point] = float(score(counts.sum(0)))
        intervals[point] = [float(v) for v in np.percentile(score(np.tensordot(weights, counts, 1)), [2.5, 97.5])]
    none, top = values[NONE], values[ALL]
    curves: dict[str, dict[str, Any]] = {}
    recovered: dict[str, dict[str, Any]] = {}
    bounds: dict[str, Any] = {"none": intervals[NONE], "all": intervals[ALL]}
    for point in frames[0]:
        if point not in (NONE, ALL):
            curve, budget = point[0], f"{point[1]:g}"
            curves.setdefault(curve, {})[budget] = values[point]
            recovered.setdefault(curve, {})[budget] = (values[point] - none) / (top - none) if top != none else None
            bounds.setdefault(curve, {})[budget] = intervals[point]
    return {"none": none, "all": top, "curves": curves, "recovered": recovered, "intervals_95": bounds}


def _random_maps(frame: Frame, shape: tuple[int, int]) -> dict[str, list[np.ndarray]]:
    generator = np.random.default_rng([frame.number, *frame.clip.encode()])
    return {"random": [generator.random(shape) for _ in range(RANDOM_DRAWS)]}


def _checked(scores: np.ndarray | None, pair: FramePair, dataset: Dataset, frame: Frame, what: str) -> np.ndarray:
    if scores is None or scores.shape != pair.grid.shape:
        given = "nothing" if scores is None else "x".join(map(str, scores.shape))
        rows, cols = pair.grid.shape
        raise InputError(f"{dataset.path(ORIGIN, frame)}: {what} gives {given} macroblocks, expected {rows}x{cols}")
    return scores


def read_truth(path: Path, detector: Detector) -> dict[int, Detections]:
    """True boxes by frame number, from {"classes": [...], "frames": {"0": [[x1, y1, x2, y2, label], ...]}}.

    Boxes are in pixels of the clear frame; labels are places in "classes", whose names the detector must have. Classes
    that the detector's settings leave out are left out. InputError where the file is anything else, and for a detector
    that finds no boxes.
    """
    if detector.task != "detection":
        raise InputError(
            f"{path}: true boxes are of detection, --detector {detector.settings.spec} is for {detector.task}"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        names = [str(name) for name in content["classes"]]
        numbers = np.array([class_number(name, detector.class_names) for name in names], np.int64)
        counted = [class_number(name, detector.class_names) for name in detector.settings.classes or names]
        truth = {int(n): _true_boxes(np.array(rows, np.float64), numbers) for n, rows in content["frames"].items()}
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError) as error:
        raise InputError(f"{path}: is no file of true boxes ({type(error).__name__}: {error}); see --help") from None
    return {number: _of_classes(boxes, counted) for number, boxes in truth.items()}


def _true_boxes(rows: np.ndarray, numbers: np.ndarray) -> Detections:
    """Rows (x1, y1, x2, y2, label), their labels replaced by the detector's numbers of those classes."""
    rows = rows.reshape(-1, 5)
    if not np.isfinite(rows).all() or not np.isin(rows[:, 4], np.arange(len(numbers))).all():
        raise ValueError("a box is five finite numbers, the last a place in 'classes'")
    return Detections(rows[:, :4].astype(np.float32), np.ones(len(rows), np.float32), numbers[rows[:, 4].astype(int)])


def _of_classes(found: Detections, classes: Sequence[int]) -> Detections:
    kept = np.isin(found.labels, classes)
    return Detections(found.boxes[kept], found.scores[kept], found.labels[kept])


def table(result: Mapping[str, Any]) -> str:
    """The score of each curve at each budget, the best curve first, and its 95 % interval below, for people."""
    budgets = list(next(iter(result["curves"].values())))
    wide = max(12, *(len(curve) + 1 for curve in result["curves"]))
    lines = [f"{METRIC_NAMES[result['metric']]:<{wide}}" + "".join(f"{float(b):>11.0%}" for b in ["0", *budgets, "1"])]
    bounds = result["intervals_95"]
    for curve, points in sorted(result["curves"].items(), key=lambda c: -sum(c[1].values())):
        row = [result["none"], *(points[b] for b in budgets), result["all"]]
        lines.append(f"{curve:<{wide}}" + "".join(f"{v:>11.3f}" for v in row))
        pairs = [bounds["none"], *(bounds[curve][b] for b in budgets), bounds["all"]]
        lines.append(f"{'  95 %':<{wide}}" + "".join(f"{f'{low:.2f}-{high:.2f}':>11}" for low, high in pairs))
    return "\n".join(lines)


def curve_figure(result: Mapping[str, Any]) -> Figure:
    """The score over the share of macroblocks enhanced, a line a curve, its 95 % interval shaded."""
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    axes = figure.add_subplot(xlabel="share of macroblocks enhanced, %", ylabel=METRIC_NAMES[result["metric"]])
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e4e8ec", linewidth=0.8)
    last = 0.0
    for curve, (words, colour) in _looks(result["curves"]).items():
        points = result["curves"][curve]
        shares = [0.0, *(100 * float(budget) for budget in points)]
        bounds = result["intervals_95"]
        lows, highs = zip(bounds["none"], *(bounds[curve][budget] for budget in points), strict=True)
        axes.fill_between(shares, lows, highs, color=colour, alpha=0.1, linewidth=0)
        width = 2.4 if curve == "predictor" else 1.6
        axes.plot(shares, [result["none"], *points.values()], "o-", color=colour, label=words, lw=width, markersize=4)
        last = max(last, *shares)
    for level, words in ((result["all"], "everything enhanced"), (result["none"], "nothing enhanced")):
        axes.axhline(level, color="#5b6675", linewidth=1, linestyle=(0, (4, 3)))
        axes.text(last, level, words, ha="right", va="bottom", color="#5b6675", fontsize=9)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 0.7))  # beside the lines, never over them
    return figure


def _looks(curves: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """What each curve is called and its colour, the known ones first."""
    known = {curve: look for curve, look in CURVES.items() if curve in curves}
    others = [curve for curve in curves if curve not in CURVES]
    return known | {curve: (curve, OTHER_COLOURS[at % len(OTHER_COLOURS)]) for at, curve in enumerate(others)}


def write_plots(result: Mapping[str, Any], stem: Path) -> None:
    """`curve_figure` as `stem`.png and `stem`.svg."""
    save_figure(curve_figure(result), stem)
