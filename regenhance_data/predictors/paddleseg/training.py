"""Train a predictor with PaddleSeg's components, in one process or several.

PaddleSeg 2.8's own core.train and core.val fail on Paddle 3's 0-d tensors, and select the best model by mIoU; here it
is selected by the ranking of a frame's macroblocks.
"""

import shutil
import signal
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import paddle
from tqdm import tqdm

from regenhance_data import cli
from regenhance_data.errors import InputError
from regenhance_data.io.files import atomic_folder, digest
from regenhance_data.predictors.paddleseg.batches import Batch, Batches, PreparedFrames
from regenhance_data.predictors.paddleseg.checkpoints import (
    AVERAGE,
    FRAMES,
    ITERATION,
    OPTIMIZER,
    checkpoint_folders,
    complete_checkpoints,
    write_model,
    write_paddle_state,
)
from regenhance_data.predictors.paddleseg.config import PredictorConfig
from regenhance_data.predictors.paddleseg.moving_average import MovingAverage, initial_average
from regenhance_data.predictors.paddleseg.optimizer_step import OptimizerStep
from regenhance_data.predictors.paddleseg.resume import load_initial_weights, prepare_folder
from regenhance_data.predictors.paddleseg.settings import TrainSettings
from regenhance_data.predictors.paddleseg.stopping import stop_signals
from regenhance_data.predictors.paddleseg.train_log import History, TrainLog, best_validation
from regenhance_data.predictors.paddleseg.trial import try_out
from regenhance_data.predictors.paddleseg.validation import NotFiniteError, ValidationStopped, validate
from regenhance_data.predictors.samples import Samples


@dataclass
class CheckpointWriter:
    """Validates the network and writes its checkpoints and the best model, in the first process of a training.

    scale: of the dataset. training: what predictor.yaml says of it.
    """

    config: PredictorConfig
    settings: TrainSettings
    scale: int
    training: Mapping[str, int | str]
    model: Any
    optimizer: Any
    average: MovingAverage | None
    log: TrainLog
    _is_best: bool = field(default=False, init=False)

    def validate(self, iteration: int, validation: Samples, bar: tqdm, stops: Callable[[], bool]) -> None:
        """Validate the network, or its average; where it is the best so far, `save` makes it the best model.

        Where nothing can be ranked, the last one is the best. A validation that `stops` ends is left out.
        """
        self._refuse_not_finite(iteration)
        with self._averaged():
            try:
                row = {"iter": iteration, **validate(self.model, self.config, validation, stops)}
            except ValidationStopped:
                return
            except NotFiniteError:
                _raise_diverged(self.settings.save_dir, iteration, self.log)
        self._is_best = best_validation([*self.log.validations, row]) is row
        self.log.validation(bar, row)

    def save(self, iteration: int) -> None:
        """Write iter_N, then best_model if it is that, and remove the oldest checkpoints.

        In this order the best model of the newest iter_N is always in one of them, wherever the process is killed.
        """
        self._refuse_not_finite(iteration)
        with atomic_folder(self.settings.save_dir / f"iter_{iteration}") as checkpoint:
            self.log.save(checkpoint)
            write_paddle_state(checkpoint / OPTIMIZER, self.optimizer.state_dict())
            if self.average is not None:
                write_paddle_state(checkpoint / AVERAGE, self.average.state)
            self._write_model(checkpoint, iteration)
        if self._is_best:
            with self._averaged():
                self._write_model(self.settings.save_dir / "best_model", iteration)
            self._is_best = False
        for old in checkpoint_folders(self.settings.save_dir)[: -self.settings.keep_checkpoints]:
            shutil.rmtree(old)

    def _averaged(self) -> AbstractContextManager[None]:
        """The network has the moving average of its weights, if there is one, inside the block."""
        return self.average.applied() if self.average else nullcontext()

    def _write_model(self, folder: Path, iteration: int) -> None:
        network = {**self.config.record, "scale": self.scale}
        write_model(folder, self.model.state_dict(), network, {**self.training, ITERATION: iteration})

    def _refuse_not_finite(self, iteration: int) -> None:
        if not all(np.isfinite(tensor.numpy()).all() for tensor in self.model.state_dict().values()):
            _raise_diverged(self.settings.save_dir, iteration, self.log)


