"""Which importance formula serves a detector best: its F1 when each selects the macroblocks, and an upper bound."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from regenhance_data.console import progress, text_table
from regenhance_data.dataset.folder import Dataset, Frame, evenly_spread
from regenhance_data.detections import Detections
from regenhance_data.detectors.base import BATCH, Detector
from regenhance_data.errors import InputError
from regenhance_data.evaluation.bootstrap import (
    ALL_ENHANCED,
    Counts,
    CurvePoint,
    bootstrap_differences,
    bootstrap_scores,
    objects_of,
)
from regenhance_data.evaluation.kept import counts_from_json, counts_to_json, frame_key, keyed
from regenhance_data.evaluation.selections import detect_composites, select_for_curves
from regenhance_data.importance.formulas import importance_map
from regenhance_data.importance.frame_pairs import FramePair, read_pair
from regenhance_data.io.journal import Journal, go_on
from regenhance_data.metrics.detection import count_matches, f1
from regenhance_data.parallel.threads import bounded_map
from regenhance_data.regions.composite import composite
from regenhance_data.regions.selection import count_within

GREEDY = "greedy"
# Macroblocks whose gain is measured again at each step of the search. Gains of the others are those of an earlier step
# (lazy greedy, Minoux 1978).
REMEASURED = 8

Value = Callable[[Sequence[np.ndarray]], list[float]]  # selections bool [rows, cols] → the value of each


class ComparedFrame(NamedTuple):
    """A frame's counts, those with the curve `greedy` where it was searched, and {formula: milliseconds}."""

    counts: Counts
    searched: Counts | None
    times_ms: dict[str, float]

    def to_json(self) -> Any:
        """A value that JSON can hold; `ComparedFrame.from_json` is its inverse."""
        return [counts_to_json(self.counts), counts_to_json(self.searched), self.times_ms]

    @classmethod
    def from_json(cls, value: Any) -> "ComparedFrame":
        counts, searched, times_ms = value
        return cls(counts_from_json(counts), None if searched is None else counts_from_json(searched), times_ms)


def compare_formulas(
    dataset: Dataset,
    frames: Sequence[Frame],
    detector: Detector,
    hr_folder: str,
    formulas: Sequence[str],
    budgets: Sequence[float],
    greedy: int = 0,
    kept: Journal[ComparedFrame] | None = None,
) -> dict[str, Any]:
    """F1 of the detector on composites whose macroblocks each formula selects, against its results on the HR frames.

    formulas: as `importance_map` takes them; the others are compared with the first, frame by frame. greedy: on how
    many of the frames, evenly spread, to search for better macroblocks than any formula's. Returns the content of
    formulas.json without its settings:

    metric, frames, frames_with_objects, none, all, curves, recovered, intervals_95: as in evaluation.json, a curve for
    each formula; None where no frame has a reference object.
    ms: for each formula the median time of a frame, in milliseconds.
    difference: for each formula but the first, the mean over the budgets of its F1 minus the first formula's, and its
    95 % interval.
    greedy: the same as `curves`, on the searched frames alone, with the curve `greedy`: the best selection of the
    search or of any formula within the budget; None without a search.

    kept: where the results of each frame are kept. InputError without frames and for a detector without boxes.
    """
    if not frames:
        raise InputError(f"{dataset.root}: no frame to compare on; choose another --split or a smaller --every")
    if detector.task != "detection":
        raise InputError(f"--detector {detector.settings.spec}: is for {detector.task}; formulas are compared by F1")
    searched = set(evenly_spread(frames, greedy))

    def compare(missing: Sequence[Frame]) -> Iterator[ComparedFrame]:
        pairs = bounded_map(lambda frame: read_pair(dataset, frame, hr_folder), missing)
        for frame, pair in zip(missing, progress(pairs, "compare", len(missing)), strict=True):
            yield _compare_frame(detector, pair, formulas, budgets, frame in searched)

    known = go_on(kept, keyed(frames), compare)
    compared = [known[frame_key(frame)] for frame in frames]
    counts = [of_frame.counts for of_frame in compared]
    counts_of_searched = [of_frame.searched for of_frame in compared if of_frame.searched is not None]
    return {
        "metric": "f1",
        "frames": len(frames),
        "frames_with_objects": sum(objects_of(of_frame[ALL_ENHANCED]) > 0 for of_frame in counts),
        **bootstrap_scores(counts).to_dict(),
        "ms": {formula: float(np.median([some.times_ms[formula] for some in compared])) for formula in formulas},
        "difference": {
            formula: {"mean": difference.json_value(), "interval_95": difference.json_interval()}
            for formula, difference in bootstrap_differences(counts, formulas).items()
        },
        GREEDY: {"frames": len(counts_of_searched), **bootstrap_scores(counts_of_searched).to_dict()}
        if counts_of_searched
        else None,
    }


