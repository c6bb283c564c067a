"""Train AccModel, the predictor of AccMPEG (Du et al., MLSys 2022), in PyTorch: a baseline for the other predictors.

It classifies each macroblock: worth enhancing, or not.
"""

import copy
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from regenhance_data.console import progress, warn
from regenhance_data.dataset.folder import evenly_spread
from regenhance_data.errors import InputError
from regenhance_data.io.files import write_json
from regenhance_data.io.images import read_image
from regenhance_data.io.leftovers import remove_unfinished
from regenhance_data.io.torch_weights import default_device
from regenhance_data.learning.loop import one_cycle
from regenhance_data.metrics.ranking import agreement
from regenhance_data.parallel.threads import bounded_map
from regenhance_data.predictors.accmodel.checkpoint import save_accmodel, start_from
from regenhance_data.predictors.accmodel.network import AccModel, frames_tensor, padded
from regenhance_data.predictors.accmodel.settings import NAME, AccModelTrainSettings
from regenhance_data.predictors.samples import Samples, one_size_batches

_WARM_UP = 0.2  # share of the steps in which the learning rate rises; then it falls along a cosine
_IGNORED = -1
_CLASS_WEIGHTS = (1.0, 2.0)  # of the macroblocks below and above the threshold, as published
_LOOKED_AT = 8  # validation frames, to see whether the training has diverged
_MOST_ROUNDING = 1e-3  # of importance; that of a sound model is below 1e-4
_POSITIVE_SHARE = 0.1  # of the training macroblocks, without a threshold: the budget that results are compared at


def train(training: Samples, validation: Samples, settings: AccModelTrainSettings) -> dict[str, Any]:
    """Train AccModel; return the row of the best epoch ({'epoch', 'loss', 'lr', 'ranking', …}, see ranking.agreement).

    Writes accmodel.pth (of the best `ranking` of the validation frames) and train_log.json (a row an epoch) to
    `save_dir`; those of an earlier training stay until an epoch is done. The backbone is trained too, as in AccMPEG's
    last version. InputError for importance without positive macroblocks, and when the loss is not finite; then, as
    after a KeyboardInterrupt, the file of the best epoch is kept.
    """
    device = torch_device(settings.device)
    threshold, targets = _targets(training, settings.threshold)
    torch.manual_seed(settings.seed)
    model = AccModel(training.mb_size, threshold)
    if settings.pretrained:
        start_from(model.network, settings.pretrained)
    model.to(device).to(memory_format=torch.channels_last)  # a third faster on a CPU
    optimizer = torch.optim.Adam(model.parameters(), settings.learning_rate)
    steps = settings.epochs * len(one_size_batches(training.sizes_hw, settings.batch_size, np.random.default_rng(0)))
    schedule = one_cycle(optimizer, settings.learning_rate, steps, _WARM_UP)
    weight = torch.tensor(_CLASS_WEIGHTS, device=device)

    model_path, log_path = settings.save_dir / f"{NAME}.pth", settings.save_dir / "train_log.json"
    remove_unfinished(settings.save_dir)
    log: list[dict[str, Any]] = []
    try:
        for epoch in range(1, settings.epochs + 1):
            model.train()
            losses = []
            for frames, wanted in _batches(training, targets, settings, epoch):
                logits = model(frames.to(device))
                loss = functional.cross_entropy(logits, wanted.to(device), weight, ignore_index=_IGNORED)
                losses.append(loss.item())
                _refuse_diverged(losses[-1], model_path, log)
                optimizer.zero_grad()
                loss.backward()
                (lr,) = schedule.get_last_lr()
                optimizer.step()
                schedule.step()
            row = {"epoch": epoch, "loss": float(np.mean(losses)), "lr": float(lr), **_validated(model, validation)}
            _refuse_diverged(row["ranking"], model_path, log)
            is_ranked = row["frames"] > 0
            if not is_ranked or row["ranking"] > max((earlier["ranking"] for earlier in log), default=-math.inf):
                save_accmodel(model, model_path)
            log.append(row)
            write_json(log_path, log)
            shown = [key for key in row if key != "frames" and (is_ranked or key in ("epoch", "loss", "lr"))]
            print("  ".join(f"{key} {row[key]:.3g}" for key in shown), flush=True)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"{model_path} is the best epoch so far" if log else "no epoch was finished") from None
    if not log[-1]["frames"]:
        warn(
            f"{validation.dataset.root}: no frame of the validation block has importance, so nothing can be ranked: "
            f"{model_path} is that of the last epoch; give validation frames with objects (--split_by clip, more video)"
        )
        return log[-1]
    return max(log, key=lambda row: row["ranking"])


