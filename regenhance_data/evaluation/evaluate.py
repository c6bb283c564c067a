"""How much of the detector's accuracy comes back when only a share of the macroblocks is enhanced."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from regenhance_data.console import progress
from regenhance_data.dataset.folder import LR_FRAMES, Dataset, Frame
from regenhance_data.detections import Detections
from regenhance_data.detectors.base import BATCH, Detector
from regenhance_data.errors import InputError
from regenhance_data.evaluation.bootstrap import ALL, NONE, Counts, Point, summary
from regenhance_data.grid import MacroblockGrid
from regenhance_data.importance.formulas import FramePair, difference_map
from regenhance_data.importance.pairs import read_pair
from regenhance_data.metrics.detection import count_matches, f1
from regenhance_data.metrics.segmentation import count_pixels, miou
from regenhance_data.parallel.threads import bounded_map
from regenhance_data.regions.composite import composite
from regenhance_data.regions.selection import select_macroblocks

# Two draws halve what chance adds to the random curve's variance; each costs the detector runs of a whole curve.
RANDOM_DRAWS = 2
BUDGETS = (0.02, 0.05, 0.1, 0.2, 0.4)
Masks = dict[Point, list[np.ndarray]]  # the macroblocks to make clear at each point, one or more draws
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
            scores[name] = [_checked(predict(pair.lr), pair, dataset, frame, f"the model of '{name}'")]
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
    masks = {NONE: [select_macroblocks(flat, 0)], ALL: [select_macroblocks(flat, 1)]}
    return masks | {
        (curve, b): [select_macroblocks(m, b) for m in maps] for curve, maps in scores.items() for b in budgets
    }


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
        images = np.stack([composite(pair.hr, pair.upsampled, mask, pair.grid) for mask in some])
        found.update(zip(keys, detector.detect(images), strict=True))
    return found


def _random_maps(frame: Frame, shape: tuple[int, int]) -> dict[str, list[np.ndarray]]:
    generator = np.random.default_rng([frame.number, *frame.clip.encode()])
    return {"random": [generator.random(shape) for _ in range(RANDOM_DRAWS)]}


def _checked(scores: np.ndarray | None, pair: FramePair, dataset: Dataset, frame: Frame, what: str) -> np.ndarray:
    if scores is None or scores.shape != pair.grid.shape:
        given = "nothing" if scores is None else "x".join(map(str, scores.shape))
        rows, cols = pair.grid.shape
        raise InputError(f"{dataset.path(LR_FRAMES, frame)}: {what} gives {given} macroblocks, expected {rows}x{cols}")
    return scores
