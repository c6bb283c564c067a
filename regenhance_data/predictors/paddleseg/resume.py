"""The start of a training: initial weights, and a folder that holds what belongs to the training so far."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import paddle

from regenhance_data.console import tell, warn
from regenhance_data.errors import InputError, one_line
from regenhance_data.io.files import write_bytes
from regenhance_data.predictors.paddleseg.checkpoints import (
    AVERAGE,
    FRAMES,
    ITERATION,
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
from regenhance_data.predictors.paddleseg.train_log import (
    LOG,
    History,
    best_validation,
    read_pending_losses,
    read_rows,
    without_best,
)


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
    path = checkpoint / OPTIMIZER
    try:
        optimizer.set_state_dict(read_paddle_state(path))
    except (AssertionError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: is not of this config's optimizer ({one_line(error)})") from None


def prepare_folder(settings: TrainSettings, training: Mapping[str, int | str]) -> History:
    """Bring `save_dir` to the state of the training's start; return the log up to there.

    A new training removes every file of an earlier one. A resumed one gets the log and the best model up to its
    checkpoint, also in another folder, and removes later checkpoints. Where the best model is not there any more, or
    `training` (what predictor.yaml will say of it) has other frames, the validations so far do not count, and a line
    says so. All that can be refused is read before anything is removed.
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
    if _tell_what_differs(settings.resume_model, training):
        rows = without_best(rows)
    is_elsewhere = earlier.resolve() != settings.save_dir.resolve()
    for folder in checkpoint_folders(settings.save_dir):
        if is_elsewhere or int(folder.name.removeprefix("iter_")) > settings.start:
            shutil.rmtree(folder)
    best = best_validation(rows)
    weights = _best_weights(earlier, best["iter"], settings.use_ema, all_rows) if best else None
    if weights is not None:
        _copy_model(weights, best_model)
        return History(rows, losses)
    if best:
        tell(
            f"{earlier}: the weights of its best validation so far, of iteration {best['iter']}, are gone; the best "
            "model is the best of the validations from here on"
        )
    shutil.rmtree(best_model, ignore_errors=True)
    return History(without_best(rows), losses)


def _tell_what_differs(checkpoint: Path, now: Mapping[str, int | str]) -> bool:
    """Tell what is not as in the training to resume, where its kit recorded it; whether the frames are others."""
    before = read_training(checkpoint)
    changed = [name for name, value in now.items() if before.get(name, value) != value]
    if sizes := [f"{name} {before[name]}, now {now[name]}" for name in changed if name != FRAMES]:
        tell(
            f"{checkpoint}: was trained with {'; '.join(sizes)}: goes on with other batches than an uninterrupted "
            "training would get"
        )
    if FRAMES in changed:
        warn(
            f"{checkpoint}: was trained with other frames, labels or importance than these: its validations so far do "
            "not count for the best model, and it may know frames that it is validated on; to compare, train anew"
        )
    return FRAMES in changed


def _best_weights(earlier: Path, iteration: int, use_ema: bool, all_rows: list[dict[str, Any]]) -> Path | None:
    """The file with the best weights of a training, which are of an iteration; None where they are gone."""
    checkpoint = earlier / f"iter_{iteration}" / (AVERAGE if use_ema else WEIGHTS)
    if checkpoint.is_file():
        return checkpoint
    last_best = best_validation(all_rows)
    # earlier kits recorded no iteration
    kept = read_training(earlier / "best_model").get(ITERATION, last_best and last_best["iter"])
    weights = earlier / "best_model" / WEIGHTS
    return weights if kept == iteration and weights.is_file() else None


def _copy_model(weights: Path, folder: Path) -> None:
    if (record := weights.with_name(RECORD)).is_file():
        write_bytes(folder / RECORD, record.read_bytes())
    write_bytes(folder / WEIGHTS, weights.read_bytes())
