"""Train a predictor over PaddleSeg's pieces, in one process or several.

PaddleSeg 2.8's own core.train and core.val fail on Paddle 3's 0-d tensors, and judge by mIoU; what counts here is the
order of a frame's macroblocks.
"""

import re
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import paddle
from tqdm import tqdm

from regenhance_data.errors import InputError
from regenhance_data.io.files import read_json, write_bytes, write_json
from regenhance_data.predictors.paddleseg.batches import Batches, PreparedFrames
from regenhance_data.predictors.paddleseg.checkpoints import (
    RECORD,
    load_parameters,
    read_parameters,
    write_model,
    write_parameters,
)
from regenhance_data.predictors.paddleseg.config import PredictorConfig
from regenhance_data.predictors.paddleseg.optimizer_step import Stepper
from regenhance_data.predictors.paddleseg.pretrained import load_pretrained
from regenhance_data.predictors.paddleseg.validation import NotFinite, describe, validate
from regenhance_data.predictors.samples import Samples

RECENT = "recent_losses.json"  # of a checkpoint: the losses that the log has no line of yet
EMA_DECAY = 0.99  # of PaddleSeg; 0.999 would still hold much of the random start after some hundred iterations


@dataclass(frozen=True)
class TrainSettings:
    """How a training runs. `save_interval`, `log_iters` count iterations; `keep_checkpoints` of iter_N are left.

    use_ema: a moving average of the weights is what is validated and kept as the best model. precision: 'fp32', or
    'fp16' for mixed precision (a training that goes on begins with a new loss scale). accumulate_steps: so many batches
    make one iteration. early_stop_intervals: validations without a better one after which to stop. use_vdl: log for
    VisualDL. overwrite: a training from the beginning may take the place of an earlier one in its folder.
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
        least_of = {"seed": 0, "save_interval": 1, "log_iters": 1, "num_workers": 0, "accumulate_steps": 1}
        least_of |= {"early_stop_intervals": 1} if self.early_stop_intervals is not None else {}
        for name, least in least_of.items():
            if getattr(self, name) < least:
                raise InputError(f"--{name} {getattr(self, name)}: expected at least {least}")
        if self.use_vdl and find_spec("visualdl") is None:
            raise InputError("--use_vdl: VisualDL is not installed; pip install visualdl, or leave this out")


class _Average:
    """The exponential moving average of a network's state: smoother than any one moment of a short training.

    It begins at the network's present state, which is that after `steps` iterations. `state` is what it stands at. The
    first iterations count for more, as if the average had just begun.
    """

    def __init__(self, model: Any, steps: int) -> None:
        self._steps = steps
        self._model_state = model.state_dict()
        self.state = {name: tensor.clone() for name, tensor in self._model_state.items()}

    @paddle.no_grad()
    def follow(self) -> None:
        """Move on by the network's present state."""
        self._steps += 1
        decay = min(EMA_DECAY, self._steps / (10 + self._steps))
        for name, tensor in self._model_state.items():
            self.state[name].scale_(decay).add_(tensor * (1 - decay))

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The network has the average for its state until the end of the block."""
        now = {name: tensor.clone() for name, tensor in self._model_state.items()}
        self._give(self.state)
        try:
            yield
        finally:
            self._give(now)

    def _give(self, state: dict[str, Any]) -> None:
        for name, tensor in self._model_state.items():
            tensor.set_value(state[name])


class _Log:
    """train_log.json, VisualDL's records where they are asked for, and the bar."""

    def __init__(
        self, rows: list[dict[str, Any]], settings: TrainSettings, start: int, iters: int, frames: int, writes: bool
    ) -> None:
        self.rows, self._settings, self._iters, self._frames = rows, settings, iters, frames
        self._last = start
        self._writes = writes
        self._path = settings.save_dir / "train_log.json"
        self._vdl = _vdl_writer(settings.save_dir) if settings.use_vdl and self._writes else None
        # losses since the last line, of before the start as well
        self._recent = [float(loss) for loss in rows.pop()["recent"]] if rows and "recent" in rows[-1] else []
        self._since = time.monotonic()

    @property
    def validations(self) -> list[dict[str, Any]]:
        return [row for row in self.rows if "ranking" in row]

    def iteration(self, bar: tqdm, iteration: int, loss: float, lr: float) -> None:
        """Note one iteration; a line for each `log_iters` of them, and for the last."""
        self._recent.append(loss)
        bar.set_postfix(loss=f"{loss:.4f}", lr=f"{lr:.6f}", refresh=False)
        bar.update()
        if iteration % self._settings.log_iters and iteration != self._iters:
            return
        rate = (iteration - self._last) * self._frames / (time.monotonic() - self._since)
        row = {"iter": iteration, "loss": float(np.mean(self._recent)), "lr": lr, "images_per_s": round(rate, 2)}
        self.rows.append(row)
        self._scalars("Train", row)
        left_s = (self._iters - iteration) * self._frames / rate
        if self._writes:
            bar.write(
                f"iter {iteration}/{self._iters}  loss {row['loss']:.4f}  lr {lr:.6f}  {rate:.1f} images/s  "
                f"{tqdm.format_interval(left_s)} left"
            )
        self._recent, self._last, self._since = [], iteration, time.monotonic()

    def validation(self, bar: tqdm, row: dict[str, Any]) -> None:
        """Note a validation; the time it took does not count as training."""
        self.rows.append(row)
        self._scalars("Evaluate", row)
        bar.write(f"iter {row['iter']}/{self._iters}  validation: {describe(row)}")

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What runs in the block is no training time."""
        began = time.monotonic()
        yield
        self._since += time.monotonic() - began

    def save(self, checkpoint: Path | None = None) -> None:
        """Write the log; and what of it a training needs that goes on from `checkpoint`."""
        if self._writes:
            write_json(self._path, self.rows)
        if self._writes and checkpoint is not None:
            write_json(checkpoint / RECENT, self._recent)

    def _scalars(self, tag: str, row: dict[str, Any]) -> None:
        if self._vdl is not None:
            for name, value in row.items():
                if name != "iter":
                    self._vdl.add_scalar(f"{tag}/{name}", value, row["iter"])


@dataclass
class _Keeper:
    """What one process of a training writes: its checkpoints, and the best of them."""

    config: PredictorConfig
    settings: TrainSettings
    model: Any
    optimizer: Any
    average: _Average | None
    log: _Log

    def validate(self, iteration: int, validation: Samples, bar: tqdm) -> None:
        """Judge the network, or its average, and keep it if it is the best so far."""
        self._refuse_broken(iteration)
        with self.average.in_place() if self.average else nullcontext():
            try:
                row = {"iter": iteration, **validate(self.model, self.config, validation)}
            except NotFinite:
                _stop_diverged(self.settings.save_dir, iteration, self.log)
            if row["ranking"] > max(map(_ranking, self.log.validations), default=-np.inf):
                write_model(self.settings.save_dir / "best_model", self.model.state_dict(), self.config)
        self.log.validation(bar, row)

    def save(self, iteration: int) -> None:
        """Write iter_N, and remove the oldest ones."""
        self._refuse_broken(iteration)
        # its weights last of all: a checkpoint that is there has its validation and its optimizer
        checkpoint = self.settings.save_dir / f"iter_{iteration}"
        self.log.save(checkpoint)
        write_parameters(checkpoint / "model.pdopt", self.optimizer.state_dict())
        if self.average is not None:
            write_parameters(checkpoint / "model.pdema", self.average.state)
        write_model(checkpoint, self.model.state_dict(), self.config)
        for old in _checkpoints(self.settings.save_dir)[: -self.settings.keep_checkpoints]:
            shutil.rmtree(old)

    def _refuse_broken(self, iteration: int) -> None:
        if not all(np.isfinite(tensor.numpy()).all() for tensor in self.model.state_dict().values()):
            _stop_diverged(self.settings.save_dir, iteration, self.log)


def train(config: PredictorConfig, training: Samples, validation: Samples, settings: TrainSettings) -> dict[str, Any]:
    """Train to the config's `iters`; return the validation of the best checkpoint ({'iter', 'ranking', …}).

    Writes iter_N/model.pdparams, .pdopt and .pdema every `save_interval` iterations, best_model/ (of the averaged
    weights, .pdema, the best `ranking` of the validation frames, see ranking.agreement) and train_log.json (rows of
    iter, loss, lr; rows of a validation). Under paddle.distributed.launch the first process alone writes and validates.
    InputError when the loss stops being a number; the checkpoints written before are kept. On SIGTERM or SIGINT the
    iteration is finished and kept, and SystemExit leaves with what a shell expects of it.
    """
    iters = config.seg.iters
    _refuse_used_folder(settings)
    paddle.seed(settings.seed)
    model, losses, optimizer = config.build("model"), config.build("loss"), config.build("optimizer")
    start = _begin(config, model, optimizer, settings)
    stepper = Stepper(model, losses, optimizer, settings.accumulate_steps, settings.precision)
    is_first = stepper.rank == 0
    frames = config.seg.batch_size * stepper.parts
    average = _average(settings, model, start)
    # what can be refused has been by now, but for a broken log, and an earlier training can go
    log = _Log(_start_folder(settings, start) if is_first else [], settings, start, iters, frames, is_first)
    keeper = _Keeper(config, settings, model, optimizer, average, log)

    order = Batches(training.sizes_hw, frames, start, iters, settings.seed, stepper.parts, stepper.mine)
    prepared = PreparedFrames(training, config, "train_dataset")
    batches = iter(paddle.io.DataLoader(prepared, batch_sampler=order, num_workers=settings.num_workers))
    is_shown = is_first and sys.stderr.isatty()
    bar = tqdm(total=iters, desc="train", initial=start, unit="iter", disable=not is_shown, leave=False)
    model.train()
    with bar, _told_to_stop(once=stepper.ranks == 1) as told:
        for iteration in range(start + 1, iters + 1):
            lr = float(optimizer.get_lr())
            loss = stepper.step(list(islice(batches, settings.accumulate_steps)), settings.seed + iteration)
            if not np.isfinite(loss):
                _stop_diverged(settings.save_dir, iteration, log)
            if average is not None:
                average.follow()
            log.iteration(bar, iteration, loss, lr)
            is_stopped = stepper.in_any_process(bool(told))
            is_judged = iteration % settings.save_interval == 0 or iteration == iters
            if is_judged or is_stopped:
                stepper.share_statistics(model.state_dict())
                if average is not None:
                    stepper.share_statistics(average.state)
                with log.paused():
                    if is_first and is_judged:
                        keeper.validate(iteration, validation, bar)
                    if is_first:
                        keeper.save(iteration)
                model.train()
            if is_stopped and iteration < iters:
                _leave(settings, iteration, told, is_first)
            if is_judged and stepper.in_any_process(is_first and _is_over(settings, log)):
                bar.write(f"iter {iteration}: no better validation in the last {settings.early_stop_intervals}")
                break
    return max(log.validations, key=_ranking) if is_first else {}


def _refuse_used_folder(settings: TrainSettings) -> None:
    found = _checkpoints(settings.save_dir)
    if found and settings.resume_model is None and not settings.overwrite:
        raise InputError(
            f"{settings.save_dir}: has a training already; go on with --resume_model {found[-1]}, begin anew with "
            "--overwrite, or give another --save_dir"
        )


def _begin(config: PredictorConfig, model: Any, optimizer: Any, settings: TrainSettings) -> int:
    """Give the network what it begins with, of an earlier training or pretrained; return the iteration it stands at."""
    if settings.resume_model:
        return _resume(settings.resume_model, config.seg.iters, model, optimizer)
    if settings.pretrained:
        for part, source in config.pretrained.items():
            count = load_pretrained(model, part, source)
            if paddle.distributed.ParallelEnv().rank == 0:
                print(f"{part or 'model'}: begins with {count} pretrained weights of {source}")
    return 0


@contextmanager
def _told_to_stop(once: bool) -> Iterator[list[int]]:
    """A list that fills with the SIGTERM or SIGINT that arrives inside the block.

    once: a second one ends the process. Paddle's launcher sends several within a second, and kills what is left later.
    """
    told: list[int] = []

    def note(number: int, frame: Any) -> None:
        told.append(number)
        if once:
            signal.signal(number, before[number])

    before: dict[int, Any] = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for number in before:
        signal.signal(number, note)
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave(settings: TrainSettings, iteration: int, told: list[int], is_first: bool) -> None:
    if is_first:
        print(
            f"stopped at iteration {iteration}; to go on, give the same command with "
            f"--resume_model {settings.save_dir / f'iter_{iteration}'}",
            file=sys.stderr,
        )
    raise SystemExit(128 + (told or [signal.SIGTERM])[0])  # what a shell says of a process that a signal ended


def _is_over(settings: TrainSettings, log: _Log) -> bool:
    """Whether the last validations were no better than one before them."""
    if settings.early_stop_intervals is None:
        return False
    ranks = [_ranking(row) for row in log.validations]
    return len(ranks) - 1 - int(np.argmax(ranks)) >= settings.early_stop_intervals


def _vdl_writer(folder: Path) -> Any:
    from visualdl import LogWriter

    return LogWriter(str(folder))


def _average(settings: TrainSettings, model: Any, start: int) -> _Average | None:
    """The average of a training from the beginning, or of the one that goes on; None where none is asked for.

    InputError where a training that goes on was another kind before.
    """
    if settings.resume_model is not None:
        had_average = (settings.resume_model / "model.pdema").is_file()
        if had_average != settings.use_ema:
            was, mend = ("with", "give it again") if had_average else ("without", "leave it out")
            raise InputError(f"{settings.resume_model}: was trained {was} --use_ema; {mend}")
    if not settings.use_ema:
        return None
    if settings.resume_model is None:
        return _Average(model, 0)
    load_parameters(model, settings.resume_model / "model.pdema")
    average = _Average(model, start)
    load_parameters(model, settings.resume_model / "model.pdparams")
    return average


def _start_folder(settings: TrainSettings, start: int) -> list[dict[str, Any]]:
    """Make `save_dir` what it was at iteration `start`; return the log up to there.

    A training from the beginning leaves nothing of an earlier one that could be taken for its own. One that goes on
    has the best model of the iterations before it, also when it goes on in another folder.
    """
    best_model = settings.save_dir / "best_model"
    if not start or settings.resume_model is None:
        for folder in (*_checkpoints(settings.save_dir), best_model):
            shutil.rmtree(folder, ignore_errors=True)
        for path in (settings.save_dir / "train_log.json", *settings.save_dir.glob("vdlrecords.*.log")):
            path.unlink(missing_ok=True)
        return []
    before = settings.resume_model.parent
    is_elsewhere = before.resolve() != settings.save_dir.resolve()
    whole = _rows(before / "train_log.json")
    log = [row for row in whole if row["iter"] <= start]
    recent = settings.resume_model / RECENT
    open_window = [{"iter": start, "recent": read_json(recent)}] if recent.is_file() else []
    for folder in _checkpoints(settings.save_dir):  # all that can be refused has been read
        if is_elsewhere or int(folder.name.removeprefix("iter_")) > start:
            shutil.rmtree(folder)
    ranked = [max((row for row in rows if "ranking" in row), key=_ranking, default=None) for rows in (log, whole)]
    if ranked[0] is None:
        shutil.rmtree(best_model, ignore_errors=True)
        return log + open_window
    name = "model.pdema" if settings.use_ema else "model.pdparams"
    kept = before / ("best_model/model.pdparams" if ranked[0] == ranked[1] else f"iter_{ranked[0]['iter']}/{name}")
    if not kept.is_file():  # the next validation is then the best
        return [row for row in log if "ranking" not in row] + open_window
    if (record := kept.with_name(RECORD)).is_file():
        write_bytes(best_model / RECORD, record.read_bytes())
    write_bytes(best_model / "model.pdparams", kept.read_bytes())
    return log + open_window


def _rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a train_log.json; none where there is no such file. InputError where it is something else."""
    rows = read_json(path) if path.exists() else []
    if not isinstance(rows, list) or not all(
        isinstance(row, dict) and isinstance(row.get("iter"), int) and isinstance(row.get("ranking", 0.0), float | int)
        for row in rows
    ):
        raise InputError(f"{path}: is no log of a training; remove it")
    return rows


