"""Which formula of importance serves a detector best: its F1 when each chooses the macroblocks, and a bound on it."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from regenhance_data.console import progress
from regenhance_data.dataset.folder import Dataset, Frame
from regenhance_data.detections import Detections
from regenhance_data.detectors.base import BATCH, Detector
from regenhance_data.errors import InputError
from regenhance_data.evaluation.bootstrap import ALL, RESAMPLES, Counts, summary
from regenhance_data.evaluation.evaluate import detect_composites, masks_of
from regenhance_data.importance.formulas import FramePair, importance_map
from regenhance_data.importance.pairs import read_pair
from regenhance_data.metrics.detection import count_matches, f1
from regenhance_data.parallel.threads import bounded_map
from regenhance_data.regions.composite import composite

GREEDY = "greedy"
# Macroblocks whose gain is measured anew at each step of the search. Gains of the others are those of an earlier step
# (lazy greedy, Minoux 1978).
REMEASURED = 8

Value = Callable[[Sequence[np.ndarray]], list[float]]  # sets of macroblocks bool [rows, cols] → what each is worth


def compare(
    dataset: Dataset,
    frames: Sequence[Frame],
    detector: Detector,
    clear: str,
    formulas: Sequence[str],
    budgets: Sequence[float],
    greedy: int = 0,
) -> dict[str, Any]:
    """F1 of the detector on composites whose macroblocks each formula chose, against its detections on clear frames.

    formulas: as `importance_map` takes them; the first is the one that the others are compared with, frame by frame.
    greedy: on how many of the frames, evenly spread, to search for better macroblocks than any formula's. Returns what
    formulas.json holds, but for the settings:

    metric, frames, none, all, curves, recovered, intervals_95: as in evaluation.json, a curve a formula.
    ms: of each formula the median time of a frame, in milliseconds.
    difference: of each formula the mean over the budgets of its F1 less the first formula's, and its 95 % interval.
    greedy: the same as `curves`, on the frames of the search alone, with the curve `greedy`: the best that the search
    or any formula met within the budget; None without a search.
    """
    if not frames:
        raise InputError(f"{dataset.root}: no frame to compare on; choose another --split or a smaller --every")
    if detector.task != "detection":
        raise InputError(f"--detector {detector.settings.spec}: is for {detector.task}; formulas are compared by F1")
    searched = {round(place) for place in np.linspace(0, len(frames) - 1, min(greedy, len(frames)))}
    counts: list[Counts] = []
    bounds: list[Counts] = []
    times: dict[str, list[float]] = {formula: [] for formula in formulas}
    pairs = bounded_map(lambda frame: read_pair(dataset, frame, clear), frames)
    for number, pair in enumerate(progress(pairs, "compare", len(frames))):
        maps: dict[str, list[np.ndarray]] = {}
        for formula in formulas:
            started = time.perf_counter()
            maps[formula] = [importance_map(detector, pair, formula)[0]]
            times[formula].append(1000 * (time.perf_counter() - started))
        masks = masks_of(maps, budgets, pair.grid.shape)
        found = detect_composites(detector, pair, [mask for (mask,) in masks.values()])
        reference = found[masks[ALL][0].tobytes()]
        counts.append({point: count_matches(found[mask.tobytes()], reference) for point, (mask,) in masks.items()})
        if number in searched:
            bounds.append(counts[-1] | _searched(detector, pair, reference, counts[-1]))
    return {
        "metric": "f1",
        "frames": len(frames),
        **summary(counts),
        "ms": {formula: float(np.median(values)) for formula, values in times.items()},
        "difference": differences(counts, formulas),
        GREEDY: {"frames": len(bounds), **summary(bounds)} if bounds else None,
    }


def differences(frames: Sequence[Counts], formulas: Sequence[str]) -> dict[str, Any]:
    """How much the mean over the budgets of each formula's F1 is above the first formula's, with a 95 % interval.

    By resampling frames, the same for both formulas (a paired bootstrap): {formula: {"mean": x, "interval_95": [..]}}.
    """
    generator = np.random.default_rng(0)
    weights = generator.multinomial(len(frames), [1 / len(frames)] * len(frames), RESAMPLES)
    budgets = [budget for curve, budget in frames[0] if curve == formulas[0]]

    def means(formula: str, draws: np.ndarray) -> np.ndarray:
        of_budgets = [np.stack([frame[formula, budget] for frame in frames]) for budget in budgets]
        return np.mean([f1(draws @ of_budget.astype(np.float64)) for of_budget in of_budgets], axis=0)

    result = {}
    for formula in formulas[1:]:
        resampled = means(formula, weights) - means(formulas[0], weights)
        every = np.ones((1, len(frames)))
        result[formula] = {
            "mean": float((means(formula, every) - means(formulas[0], every))[0]),
            "interval_95": [float(bound) for bound in np.percentile(resampled, [2.5, 97.5])],
        }
    return result


def greedy_sets(worth: Value, shape: tuple[int, int], steps: int) -> Iterator[np.ndarray]:
    """Sets of macroblocks bool [rows, cols]: none, then each time one more, the one whose gain is largest."""
    chosen = np.zeros(shape, bool)
    (value,) = worth([chosen])
    yield chosen
    gains = np.full(chosen.size, np.inf)
    for step in range(min(steps, chosen.size)):
        measured = np.argsort(-gains, kind="stable")[: min(REMEASURED, chosen.size - step) if step else chosen.size]
        sets = [_with(chosen, place) for place in measured]
        values = np.array(worth(sets))
        gains[measured] = values - value
        best = int(values.argmax())
        gains[measured[best]] = -np.inf
        chosen, value = sets[best], values[best]
        yield chosen


def _with(chosen: np.ndarray, place: int) -> np.ndarray:
    more = chosen.copy()
    more.flat[place] = True
    return more


def _searched(detector: Detector, pair: FramePair, reference: Detections, known: Counts) -> Counts:
    """The counts of the best set of macroblocks within each budget, met by a greedy search or `known` from formulas."""
    with torch.no_grad():
        objective = detector.accuracy(detector.tensor(pair.hr[None]))
    whole = float(objective.value) or 1.0
    met: dict[bytes, np.ndarray] = {}

    def worth(masks: Sequence[np.ndarray]) -> list[float]:
        """F1, and the share of the clear frame's Acc, which tells apart what changes no detection yet."""
        values: list[float] = []
        for start in range(0, len(masks), BATCH):
            some = masks[start : start + BATCH]
            images = np.stack([composite(pair.hr, pair.upsampled, mask, pair.grid) for mask in some])
            counts = [count_matches(found, reference) for found in detector.detect(images)]
            met.update(zip([mask.tobytes() for mask in some], counts, strict=True))
            with torch.no_grad():
                shares = objective.at(detector.tensor(images)).cpu().numpy() / whole
            values += list(f1(np.stack(counts)) + shares)
        return values

    cells = pair.grid.rows * pair.grid.cols
    budgets = sorted({budget for _, budget in known if 0 < budget < 1})
    best = {budget: max((c for (_, b), c in known.items() if b <= budget), key=f1) for budget in budgets}
    for chosen in greedy_sets(worth, pair.grid.shape, int(budgets[-1] * cells + 0.5)):
        counts = met[chosen.tobytes()]
        for budget in budgets:
            if chosen.sum() <= int(budget * cells + 0.5) and f1(counts) > f1(best[budget]):
                best[budget] = counts
        if f1(counts) == 1:
            break
    return {(GREEDY, budget): counts for budget, counts in best.items()}