def _compare_frame(
    detector: Detector, pair: FramePair, formulas: Sequence[str], budgets: Sequence[float], is_searched: bool
) -> ComparedFrame:
    maps: dict[str, list[np.ndarray]] = {}
    times_ms: dict[str, float] = {}
    for formula in formulas:
        started = time.perf_counter()
        maps[formula] = [importance_map(detector, pair, formula)[0]]
        times_ms[formula] = 1000 * (time.perf_counter() - started)
    selections = select_for_curves(maps, budgets, pair.grid.shape)
    found = detect_composites(detector, pair, [selected for (selected,) in selections.values()])
    reference = found[selections[ALL_ENHANCED][0].tobytes()]
    counts = {point: count_matches(found[some.tobytes()], reference) for point, (some,) in selections.items()}
    searched = counts | _search(detector, pair, reference, counts) if is_searched else None
    return ComparedFrame(counts, searched, times_ms)


def greedy_selections(value_of: Value, shape: tuple[int, int], steps: int) -> Iterator[np.ndarray]:
    """Selections bool [rows, cols]: the empty one, then at each step one macroblock more, the one of the largest gain.

    At most `steps` steps; `value_of` is called once a step, with all selections to measure.
    """
    selected = np.zeros(shape, bool)
    (value,) = value_of([selected])
    yield selected
    gains = np.full(selected.size, np.inf)
    for step in range(min(steps, selected.size)):
        count = min(REMEASURED, selected.size - step) if step else selected.size
        measured = np.argsort(-gains, kind="stable")[:count]
        candidates = [_with(selected, cell) for cell in measured]
        values = np.array(value_of(candidates))
        gains[measured] = values - value
        best = int(values.argmax())
        gains[measured[best]] = -np.inf
        selected, value = candidates[best], values[best]
        yield selected


def _with(selected: np.ndarray, cell: int) -> np.ndarray:
    more = selected.copy()
    more.flat[cell] = True
    return more


def _search(detector: Detector, pair: FramePair, reference: Detections, known: Counts) -> Counts:
    """The counts of the best selection within each budget, from a greedy search or `known` from the formulas."""
    with torch.no_grad():
        objective = detector.accuracy(detector.tensor(pair.hr[None]))
    accuracy_of_hr = float(objective.value) or 1.0
    counts_of: dict[bytes, np.ndarray] = {}

    def value_of(selections: Sequence[np.ndarray]) -> list[float]:
        """F1 plus the share of the HR frame's Acc, which orders selections that change no detection yet."""
        values: list[float] = []
        for start in range(0, len(selections), BATCH):
            batch = selections[start : start + BATCH]
            images = np.stack([composite(pair.hr, pair.upsampled, selected, pair.grid) for selected in batch])
            counts = [count_matches(found, reference) for found in detector.detect(images)]
            counts_of.update(zip([selected.tobytes() for selected in batch], counts, strict=True))
            with torch.no_grad():
                shares = objective.at(detector.tensor(images)).cpu().numpy() / accuracy_of_hr
            values += list(f1(np.stack(counts)) + shares)
        return values

    cells = pair.grid.rows * pair.grid.cols
    budgets = sorted({budget for _, budget in known if 0 < budget < 1})
    best = {budget: max((c for (_, b), c in known.items() if b <= budget), key=f1) for budget in budgets}
    for selected in greedy_selections(value_of, pair.grid.shape, count_within(budgets[-1], cells)):
        counts = counts_of[selected.tobytes()]
        for budget in budgets:
            if selected.sum() <= count_within(budget, cells) and f1(counts) > f1(best[budget]):
                best[budget] = counts
        if f1(counts) == 1:
            break
    return {CurvePoint(GREEDY, budget): counts for budget, counts in best.items()}


def formulas_table(result: Mapping[str, Any]) -> str:
    """The F1 of each formula at each budget, the best mean first; below, that on the frames of the greedy search."""
    count, with_objects = result["frames"], result["frames_with_objects"]
    if not with_objects:
        return f"cannot tell: none of the {count} frames has a reference object, so F1 says nothing; use other frames"
    table = _f1_table(result, result["ms"], result["difference"])
    if with_objects < count:
        table += f"\n\n{count - with_objects} of {count} frames have no reference object"
    searched = result[GREEDY]
    if searched and searched["none"] is None:
        table += f"\n\nthe {searched['frames']} frames of the greedy search have no reference object"
    elif searched:
        table += f"\n\non the {searched['frames']} frames of the greedy search\n{_f1_table(searched, {}, {})}"
    return table


def _f1_table(result: Mapping[str, Any], ms: Mapping[str, float], differences: Mapping[str, Any]) -> str:
    budgets = list(next(iter(result["curves"].values())))
    rows = [["F1", *(f"{100 * float(budget):g}%" for budget in budgets), "mean"]]
    if ms:
        rows[0] += ["ms", f"mean less {next(iter(ms))}'s (95 %)"]
    for curve, points in sorted(result["curves"].items(), key=lambda item: -sum(item[1].values())):
        row = [curve, *(f"{value:.3f}" for value in [*points.values(), np.mean(list(points.values()))])]
        if ms:
            row.append(f"{ms[curve]:.0f}")
            row.append(_difference_text(differences[curve]) if curve in differences else "")
        rows.append(row)
    return text_table(rows)


def _difference_text(difference: Mapping[str, Any]) -> str:
    low, high = difference["interval_95"] or (None, None)
    return f"{difference['mean']:+.3f}" + ("" if low is None else f" ({low:+.3f} to {high:+.3f})")
