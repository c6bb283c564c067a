"""How much of the detector's accuracy is recovered when only a share of the macroblocks is enhanced."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from regenhance_data.console import progress
from regenhance_data.dataset.folder import LR_FRAMES, Dataset, Frame
from regenhance_data.defaults import BUDGETS
from regenhance_data.detections import Detections
from regenhance_data.detectors.base import Detector
from regenhance_data.errors import InputError
from regenhance_data.evaluation.bootstrap import ALL_ENHANCED, Counts, FrameScores, bootstrap_scores, objects_of
from regenhance_data.evaluation.kept import FrameCounts, frame_key, keyed
from regenhance_data.evaluation.record import EvaluationResult
from regenhance_data.evaluation.selections import Selections, detect_composites, select_for_curves
from regenhance_data.evaluation.truth import refuse_truth_of_several
from regenhance_data.evaluation.verdict import judge
from regenhance_data.importance.formulas import difference_map
from regenhance_data.importance.frame_pairs import FramePair, read_pair
from regenhance_data.importance.static_map import STATIC, static_maps
from regenhance_data.io.journal import Journal, go_on
from regenhance_data.metrics.metric import Metric, metric_of
from regenhance_data.parallel.threads import bounded_map
from regenhance_data.regions.coverage import box_coverage

# Two draws halve the variance that chance adds to the random curve; each costs the detector runs of a whole curve.
RANDOM_DRAWS = 2
Predict = Callable[[np.ndarray], np.ndarray]  # LR frame uint8 [H, W, 3] RGB → float32 [rows, cols]


def evaluate(
    dataset: Dataset,
    frames: Sequence[Frame],
    detector: Detector,
    hr_folder: str,
    budgets: Sequence[float] = BUDGETS,
    models: Mapping[str, Predict] | None = None,
    truth: Mapping[int, Detections] | None = None,
    kept: Journal[FrameCounts] | None = None,
) -> EvaluationResult:
    """F1 (for segmentation mIoU) of the detector on composites, against its results on the HR frames, over `frames`.

    A curve for each of `models` (the curve's name → its prediction), for the `oracle` (the importance files), the
    `difference` |HR frame − upsampled frame|, the `boxes` found on the upsampled frame (detection only), the `static`
    map (where there are training frames) and `random`.
    `truth`: true boxes by frame number; adds the scores against them. `kept`: where the counts of each frame are kept,
    and those of frames that need no evaluation any more. Streams frame by frame; each of `models` is called once a
    frame, in the order of `frames`. InputError where frames, importance, predictions or true boxes are missing or do
    not fit.
    """
    if not frames:
        raise InputError(f"{dataset.root}: no frame to evaluate; choose another --split or a smaller --every")
    if truth is not None:
        refuse_truth_of_several({frame.clip for frame in frames})
    metric = metric_of(detector.task, detector.counted_classes())
    oracle = {clip: dataset.importance(clip) for clip in {f.clip for f in frames}}
    static = static_maps(dataset, oracle)

    def count(missing: Sequence[Frame]) -> Iterator[FrameCounts]:
        pairs = bounded_map(lambda frame: read_pair(dataset, frame, hr_folder), missing)
        for frame, pair in zip(missing, progress(pairs, "evaluate", len(missing)), strict=True):
            path = dataset.path(LR_FRAMES, frame)
            maps = _random_maps(frame, pair.grid.shape)
            maps["difference"] = [difference_map(pair)]
            maps["oracle"] = [_checked(oracle[frame.clip].get(frame.number), pair, path, "its importance file")]
            if static:
                maps[STATIC] = [_checked(static[frame.clip], pair, path, "its static map")]
            for name, predict in (models or {}).items():
                maps[name] = [_checked(predict(pair.lr), pair, path, f"the model of '{name}'")]
            yield _count_frame(detector, metric, pair, maps, budgets, truth, frame)

    known = go_on(kept, keyed(frames), count)
    counts = [known[frame_key(frame)] for frame in frames]
    return summarise(metric, [frame.clip for frame in frames], counts, list(models or ()))


def _count_frame(
    detector: Detector,
    metric: Metric,
    pair: FramePair,
    maps: Mapping[str, Sequence[np.ndarray]],
    budgets: Sequence[float],
    truth: Mapping[int, Detections] | None,
    frame: Frame,
) -> FrameCounts:
    true = None if truth is None else truth[frame.number]
    selections, found = _select_and_detect(detector, pair, maps, budgets)
    against_hr = _count(metric, selections, found, found[selections[ALL_ENHANCED][0].tobytes()])
    return FrameCounts(against_hr, None if true is None else _count(metric, selections, found, true))


def summarise(
    metric: Metric, clips: Sequence[str], counts: Sequence[FrameCounts], models: Sequence[str]
) -> EvaluationResult:
    """The result of all frames, and of the frames of each clip. clips: the clip of each frame."""
    of_clips: dict[str, list[FrameCounts]] = {clip: [] for clip in clips}
    for clip, of_frame in zip(clips, counts, strict=True):
        of_clips[clip].append(of_frame)
    results = {clip: _result(metric, [clip] * len(some), some, models) for clip, some in of_clips.items()}
    return replace(_result(metric, clips, counts, models), clips=results)


def _result(
    metric: Metric, clips: Sequence[str], counts: Sequence[FrameCounts], models: Sequence[str]
) -> EvaluationResult:
    against_hr = [of_frame.against_hr for of_frame in counts]
    against_truth = [of_frame.against_truth for of_frame in counts if of_frame.against_truth is not None]
    objects = [objects_of(of_frame[ALL_ENHANCED]) for of_frame in against_hr]
    return EvaluationResult(
        metric.key,
        len(counts),
        bootstrap_scores(against_hr, metric.score),
        bootstrap_scores(against_truth, metric.score) if against_truth else None,
        sum(number > 0 for number in objects),
        int(sum(objects)),
        {curve: judge(against_hr, FrameScores(metric, clips), curve) for curve in models or ("oracle",)},
    )


def _random_maps(frame: Frame, shape: tuple[int, int]) -> dict[str, list[np.ndarray]]:
    generator = np.random.default_rng([frame.number, *frame.clip.encode()])
    return {"random": [generator.random(shape) for _ in range(RANDOM_DRAWS)]}


def _checked(scores: np.ndarray | None, pair: FramePair, path: Path, source: str) -> np.ndarray:
    if scores is None or scores.shape != pair.grid.shape:
        given = "nothing" if scores is None else "x".join(map(str, scores.shape))
        rows, cols = pair.grid.shape
        raise InputError(f"{path}: {source} gives {given} macroblocks, expected {rows}x{cols}")
    return scores


def _select_and_detect(
    detector: Detector, pair: FramePair, maps: Mapping[str, Sequence[np.ndarray]], budgets: Sequence[float]
) -> tuple[Selections, dict[bytes, Any]]:
    """The selections of all curves, of detection the boxes curve among them, and the results on their composites."""
    nothing = np.zeros(pair.grid.shape, bool)
    found = detect_composites(detector, pair, [nothing])
    if detector.task == "detection":
        maps = {**maps, "boxes": [box_coverage(found[nothing.tobytes()], pair.grid)]}
    selections = select_for_curves(maps, budgets, pair.grid.shape)
    return selections, detect_composites(detector, pair, [s for draws in selections.values() for s in draws], found)


def _count(metric: Metric, selections: Selections, found: Mapping[bytes, Any], reference: Any) -> Counts:
    """The counts of a frame at each point against a reference; the mean of several draws."""
    return {
        point: np.mean([metric.count(found[selected.tobytes()], reference) for selected in draws], axis=0)
        for point, draws in selections.items()
    }
