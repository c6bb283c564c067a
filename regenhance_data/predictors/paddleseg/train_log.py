"""The log of a training: train_log.json, lines on the terminal, and VisualDL records."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from regenhance_data.errors import InputError
from regenhance_data.io.files import read_json, write_json
from regenhance_data.predictors.paddleseg.settings import TrainSettings
from regenhance_data.predictors.paddleseg.validation import describe

LOG = "train_log.json"
PENDING_LOSSES = "recent_losses.json"  # in a checkpoint: the losses since the last row of the log


@dataclass
class History:
    """The log of a training up to a checkpoint: its rows, and the losses since the last row with a loss."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    pending_losses: list[float] = field(default_factory=list)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a train_log.json, none without the file. InputError where it is something else."""
    rows = read_json(path) if path.exists() else []
    if not isinstance(rows, list) or not all(
        isinstance(row, dict) and isinstance(row.get("iter"), int) and isinstance(row.get("ranking", 0.0), float | int)
        for row in rows
    ):
        raise InputError(f"{path}: is not a training log; remove it")
    return rows


def read_pending_losses(checkpoint: Path) -> list[float]:
    """The losses of a checkpoint that are not yet in a row of the log. InputError where the file is something else."""
    path = checkpoint / PENDING_LOSSES
    losses = read_json(path) if path.is_file() else []
    if not isinstance(losses, list) or not all(isinstance(loss, float | int) for loss in losses):
        raise InputError(f"{path}: is not a list of losses; remove it")
    return [float(loss) for loss in losses]


def is_ranked(row: dict[str, Any]) -> bool:
    """Whether a validation had frames whose macroblocks differ in importance; without them its ranking is always 0."""
    return bool(row.get("frames", 1))


def without_best(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with a mark on the validations: none of them is that of the best model."""
    return [{**row, "counts": False} if "ranking" in row else row for row in rows]


def best_validation(rows: Iterable[dict[str, Any]]) -> dict[str, Any] | None:
    """The validation of the best model: the first with the highest ranking; the last where nothing can be ranked. Those
    that `without_best` marked are left out.
    """
    validations = [row for row in rows if "ranking" in row and row.get("counts", True)]
    ranked = [row for row in validations if is_ranked(row)]
    if ranked:
        return max(ranked, key=lambda row: float(row["ranking"]))
    return validations[-1] if validations else None


class TrainLog:
    """Rows of training (iter, loss, lr, images_per_s) and of validation (iter, ranking, …).

    frames: how many one iteration has. writes: whether this process writes the log; others only keep its rows.
    """

    def __init__(self, history: History, settings: TrainSettings, iters: int, frames: int, writes: bool) -> None:
        self.rows, self._pending = history.rows, history.pending_losses
        self._settings, self._iters, self._frames, self._writes = settings, iters, frames, writes
        self._visualdl = _visualdl_writer(settings.save_dir) if settings.use_vdl and writes else None
        self._last, self._since = settings.start, time.monotonic()

    @property
    def validations(self) -> list[dict[str, Any]]:
        return [row for row in self.rows if "ranking" in row]

    def iteration(self, bar: tqdm, iteration: int, loss: float, lr: float) -> None:
        """Note one iteration; a row is added every `log_iters` iterations and at the last one."""
        self._pending.append(loss)
        bar.set_postfix(loss=f"{loss:.4f}", lr=f"{lr:.6f}", refresh=False)
        bar.update()
        if iteration % self._settings.log_iters and iteration != self._iters:
            return
        rate = (iteration - self._last) * self._frames / (time.monotonic() - self._since)
        row = {"iter": iteration, "loss": float(np.mean(self._pending)), "lr": lr, "images_per_s": round(rate, 2)}
        self.rows.append(row)
        self._add_scalars("Train", row)
        left_s = (self._iters - iteration) * self._frames / rate
        if self._writes:
            bar.write(
                f"iter {iteration}/{self._iters}  loss {row['loss']:.4f}  lr {lr:.6f}  {rate:.1f} images/s  "
                f"{tqdm.format_interval(left_s)} left"
            )
        self._pending, self._last, self._since = [], iteration, time.monotonic()

    def validation(self, bar: tqdm, row: dict[str, Any]) -> None:
        """Add the row of a validation."""
        self.rows.append(row)
        self._add_scalars("Evaluate", row)
        bar.write(f"iter {row['iter']}/{self._iters}  validation: {describe(row)}")

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The time inside the block does not count as training."""
        began = time.monotonic()
        yield
        self._since += time.monotonic() - began

    def save(self, checkpoint: Path | None = None) -> None:
        """Write the rows, and to `checkpoint` the losses that are not yet in a row."""
        if not self._writes:
            return
        write_json(self._settings.save_dir / LOG, self.rows)
        if checkpoint is not None:
            write_json(checkpoint / PENDING_LOSSES, self._pending)

    def _add_scalars(self, tag: str, row: dict[str, Any]) -> None:
        if self._visualdl is not None:
            for name, value in row.items():
                if name != "iter":
                    self._visualdl.add_scalar(f"{tag}/{name}", value, row["iter"])


def _visualdl_writer(folder: Path) -> Any:
    from visualdl import LogWriter

    return LogWriter(str(folder))