def torch_device(name: str | None) -> torch.device:
    """The device of the settings' 'cpu', 'gpu' or None. InputError where there is no GPU."""
    if name == "gpu" and not torch.cuda.is_available():
        raise InputError("--device gpu: PyTorch finds no GPU here; use --device cpu")
    return torch.device("cpu") if name == "cpu" else default_device()


def _refuse_diverged(value: float, model_path: Path, log: list[dict[str, Any]]) -> None:
    if not math.isfinite(value):
        kept = f"{model_path} is that of an earlier epoch" if log else "nothing was written"
        raise InputError(
            f"{model_path.parent}: the loss is not finite in epoch {len(log) + 1}; {kept}; "
            "train again with a lower --learning_rate"
        )


def refuse_diverged_model(model: AccModel, validation: Samples, model_path: Path) -> None:
    """InputError where the importance of validation frames is the same everywhere, or not finite, or that of rounding:
    in double precision it is another one.
    """
    exact = copy.deepcopy(model).double().eval()
    found = []  # [2, macroblocks] of each frame
    for path, _ in evenly_spread(validation.paths, _LOOKED_AT):
        frame = read_image(path)[None]
        with torch.inference_mode():
            expected = exact(frames_tensor(frame).double()).softmax(1)[:, 1].numpy()
        found.append(np.stack([model.importance(frame).ravel(), expected.ravel()]))
    single, double = np.concatenate(found, axis=1)
    if np.ptp(single) == 0 or not np.abs(single - double).max() <= _MOST_ROUNDING:
        raise InputError(
            f"{model_path}: the training has diverged: its importance is the same everywhere, or made by rounding; "
            "train again with --overwrite and a lower --learning_rate"
        )


def _targets(samples: Samples, threshold: float | None) -> tuple[float, list[np.ndarray]]:
    """(threshold, for each frame int64 [rows, cols]: 1 where normalised importance is above it, 0, or _IGNORED)."""
    normaliser = samples.dataset.record.read_normaliser()
    importance = list(samples.importance())
    known = [~np.isnan(cells) for cells in importance]
    normalised = [normaliser(cells[is_known]) for cells, is_known in zip(importance, known, strict=True)]
    values = np.concatenate(normalised)
    if threshold is None and values.size:
        threshold = float(np.quantile(values, 1 - _POSITIVE_SHARE))
    if threshold is None or not (values > threshold).any():
        raise InputError(
            f"{samples.dataset.root}: no macroblock of the training frames is above the threshold {threshold}; "
            "give a lower --threshold, or look at the importance with tools/report_dataset.py"
        )
    targets = [np.full(cells.shape, _IGNORED, np.int64) for cells in importance]
    for target, is_known, of_known in zip(targets, known, normalised, strict=True):
        target[is_known] = of_known > threshold
    return threshold, targets


def _batches(
    samples: Samples, targets: list[np.ndarray], settings: AccModelTrainSettings, epoch: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The batches of an epoch, (frames [N, 3, H, W] in 0..1, targets [N, rows, cols]), each frame mirrored or not.

    Frames are padded to whole macroblocks first: a mirrored frame then has the same macroblocks.
    """
    rng = np.random.default_rng([settings.seed, epoch])
    groups = one_size_batches(samples.sizes_hw, settings.batch_size, rng)
    # batch normalisation needs two frames where a feature map has one position
    pairs = [group * 2 if len(group) == 1 else group for group in groups]
    jobs = [(group, torch.from_numpy(rng.random(len(group)) < 0.5)) for group in pairs]

    def batch(job: tuple[list[int], torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        group, mirrored = job
        images = np.stack([read_image(samples.paths[index][0]) for index in group])
        frames, wanted = (
            padded(frames_tensor(images), samples.mb_size),
            torch.from_numpy(np.stack([targets[i] for i in group])),
        )
        frames = torch.where(mirrored[:, None, None, None], frames.flip(3), frames)
        return frames, torch.where(mirrored[:, None, None], wanted.flip(2), wanted)

    yield from progress(bounded_map(batch, jobs), f"epoch {epoch}/{settings.epochs}", len(jobs), "batch")


def _validated(model: AccModel, samples: Samples) -> dict[str, float]:
    """How well the model ranks the macroblocks of each frame, see ranking.agreement."""
    images = bounded_map(lambda paths: read_image(paths[0]), samples.paths)
    predicted = (model.importance(image[None])[0] for image in progress(images, "validate", len(samples)))
    return agreement(zip(predicted, samples.importance(), strict=True))
