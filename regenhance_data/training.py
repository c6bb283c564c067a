"""Train and validate a predictor over PaddleSeg's pieces.

PaddleSeg 2.8's own core.train and core.val fail on Paddle 3's 0-d tensors, and judge by mIoU; what counts here is the
order of a frame's macroblocks.
"""

import random
import re
import shutil
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddleseg.core.train import loss_computation
from tqdm import tqdm

from regenhance_data.cli import InputError, progress
from regenhance_data.files import read_json, write_bytes, write_json
from regenhance_data.grid import MacroblockGrid
from regenhance_data.labels import IGNORED
from regenhance_data.predictors import PredictorConfig, expected_level, load_weights, read_state, write_state
from regenhance_data.ranking import agreement
from regenhance_data.samples import Samples, one_size_batches


@dataclass(frozen=True)
class TrainSettings:
    """How a training runs. `save_interval`, `log_iters` count iterations; `keep_checkpoints` of iter_N are left.

    ema_decay: of the moving average of the weights that is validated and kept as the best model, 0 for no average.
    """

    save_dir: Path
    seed: int = 0
    save_interval: int = 100
    log_iters: int = 20
    num_workers: int = 0
    keep_checkpoints: int = 5
    resume_model: Path | None = None
    ema_decay: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.ema_decay < 1:
            raise InputError(f"--ema_decay {self.ema_decay}: expected 0 (no average) or more, below 1")
        for name, least in (("seed", 0), ("save_interval", 1), ("log_iters", 1), ("num_workers", 0)):
            if getattr(self, name) < least:
                raise InputError(f"--{name} {getattr(self, name)}: expected at least {least}")


class _Average:
    """The exponential moving average of a network's state: smoother than any one moment of a short training.

    It begins at the network's present state, which is that after `steps` iterations. `state` is what it stands at. The
    first iterations count for more, as if the average had just begun.
    """

    def __init__(self, model: Any, decay: float, steps: int) -> None:
        self._decay, self._steps = decay, steps
        self._model_state = model.state_dict()
        self.state = {name: tensor.clone() for name, tensor in self._model_state.items()}

    @paddle.no_grad()
    def follow(self) -> None:
        """Move on by the network's present state."""
        self._steps += 1
        decay = min(self._decay, self._steps / (10 + self._steps))
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


