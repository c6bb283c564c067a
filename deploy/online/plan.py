"""What the loop does with each frame, fixed before it starts."""

from dataclasses import dataclass, field
from typing import Any

from regenhance_data.errors import InputError
from regenhance_data.regions.cache import CachePolicy
from regenhance_data.regions.reuse import ReusePolicy

MOST = 10**9  # frames: years of video
MOST_FEEDBACK = 100.0
MODES = ("regions", "atlas", "whole", "none")


@dataclass(frozen=True)
class Plan:
    """The settings that every stage of the loop reads.

    budget: the share of the macroblocks of all cameras together that are enhanced anew in a round, in [0, 1]. floor:
    of its own macroblocks, what each camera gets at least. mode: how: region by region, packed in an atlas, the whole
    frame (all macroblocks, whatever the budget), or none. halo_px: LR pixels around a region that the upscaler sees;
    None: as many as its pixels depend on. reuse: when importance is predicted anew. detect_every: only every n-th frame
    of a camera is enhanced and searched. cache: when enhanced macroblocks are used again. feedback: how much, beside
    importance in [0, 1], a macroblock counts in which something was found in the camera's last frame; 0: nothing.
    InputError for values out of range.
    """

    budget: float = 0.1
    floor: float = 0.0
    mode: str = "regions"
    halo_px: int | None = None
    reuse: ReusePolicy = field(default_factory=ReusePolicy)
    detect_every: int = 1
    cache: CachePolicy = field(default_factory=CachePolicy)
    feedback: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.budget <= 1:
            raise InputError(f"--budget {self.budget:g}: expected a share of the macroblocks, from 0 to 1")
        if not 0 <= self.floor <= self.budget:
            raise InputError(f"--floor {self.floor:g}: expected a share from 0 to the budget ({self.budget:g})")
        if self.mode not in MODES:
            raise InputError(f"--mode {self.mode}: expected one of {', '.join(MODES)}")
        if self.halo_px is not None and self.halo_px < 0:
            raise InputError(f"--halo {self.halo_px}: expected pixels, 0 or more")
        if not 0 <= self.feedback <= MOST_FEEDBACK:
            raise InputError(f"--feedback {self.feedback:g}: expected a weight from 0 to {MOST_FEEDBACK:g}")
        if not 1 <= self.detect_every <= MOST:
            raise InputError(f"--detect_every {self.detect_every}: expected 1 to {MOST}")

    @property
    def selects(self) -> bool:
        """Whether some macroblocks are chosen, by their importance: neither all of them nor none."""
        return self.mode in ("regions", "atlas")

    @property
    def feeds_back(self) -> bool:
        """Whether what was found in one frame has a part in the next."""
        return self.feedback > 0 and self.selects

    def to_dict(self) -> dict[str, Any]:
        """The settings in plain values, called as the flags of deploy/run_cameras.py."""
        return {
            "budget": self.budget,
            "floor": self.floor,
            "mode": self.mode,
            "halo": self.halo_px,
            "predict_every": self.reuse.every,
            "predict_change": self.reuse.change,
            "detect_every": self.detect_every,
            "cache_threshold": self.cache.threshold,
            "cache_age": self.cache.max_age,
            "feedback": self.feedback,
        }

    def refuse_task(self, task: str) -> None:
        """InputError where these settings need another detector than one of this task."""
        if self.feeds_back and task != "detection":
            raise InputError(f"--feedback: takes boxes that were found, and this detector does {task}; leave it out")
