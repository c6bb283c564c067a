"""Holding a plan: the budget follows what the machine can do, within the plan's front."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from deploy.online.plan_file import Point
from deploy.online.rounds import Loop

LEAST = 0.8  # of the planned speed; below that the budget is lowered
ENOUGH = 0.95  # of the planned speed, which a larger budget must be expected to reach
WINDOW_S, WINDOWS = 5.0, 2  # speed is measured in windows; so many in a row must agree


@dataclass
class Holding:
    """Lowers the budget of a running loop when it is slower than planned, and raises it when it can do more.

    planned_fps: frames a second of all cameras together. steps: (budget, frames a second with it), from the smallest
    budget on. budget: one of these, which holds now. A step is taken after WINDOWS windows in a row that ask for it.
    The speed after it is expected from the plan, so that no step is taken only to be taken back.
    """

    planned_fps: float
    steps: Sequence[tuple[float, float]]
    budget: float
    fps: float | None = None
    _frames: int = 0
    _began: float | None = None
    _is_behind: bool = False
    _asked: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, chosen: Point, front: Sequence[Point]) -> "Holding":
        """For the chosen point of a plan; its front gives the steps. A plan without a budget has none."""
        plan = chosen.plan
        alike = [point for point in (*front, chosen) if replace(point.plan, budget=plan.budget) == plan]
        fps_of = {point.plan.budget: point.fps[1] for point in alike}
        nothing = [
            point for point in front if point.plan.mode == "none" and point.plan.detect_every == plan.detect_every
        ]
        if plan.mode not in ("none", "whole") and nothing:
            fps_of.setdefault(0.0, nothing[0].fps[1])
        return cls(chosen.fps[1], sorted(fps_of.items()), plan.budget)

    def add(self, frames: int, now_s: float, is_behind: bool = True) -> float | None:
        """So many more frames are done at this time. The new budget, where it changes. is_behind: whether there were
        more frames than were taken; a window without any says how fast the cameras are, not the machine.
        """
        if self._began is None:
            self._began = now_s
            return None
        self._frames += frames
        self._is_behind |= is_behind
        if now_s - self._began < WINDOW_S:
            return None
        self.fps, self._frames, self._began = self._frames / (now_s - self._began), 0, now_s
        direction = self._direction(self.fps) if self._is_behind else 0
        self._is_behind, self._asked = False, [*self._asked, direction][-WINDOWS:]
        if len(self._asked) < WINDOWS or self._asked[0] == 0 or len(set(self._asked)) > 1:
            return None
        place = self._place + self._asked[0]
        self._asked = []
        self.budget = self.steps[place][0]
        return self.budget

    def follow(self, loop: Loop, frames: int, now_s: float, is_behind: bool = True) -> str:
        """As `add`, and the loop spends the new budget. What changed, in words; "" for nothing."""
        before, budget = self.budget, self.add(frames, now_s, is_behind)
        if budget is None:
            return ""
        loop.spend(budget)
        return f"{self.fps or 0:.1f} frames a second, planned {self.planned_fps:.1f}: budget {before:g} to {budget:g}"

    @property
    def _place(self) -> int:
        return [budget for budget, _ in self.steps].index(self.budget)

    def _direction(self, fps: float) -> int:
        """-1 for less, 1 for more, 0 to stay."""
        place = self._place
        if fps < LEAST * self.planned_fps:
            return -1 if place else 0
        if place + 1 < len(self.steps):
            expected = fps * self.steps[place + 1][1] / self.steps[place][1]
            return int(expected >= ENOUGH * self.planned_fps)
        return 0
