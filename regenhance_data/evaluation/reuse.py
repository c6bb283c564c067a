"""The detector's accuracy when maps are carried along, over how many predictions a second that takes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from regenhance_data.dataset.folder import LR_FRAMES, Dataset, Frame
from regenhance_data.detectors.base import Detector
from regenhance_data.evaluation.curves import METRIC_NAMES
from regenhance_data.evaluation.evaluate import Predict, evaluate
from regenhance_data.plots import save_figure
from regenhance_data.regions.reuse import Reuse

FRAME_RATE = 25.0  # of a clip whose dataset does not say
COLOURS = {"every": "#0072B2", "change": "#E69F00"}
WORDS = {"every": "every n-th frame", "change": "when the picture has changed"}


def evaluate_reuse(
    dataset: Dataset,
    frames: Sequence[Frame],
    detector: Detector,
    clear: str,
    budget: float,
    predict: Predict,
    policies: Mapping[str, Reuse],
) -> dict[str, Any]:
    """F1 (of segmentation mIoU) at `budget` for each of the `policies`, in one run over the same frames.

    {'metric', 'frames', 'seconds', 'budget', 'none', 'all', 'oracle', 'policies': {name: {'predictions',
    'predictions_per_s', 'score', 'interval_95'}}}. Every clip begins with a prediction. Frames of a clip that are not
    in `frames` are passed over: the time between those on either side counts as one step.
    """
    ordered = sorted(frames, key=lambda frame: (frame.clip, frame.number))
    maps: dict[str, list[np.ndarray]] = {name: [] for name in policies}
    predictions = dict.fromkeys(policies, 0)
    for _, group in groupby(ordered, key=lambda frame: frame.clip):
        fresh = {name: replace(policy) for name, policy in policies.items()}
        for frame in group:
            image = dataset.read(LR_FRAMES, frame)
            predicted = predict(image)
            for name, reuse in fresh.items():
                maps[name].append(predicted if reuse.is_due(image) else maps[name][-1])
        for name, reuse in fresh.items():
            predictions[name] += reuse.predicted
    models: dict[str, Predict] = {name: _in_turn(some) for name, some in maps.items()}
    result = evaluate(dataset, ordered, detector, clear, [budget], models)
    seconds = sum(1 / _frame_rate(dataset, frame.clip) for frame in ordered)
    key = f"{budget:g}"
    return {
        "metric": result["metric"],
        "frames": len(ordered),
        "seconds": seconds,
        "budget": budget,
        **{name: result[name] for name in ("none", "all")},
        "oracle": result["curves"]["oracle"][key],
        "policies": {
            name: {
                "predictions": predictions[name],
                "predictions_per_s": predictions[name] / seconds,
                "score": result["curves"][name][key],
                "interval_95": result["intervals_95"][name][key],
            }
            for name in policies
        },
    }


def _in_turn(maps: Sequence[np.ndarray]) -> Predict:
    """Says the maps of the frames that `evaluate` asks for, one after the other."""
    following = iter(maps)
    return lambda origin: next(following)


def _frame_rate(dataset: Dataset, clip: str) -> float:
    record = dataset.record.clips.get(clip)
    rate = record.frame_rate if record else None
    return rate if rate and 0 < rate < np.inf else FRAME_RATE


def table(result: Mapping[str, Any]) -> str:
    """A line a policy, for people."""
    lines = [f"{'predict':<14}{'predictions/s':>14}{METRIC_NAMES[result['metric']]:>8}{'95 %':>13}"]
    for name, row in result["policies"].items():
        low, high = row["interval_95"]
        lines.append(f"{name:<14}{row['predictions_per_s']:>14.1f}{row['score']:>8.3f}{f'{low:.2f}-{high:.2f}':>13}")
    lines.append(
        f"nothing enhanced {result['none']:.3f}, oracle {result['oracle']:.3f}, everything {result['all']:.3f}"
    )
    return "\n".join(lines)


def write_plots(result: Mapping[str, Any], stem: Path) -> None:
    """The score over predictions a second, a line for each kind of policy, as `stem`.png and `stem`.svg."""
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    name = METRIC_NAMES[result["metric"]]
    axes = figure.add_subplot(xlabel="predictions a second", ylabel=f"{name} at a budget of {result['budget']:.0%}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e4e8ec", linewidth=0.8)
    for kind, colour in COLOURS.items():
        rows = [row for policy, row in result["policies"].items() if policy.startswith(kind)]
        rows.sort(key=lambda row: row["predictions_per_s"])
        if rows:
            rates = [row["predictions_per_s"] for row in rows]
            lows, highs = zip(*(row["interval_95"] for row in rows), strict=True)
            axes.fill_between(rates, lows, highs, color=colour, alpha=0.12, linewidth=0)
            axes.plot(rates, [row["score"] for row in rows], "o-", color=colour, label=WORDS[kind], markersize=4)
    for words, level in (("oracle", result["oracle"]), ("nothing enhanced", result["none"])):
        axes.axhline(level, color="#5b6675", linewidth=1, linestyle=(0, (4, 3)))
        axes.text(0.01, level, words, transform=axes.get_yaxis_transform(), va="bottom", color="#5b6675", fontsize=9)
    axes.set_xscale("log")
    rates = sorted({round(row["predictions_per_s"], 1) for row in result["policies"].values()})
    axes.set_xticks(rates, [f"{rate:g}" for rate in rates])
    axes.set_xticks([], minor=True)
    axes.legend(frameon=False, loc="center right")
    save_figure(figure, stem)
