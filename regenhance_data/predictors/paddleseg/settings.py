"""The settings of a PaddleSeg training, free of Paddle."""

import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from regenhance_data.errors import InputError
from regenhance_data.learning.settings import refuse_training_flags
from regenhance_data.predictors.paddleseg.checkpoints import WEIGHTS, complete_checkpoints


@dataclass(frozen=True)
class TrainSettings:
    """How a training runs. `save_interval` and `log_iters` count iterations.

    save_dir: folder for the checkpoints; the newest `keep_checkpoints` are kept. resume_model: the checkpoint
    (folder iter_N) to resume from. use_ema: validate a moving average of the weights, and keep it as the best model.
    precision: 'fp32', or 'fp16' for mixed precision (a resumed training begins with a new loss scale).
    accumulate_steps: batches of each process in one iteration. early_stop_intervals: stop after this many validations
    without a better one. use_vdl: log for VisualDL. pretrained: begin with the pretrained weights that the config
    names. overwrite: a new training, or one that goes on from elsewhere, may replace an earlier one in `save_dir`.
    InputError for values that are out of range and for folders that do not fit.
    """

    save_dir: Path
    seed: int = 0
    save_interval: int = 100
    log_iters: int = 20
    num_workers: int = 0
    keep_checkpoints: int = 5
    resume_model: Path | None = None
    use_ema: bool = False
    precision: str = "fp32"
    accumulate_steps: int = 1
    early_stop_intervals: int | None = None
    use_vdl: bool = False
    pretrained: bool = True
    overwrite: bool = False

    def __post_init__(self) -> None:
        counts = ["save_interval", "log_iters", "accumulate_steps"]
        counts += ["early_stop_intervals"] if self.early_stop_intervals is not None else []
        refuse_training_flags(self.seed, **{name: getattr(self, name) for name in counts})
        if self.num_workers < 0:
            raise InputError(f"--num_workers {self.num_workers}: expected at least 0")
        if self.use_vdl and find_spec("visualdl") is None:
            raise InputError("--use_vdl: VisualDL is not installed; pip install visualdl, or leave this out")
        if self.resume_model is not None:
            if not re.fullmatch(r"iter_\d+", self.resume_model.name):
                raise InputError(f"{self.resume_model}: --resume_model takes a folder iter_N of an earlier training")
            if not (self.resume_model / WEIGHTS).is_file():
                raise InputError(f"{self.resume_model}: has no {WEIGHTS}; give a folder iter_N of a training")
        goes_on = self.resume_model is not None and self.resume_model.parent.resolve() == self.save_dir.resolve()
        if not goes_on and not self.overwrite and (found := complete_checkpoints(self.save_dir)):
            raise InputError(
                f"{self.save_dir}: contains an earlier training; resume it with --resume_model {found[-1]}, replace it "
                "with --overwrite, or give another --save_dir"
            )

    @property
    def start(self) -> int:
        """The iteration to resume after; 0 for a new training."""
        return int(self.resume_model.name.removeprefix("iter_")) if self.resume_model else 0

    def recorded(self, batch_size: int) -> dict[str, int | str]:
        """What a checkpoint says of its training: which frames an iteration gets follows from it."""
        return {"batch_size": batch_size, "accumulate_steps": self.accumulate_steps, "seed": self.seed}