class _Prepared(paddle.io.Dataset):
    """Frames through the config's transforms. An item is asked for by (index, seed) and depends on nothing else."""

    def __init__(self, samples: Samples, transforms: Any) -> None:
        self._samples, self._transforms = samples, transforms

    def __getitem__(self, key: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        index, seed = key
        random.seed(seed)  # PaddleSeg's transforms draw from both
        np.random.seed(seed)
        image, label = self._samples.read(index)
        bgr = image[:, :, ::-1].astype(np.float32)
        data = self._transforms({"img": bgr, "label": label, "gt_fields": ["label"], "trans_info": []})
        return data["img"], data["label"].astype(np.int64)

    def __len__(self) -> int:
        return len(self._samples)


class _Batches(paddle.io.BatchSampler):
    """Iterations `start`+1 … `stop`, each a list of (index, seed); one batch has frames of one size.

    Every epoch is a new order, made from the seed and its number alone, so that a resumed training goes on with the
    very batches the uninterrupted one would have had.
    """

    def __init__(self, sizes_hw: list[tuple[int, int]], batch_size: int, start: int, stop: int, seed: int) -> None:
        self._sizes_hw, self._size, self._seed = sizes_hw, batch_size, seed
        self._start, self._stop = start, stop

    def __len__(self) -> int:
        return self._stop - self._start

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        iteration, epoch = 0, 0
        while iteration < self._stop:
            for batch in one_size_batches(self._sizes_hw, self._size, np.random.default_rng([self._seed, epoch])):
                iteration += 1
                if self._start < iteration <= self._stop:
                    draws = np.random.default_rng([self._seed, epoch, iteration]).integers(2**31, size=len(batch))
                    yield list(zip(batch, draws.tolist(), strict=True))
            epoch += 1


def train(config: PredictorConfig, training: Samples, validation: Samples, settings: TrainSettings) -> dict[str, Any]:
    """Train to the config's `iters`; return the validation of the best checkpoint ({'iter', 'ranking', …}).

    Writes iter_N/model.pdparams, .pdopt and .pdema every `save_interval` iterations, best_model/ (of the averaged
    weights, .pdema, the best `ranking` of the validation frames, see ranking.agreement) and train_log.json (rows of
    iter, loss, lr; rows of a validation).
    InputError when the loss stops being a number; the checkpoints written before are kept.
    """
    iters, batch_size = config.seg.iters, config.seg.batch_size
    paddle.seed(settings.seed)
    model, losses, optimizer = config.build("model"), config.build("loss"), config.build("optimizer")
    start = _resume(settings.resume_model, iters, model, optimizer) if settings.resume_model else 0
    average = _average(settings, model, start)
    log_path = settings.save_dir / "train_log.json"
    log = _start_folder(settings, start)
    validations = [row for row in log if "ranking" in row]
    saved = deque(_checkpoints(settings.save_dir)) if start else deque()

    loader = paddle.io.DataLoader(
        _Prepared(training, config.transforms("train_dataset")),
        batch_sampler=_Batches(training.sizes_hw, batch_size, start, iters, settings.seed),
        num_workers=settings.num_workers,
    )
    bar = tqdm(loader, "train", iters, initial=start, unit="iter", disable=not sys.stderr.isatty(), leave=False)
    model.train()
    recent: list[float] = []
    since, images_seen = time.monotonic(), 0
    for iteration, (images, labels) in enumerate(bar, start + 1):
        paddle.seed(settings.seed + iteration)  # dropout of a resumed training is that of the uninterrupted one
        lr = optimizer.get_lr()
        loss = sum(loss_computation(model(images), labels, None, losses))
        recent.append(float(loss))
        if not np.isfinite(recent[-1]):
            _stop_diverged(settings.save_dir, iteration, log)
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        if average is not None:
            average.follow()
        if isinstance(optimizer._learning_rate, paddle.optimizer.lr.LRScheduler):
            optimizer._learning_rate.step()
        images_seen += images.shape[0]

        if iteration % settings.log_iters == 0 or iteration == iters:
            rate = images_seen / (time.monotonic() - since)
            row = {"iter": iteration, "loss": float(np.mean(recent)), "lr": float(lr), "images_per_s": round(rate, 2)}
            log.append(row)
            left_s = (iters - iteration) * batch_size / rate
            bar.write(
                f"iter {iteration}/{iters}  loss {row['loss']:.4f}  lr {lr:.6f}  {rate:.1f} images/s  "
                f"{tqdm.format_interval(left_s)} left"
            )
            recent, images_seen, since = [], 0, time.monotonic()
        if iteration % settings.save_interval == 0 or iteration == iters:
            paused = time.monotonic()
            state = model.state_dict()
            if not all(np.isfinite(tensor.numpy()).all() for tensor in state.values()):
                _stop_diverged(settings.save_dir, iteration, log)
            with average.in_place() if average else nullcontext():
                row = {"iter": iteration, **validate(model, config, validation)}
                if row["ranking"] > max(map(_ranking, validations), default=-np.inf):
                    write_state(settings.save_dir / "best_model" / "model.pdparams", state)
            validations.append(row)
            log.append(row)
            write_json(log_path, log)
            # last, and its weights last of all: a checkpoint that is there has its validation and its optimizer
            checkpoint = settings.save_dir / f"iter_{iteration}"
            write_state(checkpoint / "model.pdopt", optimizer.state_dict())
            if average is not None:
                write_state(checkpoint / "model.pdema", average.state)
            write_state(checkpoint / "model.pdparams", state)
            saved.append(checkpoint)
            while len(saved) > settings.keep_checkpoints:
                shutil.rmtree(saved.popleft())
            bar.write(f"iter {iteration}/{iters}  validation: {describe(row)}")
            model.train()
            since += time.monotonic() - paused
    return max(validations, key=_ranking)


def _average(settings: TrainSettings, model: Any, start: int) -> _Average | None:
    """The average of a training from the beginning, or of the one that goes on; None where none is asked for."""
    if not settings.ema_decay:
        return None
    if settings.resume_model is None:
        return _Average(model, settings.ema_decay, 0)
    load_weights(model, settings.resume_model / "model.pdema")
    average = _Average(model, settings.ema_decay, start)
    load_weights(model, settings.resume_model / "model.pdparams")
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
        return []
    before = settings.resume_model.parent
    whole = read_json(before / "train_log.json") if (before / "train_log.json").exists() else []
    log = [row for row in whole if row["iter"] <= start]
    ranked = [max((row for row in rows if "ranking" in row), key=_ranking, default=None) for rows in (log, whole)]
    if ranked[0] is None:
        return log
    name = "model.pdema" if settings.ema_decay else "model.pdparams"
    kept = before / ("best_model/model.pdparams" if ranked[0] == ranked[1] else f"iter_{ranked[0]['iter']}/{name}")
    if not kept.is_file():  # the next validation is then the best
        return [row for row in log if "ranking" not in row]
    write_bytes(best_model / "model.pdparams", kept.read_bytes())
    return log


def _ranking(row: dict[str, Any]) -> float:
    return float(row["ranking"])


def _checkpoints(folder: Path) -> list[Path]:
    """The iter_N folders, by N."""
    found = [path for path in folder.glob("iter_*") if path.name.removeprefix("iter_").isdecimal()]
    return sorted(found, key=lambda path: int(path.name.removeprefix("iter_")))


def _stop_diverged(save_dir: Path, iteration: int, log: list[dict[str, Any]]) -> None:
    write_json(save_dir / "train_log.json", log)
    raise InputError(
        f"{save_dir}: the loss is no number any more at iteration {iteration}; "
        "the checkpoints before it are kept, go on from one with --resume_model and a lower --learning_rate"
    )


def _resume(checkpoint: Path, iters: int, model: Any, optimizer: Any) -> int:
    """Load a checkpoint of an interrupted training; return the iteration it was written at."""
    number = re.fullmatch(r"iter_(\d+)", checkpoint.name)
    if number is None:
        raise InputError(f"{checkpoint}: --resume_model takes a folder iter_N of an earlier training")
    start = int(number[1])
    if start >= iters:
        raise InputError(f"{checkpoint}: is at iteration {start} already, --iters is {iters}; ask for more")
    load_weights(model, checkpoint / "model.pdparams")
    path = checkpoint / "model.pdopt"
    try:
        optimizer.set_state_dict(read_state(path))
    except (AssertionError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: is not of this config's optimizer ({' '.join(str(error).split())[:100]})") from None
    return start


def predict_level(model: Any, images: Any) -> tuple[Any, Any]:
    """(logits, expected level) of prepared images: [N, 3, H, W] → [N, K, h, w] and [N, h, w] in [0, 1].

    h, w are H, W, or rows and columns of the macroblocks where the network goes straight to these.
    """
    with paddle.no_grad():
        logits = model(images)[0]
        return logits, expected_level(logits)


def validate(model: Any, config: PredictorConfig, samples: Samples) -> dict[str, float]:
    """Ranking of the macroblocks against the true importance, per frame, and mIoU of the levels for the record."""
    prepared = _Prepared(samples, config.transforms("val_dataset"))
    confusion = np.zeros((config.num_classes, config.num_classes), np.int64)
    model.eval()

    def pairs() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for index, truth in enumerate(progress(samples.importance(), "validate", len(samples))):
            image, label = prepared[index, 0]
            logits, level = predict_level(model, paddle.to_tensor(image[None]))
            grid = MacroblockGrid(label.shape[0], label.shape[1], samples.mb_size)
            is_on_grid = tuple(level.shape[1:]) == grid.shape
            if is_on_grid:
                label = label[:: grid.mb_size, :: grid.mb_size]
            known = label != IGNORED
            both = label[known] * config.num_classes + logits.argmax(1)[0].numpy()[known]
            confusion.ravel()[:] += np.bincount(both, minlength=confusion.size)
            yield level[0].numpy() if is_on_grid else grid.mean(level[0].numpy()), truth

    ranks = agreement(pairs())
    union = confusion.sum(0) + confusion.sum(1) - confusion.diagonal()
    miou = float((confusion.diagonal()[union > 0] / union[union > 0]).mean()) if union.any() else 0.0
    return {**ranks, "miou": miou}


def describe(row: dict[str, Any]) -> str:
    """A validation in one line."""
    return "  ".join(f"{name} {value:.3f}" for name, value in row.items() if isinstance(value, float))
