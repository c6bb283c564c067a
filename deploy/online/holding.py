"""Holding a plan: the budget follows what the machine can do, within the plan's front."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from deploy.online.loop import Loop
from deploy.online.plan_file import Point

LEAST = 0.8  # of the planned speed; below that the budget is lowered
ENOUGH = 0.95  # of the planned speed, which a larger budget must be expected to reach
WINDOW_S, WINDOWS = 5.0, 2  # speed is measured in windows; so many in a row must agree
_MOST_PATIENCE = 64  # windows: five minutes


@dataclass
class Holding:
    """Lowers the budget of a running loop when it is slower than planned, and raises it when it can do more.

    planned_fps: frames a second of all cameras together. steps: (budget, frames a second with it), from the smallest
    budget on. budget: one of these, which holds now. A step is taken after WINDOWS windows in a row that ask for it.
    The speed after it is expected from the plan, so that no step is taken only to be taken back.

    Live cameras whose frames are nearly all taken say how fast they are, not the machine: the budget is not lowered
    then, and one that was lowered is raised again. Where that does not help, the next attempt waits twice as long.
    """

    planned_fps: float
    steps: Sequence[tuple[float, float]]
    budget: float
    fps: float | None = None
    _frames: int = 0
    _dropped: int = 0
    _began: float | None = None
    _direction: int = 0
    _windows: int = 0  # in a row that asked for this direction
    _patience: int = WINDOWS  # windows after which a lowered budget goes up where nearly all frames are taken
    _is_trial: bool = False  # whether it went up so
    _planned_place: int = field(init=False)

    def __post_init__(self) -> None:
        self._planned_place = self._place

    @classmethod
    def of(cls, chosen: Point, front: Sequence[Point]) -> "Holding":
        """For the chosen point of a plan; its front gives the steps. A plan without a budget has none."""
        plan = chosen.plan
        alike = [point for point in (*front, chosen) if replace(point.plan, budget=plan.budget) == plan]
        fps_of = {point.plan.budget: point.fps[1] for point in alike}
        nothing = [
            point for point in front if point.plan.mode == "none" and point.plan.detect_every == plan.detect_every
        ]
        if plan.selects and nothing:
            fps_of.setdefault(0.0, nothing[0].fps[1])
        return cls(chosen.fps[1], sorted(fps_of.items()), plan.budget)

    def add(self, frames: int, now_s: float, dropped: int | None = None) -> float | None:
        """So many more frames are done at this time. The new budget, where it changes. dropped: so many more came that
        were not taken; None for files, which wait.
        """
        if self._began is None:
            self._began = now_s
            return None
        self._frames += frames
        self._dropped += dropped or 0
        if now_s - self._began < WINDOW_S:
            return None
        self.fps = self._frames / (now_s - self._began)
        keeps_up = dropped is not None and self._frames >= LEAST * (self._frames + self._dropped)
        direction = int(self._place < self._planned_place) if keeps_up else self._asked_by(self.fps)
        self._frames, self._dropped, self._began = 0, 0, now_s
        self._windows = self._windows + 1 if direction == self._direction else 1
        self._direction = direction
        if keeps_up and self._windows >= self._patience:
            self._is_trial = False  # it was not in vain
        if not direction or self._windows < (self._patience if keeps_up else WINDOWS):
            return None
        if direction < 0:
            self._patience = min(2 * self._patience, _MOST_PATIENCE) if self._is_trial else WINDOWS
        self._is_trial = keeps_up
        self._windows = 0
        self.budget = self.steps[self._place + direction][0]
        return self.budget

    def follow(self, loop: Loop, frames: int, now_s: float, dropped: int | None = None) -> str:
        """As `add`, and the loop spends the new budget. What changed, in words; "" for nothing."""
        before, budget = self.budget, self.add(frames, now_s, dropped)
        if budget is None:
            return ""
        loop.spend(budget)
        return f"{self.fps or 0:.1f} frames a second, planned {self.planned_fps:.1f}: budget {before:g} to {budget:g}"

    @property
    def _place(self) -> int:
        return [budget for budget, _ in self.steps].index(self.budget)

    def _asked_by(self, fps: float) -> int:
        """-1 for less, 1 for more, 0 to stay."""
        place = self._place
        if fps < LEAST * self.planned_fps:
            return -1 if place else 0
        if place + 1 < len(self.steps):
            expected = fps * self.steps[place + 1][1] / self.steps[place][1]
            return int(expected >= ENOUGH * self.planned_fps)
        return 0
