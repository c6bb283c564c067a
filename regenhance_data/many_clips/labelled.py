"""The score against the number of labelled training frames: how much a user needs."""

from collections.abc import Mapping
from dataclasses import dataclass

from regenhance_data.errors import InputError
from regenhance_data.evaluation.record import Estimate
from regenhance_data.importance.static_map import STATIC
from regenhance_data.many_clips.results import NOTHING, ORACLE, BenchmarkResult

ALL = "all"
_LEVELS = {NOTHING: "nothing enhanced", STATIC: "static map of all frames", ORACLE: "oracle"}


@dataclass(frozen=True)
class LabelledResult:
    """result: of the clips, with a way for each line and number of frames. places: {way: (line, labelled frames)}."""

    result: BenchmarkResult
    places: Mapping[str, tuple[str, float]]

    def lines(self) -> dict[str, dict[float, Estimate]]:
        """{line: {labelled frames: the mean score over the clips}}."""
        found: dict[str, dict[float, Estimate]] = {}
        mean, budget = self.result.mean, self.result.budget or 0.0
        for way, (line, frames) in self.places.items():
            if mean and way in mean.ways:
                found.setdefault(line, {})[frames] = mean.ways[way][budget].score
        return found

    def levels(self) -> dict[str, Estimate]:
        """{what: its mean score}, of what depends on no predictor."""
        mean, budget = self.result.mean, self.result.budget or 0.0
        return {
            text: mean.scores[name].get(budget) or next(iter(mean.scores[name].values()))
            for name, text in _LEVELS.items()
            if mean and name in mean.scores
        }

    def rows(self) -> list[list[str]]:
        """The head, then a row for each line."""
        lines = self.lines()
        counts = sorted({count for points in lines.values() for count in points})
        rows = [[name, *(points[c].text if c in points else "–" for c in counts)] for name, points in lines.items()]
        return [["labelled frames", *(f"{count:.0f}" for count in counts)], *rows]


def read_counts_of_frames(words: list[str]) -> list[int | None]:
    """The numbers of --labelled, None for "all". InputError for anything else."""
    counts: list[int | None] = []
    for word in words:
        if word != ALL and not (word.isascii() and word.isdecimal() and len(word) < 10):
            raise InputError(f"--labelled {word}: expected numbers of frames, or {ALL}")
        counts.append(None if word == ALL else int(word))
    return counts