def table(result: Mapping[str, Any]) -> str:
    """The F1 of each formula at each budget, the best mean first, and below it the search beside them on its frames."""
    lines = _lines(result, result["ms"], result["difference"])
    if result[GREEDY]:
        lines += ["", f"on the {result[GREEDY]['frames']} frames of the greedy search"]
        lines += _lines(result[GREEDY], {}, {})
    return "\n".join(lines)


def _lines(result: Mapping[str, Any], ms: Mapping[str, float], difference: Mapping[str, Any]) -> list[str]:
    budgets = list(next(iter(result["curves"].values())))
    width = max(len(curve) for curve in result["curves"]) + 2
    head = f"{'F1':<{width}}" + "".join(f"{float(b):>8.0%}" for b in budgets) + f"{'mean':>8}"
    lines = [head + (f"{'ms':>8}   mean less {next(iter(ms))}'s (95 %)" if ms else "")]
    for curve, points in sorted(result["curves"].items(), key=lambda c: -sum(c[1].values())):
        line = f"{curve:<{width}}" + "".join(f"{v:>8.3f}" for v in [*points.values(), np.mean(list(points.values()))])
        line += f"{ms[curve]:>8.0f}" if ms else ""
        if curve in difference:
            low, high = difference[curve]["interval_95"]
            line += f"   {difference[curve]['mean']:+.3f} ({low:+.3f} to {high:+.3f})"
        lines.append(line)
    return [line.rstrip() for line in lines]