def _ranking(row: dict[str, Any]) -> float:
    return float(row["ranking"])


def _checkpoints(folder: Path) -> list[Path]:
    """The iter_N folders, by N."""
    found = [path for path in folder.glob("iter_*") if path.name.removeprefix("iter_").isdecimal()]
    return sorted(found, key=lambda path: int(path.name.removeprefix("iter_")))


def _stop_diverged(save_dir: Path, iteration: int, log: _Log) -> NoReturn:
    log.save()
    kept = _checkpoints(save_dir)
    mend = f"go on from {kept[-1]} with --resume_model and" if kept else "train again with"
    raise InputError(
        f"{save_dir}: the loss is no number any more at iteration {iteration}; {mend} a lower --learning_rate"
    )


def _resume(checkpoint: Path, iters: int, model: Any, optimizer: Any) -> int:
    """Load a checkpoint of an interrupted training; return the iteration it was written at."""
    number = re.fullmatch(r"iter_(\d+)", checkpoint.name)
    if number is None:
        raise InputError(f"{checkpoint}: --resume_model takes a folder iter_N of an earlier training")
    start = int(number[1])
    if not (checkpoint / "model.pdparams").is_file():
        raise InputError(f"{checkpoint}: has no model.pdparams; give a folder iter_N that a training left")
    if start >= iters:
        raise InputError(f"{checkpoint}: is at iteration {start} already, --iters is {iters}; ask for more")
    load_parameters(model, checkpoint / "model.pdparams")
    path = checkpoint / "model.pdopt"
    try:
        optimizer.set_state_dict(read_parameters(path))
    except (AssertionError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: is not of this config's optimizer ({' '.join(str(error).split())[:100]})") from None
    return start