def train(config: PredictorConfig, training: Samples, validation: Samples, settings: TrainSettings) -> dict[str, Any]:
    """Train to the config's `iters`; return the validation of the best model ({'iter', 'ranking', …}).

    Writes iter_N/model.pdparams, .pdopt and .pdema every `save_interval` iterations, best_model/ (the weights, with
    use_ema their average, that have the best `ranking` on the validation frames, see ranking.agreement) and
    train_log.json. Under paddle.distributed.launch only the first process writes and validates; the others return {}.
    InputError when the loss is not finite; earlier checkpoints are kept. On SIGTERM or SIGINT the iteration is
    finished and written, then SystemExit is raised with the exit code of a process that the signal ended.
    """
    iters = config.seg.iters
    paddle.seed(settings.seed)
    model, losses, optimizer = config.build("model"), config.build("loss"), config.build("optimizer")
    load_initial_weights(config, model, optimizer, settings)
    step = OptimizerStep(model, losses, optimizer, settings.accumulate_steps, settings.precision, config.path)
    average = initial_average(settings, model)
    try_out(config, model, step, training, validation)
    # everything but a broken log has been refused by now: files of an earlier training can be removed
    record = {**settings.recorded(config.seg.batch_size), FRAMES: digest([training.digest(), validation.digest()])}
    history = prepare_folder(settings, record) if step.is_first else History()
    log = TrainLog(history, settings, iters, config.seg.batch_size * step.parts, writes=step.is_first)
    writer = CheckpointWriter(config, settings, training.dataset.scale, record, model, optimizer, average, log)

    is_shown = step.is_first and sys.stderr.isatty()
    bar = tqdm(total=iters, desc="train", initial=settings.start, unit="iter", disable=not is_shown, leave=False)
    model.train()
    stopping, words = stop_signals(exit_on_second=step.processes == 1), cli.last_words(lambda: _given_up(settings))
    with bar, closing(_batches(config, training, settings, step)) as batches, words, stopping as signals:
        for iteration in range(settings.start + 1, iters + 1):
            lr = float(optimizer.get_lr())
            loss = step.run(list(islice(batches, settings.accumulate_steps)), settings.seed + iteration)
            if not np.isfinite(loss):
                _raise_diverged(settings.save_dir, iteration, log)
            if average is not None:
                average.update()
            log.iteration(bar, iteration, loss, lr)
            stop_requested = step.in_any_process(bool(signals))
            validates = iteration % settings.save_interval == 0 or iteration == iters
            if validates or stop_requested:
                step.average_statistics(model.state_dict())
                if average is not None:
                    step.average_statistics(average.state)
                with log.paused():
                    if step.is_first and validates:
                        writer.validate(iteration, validation, bar, lambda: bool(signals))
                    if step.is_first:
                        writer.save(iteration)
                model.train()
            if stop_requested and iteration < iters:
                _exit_stopped(settings, iteration, signals, step.is_first)
            if validates and step.in_any_process(step.is_first and _stops_early(settings, log)):
                bar.write(f"iter {iteration}: no better validation in the last {settings.early_stop_intervals}")
                break
    return (best_validation(log.validations) or {}) if step.is_first else {}


def _batches(
    config: PredictorConfig, training: Samples, settings: TrainSettings, step: OptimizerStep
) -> Generator[Batch]:
    """The batches of this process from the iteration to resume on."""
    frames = config.seg.batch_size * step.parts
    order = Batches(
        training.sizes_hw, frames, settings.start, config.seg.iters, settings.seed, step.parts, step.own_parts
    )
    yield from PreparedFrames(training, config, "train_dataset").batches(order, settings.num_workers)


def _exit_stopped(settings: TrainSettings, iteration: int, signals: list[int], is_first: bool) -> NoReturn:
    """Exit with the code of a process that a signal ended; `signals` is empty where another process received it."""
    if is_first:
        print(
            f"stopped at iteration {iteration}; to resume, give the same command with "
            f"--resume_model {settings.save_dir / f'iter_{iteration}'}",
            file=sys.stderr,
        )
    raise SystemExit(128 + (signals or [signal.SIGTERM])[0])


def _given_up(settings: TrainSettings) -> str:
    """What is said of an iteration that took too long to be finished after a signal."""
    kept = complete_checkpoints(settings.save_dir)
    how = f"to resume, give the same command with --resume_model {kept[-1]}" if kept else "nothing was kept yet"
    return f"stopped in the middle of an iteration; {how}"


def _stops_early(settings: TrainSettings, log: TrainLog) -> bool:
    """Whether none of the last `early_stop_intervals` validations is better than all before them."""
    if settings.early_stop_intervals is None:
        return False
    best = best_validation(log.validations)
    return sum(row["iter"] > best["iter"] for row in log.validations if best) >= settings.early_stop_intervals


def _raise_diverged(save_dir: Path, iteration: int, log: TrainLog) -> NoReturn:
    log.save()
    kept = complete_checkpoints(save_dir)
    fix = f"resume from {kept[-1]} with --resume_model and" if kept else "train again with"
    raise InputError(f"{save_dir}: the loss is not finite at iteration {iteration}; {fix} a lower --learning_rate")
