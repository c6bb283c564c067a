"""The start of a training: initial weights, and a folder that holds what belongs to the training so far."""

import shutil
from pathlib import Path
from typing import Any

import paddle

from regenhance_data.console import tell
from regenhance_data.errors import InputError, one_line
from regenhance_data.io.files import write_bytes
from regenhance_data.predictors.paddleseg.checkpoints import (
    AVERAGE,
    OPTIMIZER,
    RECORD,
    WEIGHTS,
    checkpoint_folders,
    load_trained_weights,
    read_paddle_state,
    read_training,
)
from regenhance_data.predictors.paddleseg.config import PredictorConfig
from regenhance_data.predictors.paddleseg.pretrained import GENERAL_WEIGHTS, OtherNetworkError, load_pretrained
from regenhance_data.predictors.paddleseg.settings import TrainSettings
from regenhance_data.predictors.paddleseg.train_log import LOG, History, best_validation, read_pending_losses, read_rows


def load_initial_weights(config: PredictorConfig, model: Any, optimizer: Any, settings: TrainSettings) -> None:
    """Load the checkpoint to resume into `model` and `optimizer`, or the config's pretrained weights into `model`."""
    if settings.resume_model:
        _load_checkpoint(settings, config, model, optimizer)
    elif settings.pretrained:
        for part, source in config.pretrained.items():
            _begin_with(config, model, part, source)


def _begin_with(config: PredictorConfig, model: Any, part: str, source: str) -> None:
    """Load pretrained weights. The kit's own are left out where the network is another one; others are refused then."""
    is_whole = config.is_on_grid and not part
    try:
        count = load_pretrained(model, part, source, all_but="head." if is_whole else None)
    except OtherNetworkError:
        if config.asks_for_pretrained or GENERAL_WEIGHTS not in Path(source).resolve().parents:
            raise
        said = f"{source}: are weights of another network or grid; this training begins with random weights"
    else:
        said = f"{part or 'model'}: begins with the pretrained weights of {source} ({count} tensors)"
    if paddle.distributed.ParallelEnv().rank == 0:
        print(said)


def _load_checkpoint(settings: TrainSettings, config: PredictorConfig, model: Any, optimizer: Any) -> None:
    checkpoint, iters = settings.resume_model, config.seg.iters
    assert checkpoint is not None
    if settings.start >= iters:
        raise InputError(f"{checkpoint}: is at iteration {settings.start} already, --iters is {iters}; ask for more")
    load_trained_weights(model, checkpoint / WEIGHTS)
    if paddle.distributed.ParallelEnv().rank == 0:
        _tell_what_differs(checkpoint, settings.recorded(config.seg.batch_size))
    path = checkpoint / OPTIMIZER
    try:
        optimizer.set_state_dict(read_paddle_state(path))
    except (AssertionError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: is not of this config's optimizer ({one_line(error)})") from None


def _tell_what_differs(checkpoint: Path, now: dict[str, int]) -> None:
    """Tell what else than in the training to resume makes the frames of an iteration; earlier kits recorded nothing."""
    before = read_training(checkpoint)
    changed = [f"{name} {before[name]}, now {value}" for name, value in now.items() if before.get(name, value) != value]
    if changed:
        tell(
            f"{checkpoint}: was trained with {'; '.join(changed)}: goes on with other batches than an uninterrupted "
            "training would get"
        )


def prepare_folder(settings: TrainSettings) -> History:
    """Bring `save_dir` to the state of the training's start; return the log up to there.

    A new training removes every file of an earlier one. A resumed one gets the log and the best model up to its
    checkpoint, also in another folder, and removes later checkpoints. All that can be refused is read before anything
    is removed.
    """
    best_model = settings.save_dir / "best_model"
    if not settings.start or settings.resume_model is None:
        for folder in (*checkpoint_folders(settings.save_dir), best_model):
            shutil.rmtree(folder, ignore_errors=True)
        for path in (settings.save_dir / LOG, *settings.save_dir.glob("vdlrecords.*.log")):
            path.unlink(missing_ok=True)
        return History()
    earlier = settings.resume_model.parent
    all_rows = read_rows(earlier / LOG)
    rows = [row for row in all_rows if row["iter"] <= settings.start]
    losses = read_pending_losses(settings.resume_model)
    is_elsewhere = earlier.resolve() != settings.save_dir.resolve()
    for folder in checkpoint_folders(settings.save_dir):
        if is_elsewhere or int(folder.name.removeprefix("iter_")) > settings.start:
            shutil.rmtree(folder)
    best = best_validation(rows)
    if best is None:
        shutil.rmtree(best_model, ignore_errors=True)
        return History(rows, losses)
    if best == best_validation(all_rows):
        weights = earlier / "best_model" / WEIGHTS
    else:
        weights = earlier / f"iter_{best['iter']}" / (AVERAGE if settings.use_ema else WEIGHTS)
    if not weights.is_file():  # then the next validation is the best
        return History([row for row in rows if "ranking" not in row], losses)
    _copy_model(weights, best_model)
    return History(rows, losses)


def _copy_model(weights: Path, folder: Path) -> None:
    if (record := weights.with_name(RECORD)).is_file():
        write_bytes(folder / RECORD, record.read_bytes())
    write_bytes(folder / WEIGHTS, weights.read_bytes())
