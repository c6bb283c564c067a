"""The score against the number of labelled training frames: how much a user needs."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf

from regenhance_data.errors import InputError
from regenhance_data.evaluation.record import Estimate
from regenhance_data.importance.static_map import STATIC
from regenhance_data.many_clips.results import NOTHING, ORACLE, BenchmarkResult

ALL = "all"
_LEVELS = {NOTHING: "nothing enhanced", STATIC: "static map of all frames", ORACLE: "oracle"}


@dataclass(frozen=True)
class LabelledResult:
    """result: of the clips, with a way for each line and number of frames. places: {way: (line, labelled frames)}, None
    for all frames. frames: {clip: its training frames}.
    """

    result: BenchmarkResult
    places: Mapping[str, tuple[str, int | None]]
    frames: Mapping[str, int]

    @property
    def all_frames(self) -> float:
        """How many frames "all" are, in the mean over the clips that count in the mean score."""
        counted = [self.frames[clip.clip] for clip in self.result.measured]
        return sum(counted) / max(len(counted), 1)

    def lines(self) -> dict[str, dict[int | None, Estimate]]:
        """{line: {labelled frames: the mean score over the clips}}, from few frames to all."""
        found: dict[str, dict[int | None, Estimate]] = {}
        mean, budget = self.result.mean, self.result.budget or 0.0
        for way, (line, frames) in self.places.items():
            if mean and way in mean.ways:
                found.setdefault(line, {})[frames] = mean.ways[way][budget].score
        return {line: {count: points[count] for count in sorted(points, key=_order)} for line, points in found.items()}

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
        counts = sorted({count for points in lines.values() for count in points}, key=_order)
        rows = [[name, *(points[c].text if c in points else "–" for c in counts)] for name, points in lines.items()]
        head = (f"{ALL} ({self.all_frames:.0f})" if count is None else str(count) for count in counts)
        return [["labelled frames", *head], *rows]

    def short(self) -> str:
        """Which clips have fewer training frames than a column says, in a sentence; "" where none has."""
        most = max((count for _, count in self.places.values() if count is not None), default=0)
        frames = {clip.clip: self.frames[clip.clip] for clip in self.result.measured}
        few = [f"{clip} {count}" for clip, count in frames.items() if count < most]
        return f"All training frames are fewer than {most} in {', '.join(few)}: these are taken." if few else ""


def _order(count: int | None) -> float:
    return inf if count is None else count


def read_counts_of_frames(words: list[str]) -> list[int | None]:
    """The numbers of --labelled, None for "all". InputError for anything else."""
    counts: list[int | None] = []
    for word in words:
        if word != ALL and not (word.isascii() and word.isdecimal() and len(word) < 10):
            raise InputError(f"--labelled {word}: expected numbers of frames, or {ALL}")
        counts.append(None if word == ALL else int(word))
    return counts
