"""The detector's accuracy when predictions are reused on later frames, over the number of predictions per second."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from regenhance_data import plots
from regenhance_data.console import text_table
from regenhance_data.dataset.folder import LR_FRAMES, Dataset, Frame
from regenhance_data.detectors.base import Detector
from regenhance_data.evaluation.curves import CurveStyle
from regenhance_data.evaluation.evaluate import Predict, evaluate
from regenhance_data.evaluation.kept import FrameCounts, keyed
from regenhance_data.io.journal import Journal
from regenhance_data.metrics.metric import METRIC_NAMES
from regenhance_data.regions.reuse import ReusePolicy, shots_of

DEFAULT_FRAME_RATE = 25.0  # of a clip without a frame rate in dataset.yaml
POLICY_STYLES = {
    "every": CurveStyle("every n-th frame", plots.BLUE),
    "change": CurveStyle("when the frame has changed", plots.ORANGE),
}


def evaluate_reuse(
    dataset: Dataset,
    frames: Sequence[Frame],
    detector: Detector,
    hr_folder: str,
    budget: float,
    predict: Predict,
    policies: Mapping[str, ReusePolicy],
    kept: Journal[FrameCounts] | None = None,
) -> dict[str, Any]:
    """F1 (for segmentation mIoU) at `budget` for each of the `policies`, in one run over the same frames.

    {'metric', 'frames', 'frames_with_objects', 'seconds', 'budget', 'none', 'all', 'oracle', 'policies': {name:
    {'predictions', 'predictions_per_s', 'score', 'interval_95'}}}. Every clip starts with a prediction. Frames of a
    clip that are not in `frames` are a gap, after which it starts anew. Scores are None where no
    frame has a reference object. `kept`: as `evaluate` takes it; the model predicts every frame all the same.
    """
    ordered = sorted(frames, key=lambda frame: (frame.clip, frame.number))
    maps: dict[str, dict[Frame, np.ndarray]] = {name: {} for name in policies}
    predictions = dict.fromkeys(policies, 0)
    for group in _shots(dataset, ordered):
        started = {name: policy.start() for name, policy in policies.items()}
        carried: dict[str, np.ndarray] = {}
        for frame in group:
            image = dataset.read(LR_FRAMES, frame)
            predicted = predict(image)
            for name, reuse in started.items():
                if reuse.is_due(image):
                    carried[name] = predicted
                maps[name][frame] = carried[name]
        for name, reuse in started.items():
            predictions[name] += reuse.predicted
    missing = [frame for key, frame in keyed(ordered).items() if kept is None or key not in kept.known]
    models: dict[str, Predict] = {name: _replay([of[frame] for frame in missing]) for name, of in maps.items()}
    result = evaluate(dataset, ordered, detector, hr_folder, [budget], models, kept=kept)
    seconds = sum(1 / _frame_rate(dataset, frame.clip) for frame in ordered)
    curves = {name: points[budget] for name, points in result.scores.curves.items()}
    return {
        "metric": result.metric,
        "frames": len(ordered),
        "frames_with_objects": result.frames_with_objects,
        "seconds": seconds,
        "budget": budget,
        "none": result.scores.none.json_value(),
        "all": result.scores.all.json_value(),
        "oracle": curves["oracle"].json_value(),
        "policies": {
            name: {
                "predictions": predictions[name],
                "predictions_per_s": predictions[name] / seconds,
                "score": curves[name].json_value(),
                "interval_95": curves[name].json_interval(),
            }
            for name in policies
        },
    }


def _shots(dataset: Dataset, frames: Sequence[Frame]) -> Iterator[list[Frame]]:
    """The frames, in order of clips and numbers, that follow each other without a gap."""
    for name, group in groupby(frames, key=lambda frame: frame.clip):
        clip = list(group)
        numbers, among = ([frame.number for frame in of] for of in (clip, dataset.frames(name)))
        shots = zip(shots_of(numbers, among), clip, strict=True)
        for _, pairs in groupby(shots, key=lambda pair: pair[0]):
            yield [frame for _, frame in pairs]


def _replay(maps: Sequence[np.ndarray]) -> Predict:
    """A prediction that returns these maps one after the other, in the order in which `evaluate` asks for them."""
    remaining = iter(maps)
    return lambda lr: next(remaining)


def _frame_rate(dataset: Dataset, clip: str) -> float:
    record = dataset.record.clips.get(clip)
    rate = record.frame_rate if record else None
    return rate if rate and 0 < rate < np.inf else DEFAULT_FRAME_RATE


def reuse_table(result: Mapping[str, Any]) -> str:
    """A row for each policy, and the scores without and with everything enhanced; one line where they say nothing."""
    name, count = METRIC_NAMES[result["metric"]], result["frames"]
    if result["none"] is None:
        return f"cannot tell: none of the {count} frames has a reference object, so {name} says nothing"
    rows = [["predict", "predictions/s", name, "95 %"]]
    for policy, row in result["policies"].items():
        interval = "{:.2f}-{:.2f}".format(*row["interval_95"]) if row["interval_95"] else "–"
        rows.append([policy, f"{row['predictions_per_s']:.1f}", f"{row['score']:.3f}", interval])
    bounds = f"nothing enhanced {result['none']:.3f}, oracle {result['oracle']:.3f}, everything {result['all']:.3f}"
    empty = count - result["frames_with_objects"]
    said = f"\n{empty} of {count} frames have no reference object" if empty else ""
    return f"{text_table(rows)}\n{bounds}{said}"


def reuse_figure(result: Mapping[str, Any]) -> Figure:
    """The score over predictions per second, a line for each kind of policy."""
    name = METRIC_NAMES[result["metric"]]
    figure, axes = plots.new_plot(
        (9, 4.2), "predictions per second", f"{name} at a budget of {100 * result['budget']:g}%"
    )
    plots.share_scale(axes)
    if result["none"] is None:
        plots.note(axes, "no frame has a reference object")
        return figure
    for kind, style in POLICY_STYLES.items():
        rows = [row for policy, row in result["policies"].items() if policy.startswith(kind)]
        rows.sort(key=lambda row: row["predictions_per_s"])
        if rows:
            rates, scores = ([row[key] for row in rows] for key in ("predictions_per_s", "score"))
            intervals = [row["interval_95"] or (np.nan, np.nan) for row in rows]
            plots.line_with_interval(axes, rates, scores, intervals, color=style.colour, label=style.label)
    plots.reference_line(axes, result["oracle"], "oracle", "left")
    plots.reference_line(axes, result["none"], "nothing enhanced", "left")
    axes.set_xscale("log")
    rates = sorted({round(row["predictions_per_s"], 1) for row in result["policies"].values()})
    axes.set_xticks(rates, [f"{rate:g}" for rate in rates])
    axes.set_xticks([], minor=True)
    axes.legend(frameon=False, loc="center right")
    return figure
