"""AccModel, the predictor of AccMPEG (Du et al., MLSys 2022), in PyTorch: a baseline to hold the others against.

MobileNetV2-SSD-lite sees the frame; what it has at six scales, and what its six heads say of 21 classes, is laid over
the grid of macroblocks, and three convolutions make two classes of it: worth enhancing, or not.
"""

import math
import pickle
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from torch import nn
from torch.nn import functional
from torchvision.models.mobilenetv2 import InvertedResidual
from torchvision.ops import Conv2dNormActivation

from regenhance_data.cli import InputError, progress
from regenhance_data.dataset.folder import MB_SIZE, MOST_MB_SIZE
from regenhance_data.io.files import bounded_map, read_image, remove_unfinished, write_json, written_whole
from regenhance_data.metrics.ranking import agreement
from regenhance_data.predictors.samples import Samples, one_size_batches
from regenhance_data.stages.make_seg_dataset import recorded_normaliser
from regenhance_data.upscalers import pytorch

KIND = "regenhance-kit accmodel"
NAME = "accmodel"
# What MobileNetV2-SSD was trained with: (255 · RGB − 127) / 128, here as (RGB − MEAN) / STD.
MEAN, STD = 127 / 255, 128 / 255
# Of 141 frames of a highway, from random weights. Ranking on the validation frames: 0.681 at a rate of 1e-3, 0.709 at
# 3e-3, both reached by half of the epochs and not passed after.
EPOCHS, LEARNING_RATE = 15, 3e-3
_WARM_UP = 0.2  # the share of the steps in which the rate rises to it; then it falls along a cosine
_SSD_OUTPUTS = 6 * 21  # six boxes a place, the 20 classes of Pascal VOC and the background
_TAPPED_BLOCK = 14  # SSD-lite's first feature map is the expansion of this block, the last one of stride 16
_WIDTHS = (576, 1280, 512, 256, 256, 64)  # channels of the six feature maps, of strides 16 to 512
_EXPANSIONS = (0.2, 0.25, 0.5, 0.25)  # of the four blocks that make the last of them
_HIDDEN = 16
_IGNORED = -1
_CLASS_WEIGHTS = (1.0, 2.0)  # of the macroblocks below and above the threshold, as published
_POSITIVE_SHARE = 0.1  # of the training macroblocks, where no threshold is given: the budget that results are read at
_SSD_PARTS = {"base_net": "features", "extras": "extras", "classification_headers": "heads"}


class AccNetwork(nn.Module):
    """Normalised frames float32 [N, 3, H, W] → logits [N, 2, ceil(H / mb_size), ceil(W / mb_size)], of any size."""

    def __init__(self, mb_size: int = MB_SIZE) -> None:
        super().__init__()
        self.mb_size = mb_size
        self.features = torchvision.models.mobilenet_v2(num_classes=1).features
        self.extras = nn.ModuleList(
            InvertedResidual(inputs, outputs, stride=2, expand_ratio=ratio)
            for inputs, outputs, ratio in zip(_WIDTHS[1:], _WIDTHS[2:], _EXPANSIONS, strict=False)
        )
        self.heads = nn.ModuleList(_head(width) for width in _WIDTHS)
        inputs = sum(_WIDTHS) + len(_WIDTHS) * _SSD_OUTPUTS
        self.process = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.Conv2d(inputs, _HIDDEN, 3, padding=1),
            nn.ReLU(),
            nn.BatchNorm2d(_HIDDEN),
            nn.Conv2d(_HIDDEN, _HIDDEN, 3, padding=1),
            nn.ReLU(),
            nn.BatchNorm2d(_HIDDEN),
            nn.Conv2d(_HIDDEN, 2, 3, padding=1),
            nn.BatchNorm2d(2),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = padded(x, self.mb_size)
        rows, cols = (int(side) // self.mb_size for side in x.shape[2:])
        maps = self._maps(x)
        seen = [head(features) for head, features in zip(self.heads, maps, strict=True)]
        return self.process(torch.cat([_on_grid(picture, rows, cols) for picture in (*seen, *maps)], 1))

    def _maps(self, x: torch.Tensor) -> list[torch.Tensor]:
        """The six feature maps of SSD-lite, each of half the last one's size."""
        expand, *rest = self.features[_TAPPED_BLOCK].conv
        maps = [expand(self.features[:_TAPPED_BLOCK](x))]
        x = maps[0]
        for layer in (*rest, *self.features[_TAPPED_BLOCK + 1 :]):
            x = layer(x)
        maps.append(x)
        for extra in self.extras:
            maps.append(extra(maps[-1]))
        return maps


class AccModel(nn.Module):
    """Frames float32 [N, 3, H, W] RGB in 0..1 → logits [N, 2, ceil(H / mb_size), ceil(W / mb_size)], of any size.

    threshold: the normalised importance above which a macroblock was worth enhancing in its training.
    """

    def __init__(self, mb_size: int = MB_SIZE, threshold: float = 0.5) -> None:
        super().__init__()
        self.network = AccNetwork(mb_size)
        self.threshold = threshold

    @property
    def mb_size(self) -> int:
        return self.network.mb_size

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        return self.network((frames - MEAN) / STD)

    def importance(self, frames: np.ndarray) -> np.ndarray:
        """How likely each macroblock is worth enhancing: uint8 [N, H, W, 3] RGB → float32 [N, rows, cols] in [0, 1]."""
        with torch.inference_mode():
            given = _tensor(frames).to(next(self.parameters()).device)
            return self.eval()(given).softmax(1)[:, 1].cpu().numpy()


def _head(width: int) -> nn.Module:
    if width == _WIDTHS[-1]:  # one place is left there, mostly
        return nn.Conv2d(width, _SSD_OUTPUTS, 1)
    depthwise = Conv2dNormActivation(width, width, 3, groups=width, bias=True, activation_layer=nn.ReLU6)
    return nn.Sequential(depthwise, nn.Conv2d(width, _SSD_OUTPUTS, 1))


def padded(frames: torch.Tensor, mb_size: int) -> torch.Tensor:
    """Frames [N, C, H, W] with their last row and column repeated until all macroblocks are whole."""
    height, width = (int(side) for side in frames.shape[2:])
    right, below = -width % mb_size, -height % mb_size
    return functional.pad(frames, (0, right, 0, below), mode="replicate") if right or below else frames


def _on_grid(picture: torch.Tensor, rows: int, cols: int) -> torch.Tensor:
    """The nearest place of [N, C, h, w] for each macroblock: [N, C, rows, cols].

    In whole numbers: functional.interpolate and ONNX's Resize round differently on grids of more than 100 columns.
    """
    for axis, (count, size) in enumerate(zip((rows, cols), picture.shape[2:], strict=True), 2):
        if count != int(size):
            picture = picture.index_select(axis, torch.arange(count, device=picture.device) * int(size) // count)
    return picture


def _tensor(frames: np.ndarray) -> torch.Tensor:
    """uint8 [N, H, W, 3] → float32 [N, 3, H, W] in 0..1."""
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float() / 255


@dataclass(frozen=True)
class TrainSettings:
    """How AccModel is trained.

    threshold: of the normalised importance, in [0, 1), above which a macroblock is worth enhancing; None takes what a
    tenth of the training macroblocks are above. pretrained: 'imagenet', the file of a MobileNetV2-SSD-lite, or None.
    """

    save_dir: Path
    epochs: int = EPOCHS
    batch_size: int = 8
    learning_rate: float = LEARNING_RATE
    threshold: float | None = None
    pretrained: str | None = None
    seed: int = 0
    device: torch.device = field(default_factory=pytorch.device)

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise InputError(f"--{name} {getattr(self, name)}: expected at least 1")
        if self.seed < 0:
            raise InputError(f"--seed {self.seed}: expected at least 0")
        if not 0 < self.learning_rate <= 1:
            raise InputError(f"--learning_rate {self.learning_rate}: expected more than 0, at most 1")
        if self.threshold is not None and not 0 <= self.threshold < 1:
            raise InputError(f"--threshold {self.threshold}: expected 0 or more, below 1")


def train(training: Samples, validation: Samples, settings: TrainSettings) -> dict[str, Any]:
    """Train AccModel; return the row of the best epoch ({'epoch', 'loss', 'lr', 'ranking', …}, see ranking.agreement).

    Writes accmodel.pth (of the best `ranking` of the validation frames) and train_log.json (a row an epoch) to
    `save_dir`, which keeps neither of an earlier training. The backbone learns too, as in AccMPEG's last version.
    InputError for importance that cannot be learned from, and when the loss stops being a number; the file of the best
    epoch before that is kept.
    """
    threshold, targets = _targets(training, settings.threshold)
    torch.manual_seed(settings.seed)
    model = AccModel(training.mb_size, threshold)
    if settings.pretrained:
        start_from(model.network, settings.pretrained)
    model.to(settings.device).to(memory_format=torch.channels_last)  # a third faster on a processor
    model_path, log_path = settings.save_dir / f"{NAME}.pth", settings.save_dir / "train_log.json"
    for path in (model_path, model_path.with_suffix(".onnx"), model_path.with_suffix(".parity.json"), log_path):
        path.unlink(missing_ok=True)
    remove_unfinished(settings.save_dir)

    optimizer = torch.optim.Adam(model.parameters(), settings.learning_rate)
    steps = settings.epochs * len(one_size_batches(training.sizes_hw, settings.batch_size, np.random.default_rng(0)))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.learning_rate, steps, pct_start=_WARM_UP)
    weight = torch.tensor(_CLASS_WEIGHTS, device=settings.device)
    log: list[dict[str, Any]] = []
    for epoch in range(1, settings.epochs + 1):
        model.train()
        losses = []
        for frames, wanted in _batches(training, targets, settings, epoch):
            logits = model(frames.to(settings.device))
            loss = functional.cross_entropy(logits, wanted.to(settings.device), weight, ignore_index=_IGNORED)
            losses.append(loss.item())
            _refuse_diverged(losses[-1], model_path, log)
            optimizer.zero_grad()
            loss.backward()
            (lr,) = schedule.get_last_lr()
            optimizer.step()
            schedule.step()
        row = {"epoch": epoch, "loss": float(np.mean(losses)), "lr": float(lr), **_validated(model, validation)}
        _refuse_diverged(row["ranking"], model_path, log)
        if row["ranking"] > max((earlier["ranking"] for earlier in log), default=-math.inf):
            save(model, model_path)
        log.append(row)
        write_json(log_path, log)
        print("  ".join(f"{key} {value:.3g}" for key, value in row.items() if key != "frames"), flush=True)
    return max(log, key=lambda row: row["ranking"])


def _refuse_diverged(value: float, model_path: Path, log: list[dict[str, Any]]) -> None:
    if not math.isfinite(value):
        kept = f"{model_path} is of an epoch before" if log else "nothing was written"
        raise InputError(
            f"{model_path.parent}: the loss is no number any more in epoch {len(log) + 1}; {kept}; "
            "train again with a lower --learning_rate"
        )


def _targets(samples: Samples, threshold: float | None) -> tuple[float, list[np.ndarray]]:
    """(threshold, for each frame int64 [rows, cols]: 1 where normalised importance is above it, 0, or _IGNORED)."""
    normaliser = recorded_normaliser(samples.dataset)
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
    samples: Samples, targets: list[np.ndarray], settings: TrainSettings, epoch: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The batches of an epoch, (frames [N, 3, H, W] in 0..1, targets [N, rows, cols]), each frame mirrored or not.

    Frames are made of whole macroblocks first, so that a mirrored frame has the same ones.
    """
    rng = np.random.default_rng([settings.seed, epoch])
    groups = one_size_batches(samples.sizes_hw, settings.batch_size, rng)
    # batch normalisation needs two frames where one place is left of each
    pairs = [group * 2 if len(group) == 1 else group for group in groups]
    jobs = [(group, torch.from_numpy(rng.random(len(group)) < 0.5)) for group in pairs]

    def batch(job: tuple[list[int], torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        group, mirrored = job
        images = np.stack([read_image(samples.paths[index][0]) for index in group])
        frames, wanted = (
            padded(_tensor(images), samples.mb_size),
            torch.from_numpy(np.stack([targets[i] for i in group])),
        )
        frames = torch.where(mirrored[:, None, None, None], frames.flip(3), frames)
        return frames, torch.where(mirrored[:, None, None], wanted.flip(2), wanted)

    yield from progress(bounded_map(batch, jobs), f"epoch {epoch}/{settings.epochs}", len(jobs), "batch")


def _validated(model: AccModel, samples: Samples) -> dict[str, float]:
    """How well the model orders the macroblocks of each frame, see ranking.agreement."""
    images = bounded_map(lambda paths: read_image(paths[0]), samples.paths)
    predicted = (model.importance(image[None])[0] for image in progress(images, "validate", len(samples)))
    return agreement(zip(predicted, samples.importance(), strict=True))


def save(model: AccModel, path: Path) -> None:
    """Write the model, whole or not at all; `load` reads it."""
    content = {
        "kit": KIND,
        "threshold": model.threshold,
        "mb_size": model.mb_size,
        "state": {name: tensor.contiguous() for name, tensor in model.network.state_dict().items()},
    }
    with written_whole(path) as temporary:
        torch.save(content, temporary)


def load(path: Path) -> AccModel:
    """The model that `save` wrote, on the GPU where there is one. Runs no code from the file; InputError for others."""
    if not path.is_file():
        raise InputError(f"{path}: no such model; make one with tools/train_accmodel.py")
    content = pytorch.read_weights(path)
    threshold, mb_size, state = (content.get(key) for key in ("threshold", "mb_size", "state"))
    if (
        content.get("kit") != KIND
        or type(threshold) is not float
        or type(mb_size) is not int
        or not 1 <= mb_size <= MOST_MB_SIZE
        or not isinstance(state, dict)
        or not all(isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in state.items())
        or any(value.is_complex() or value.dtype == torch.bool for value in state.values())
    ):
        raise InputError(f"{path}: is no AccModel of this kit; make one with tools/train_accmodel.py")
    model = AccModel(mb_size, threshold)
    try:
        model.network.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[-100:]
        raise InputError(f"{path}: its weights are not AccModel's ({reason}); train it again") from None
    _refuse_unless_finite(model.network, path)
    return model.to(pytorch.device())


def _refuse_unless_finite(network: nn.Module, path: Path) -> None:
    for name, tensor in network.state_dict().items():
        if not tensor.isfinite().all():
            raise InputError(f"{path}: {name} is NaN or infinite; the file is damaged, take another")


def start_from(network: AccNetwork, pretrained: str) -> None:
    """Give the network the weights of `pretrained`; what they say nothing of stays as it was.

    'imagenet': the backbone's, as torchvision publishes them (downloaded). Else a file, the state dict of
    pytorch-ssd's MobileNetV2-SSD-lite for the 21 classes of Pascal VOC (mb2-ssd-lite-mp-0_686.pth, which AccMPEG starts
    from): all but what concerns boxes. Its tensors have other names in the same order. InputError for what cannot be
    downloaded or is no such file.
    """
    if pretrained == "imagenet":
        network.features.load_state_dict(_imagenet_features())
        return
    path = Path(pretrained)
    if not path.is_file():
        raise InputError(f"--pretrained {path}: no such file; give imagenet or the weights of a MobileNetV2-SSD-lite")
    given = pytorch.read_weights(path)
    for prefix, part in _SSD_PARTS.items():
        own = network.get_submodule(part)
        names = [name for name in own.state_dict() if _is_learned(name)]
        tensors = [value for name, value in given.items() if name.startswith(f"{prefix}.") and _is_learned(name)]
        shapes = [list(own.state_dict()[name].shape) for name in names]
        if [list(getattr(tensor, "shape", ())) for tensor in tensors] != shapes:
            raise InputError(f"{path}: its {prefix} is not MobileNetV2-SSD-lite's of 21 classes; give another file")
        own.load_state_dict(dict(zip(names, tensors, strict=True)), strict=False)
    _refuse_unless_finite(network, path)


def _is_learned(name: str) -> bool:
    """Whether a tensor counts for something: old files have no count of batches."""
    return not name.endswith("num_batches_tracked")


def _imagenet_features() -> dict[str, torch.Tensor]:
    weights = torchvision.models.MobileNet_V2_Weights.IMAGENET1K_V1
    try:
        state = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError) as error:
        reason = " ".join(str(error).split())[:80]
        raise InputError(
            f"--pretrained imagenet: {weights.url} cannot be downloaded ({reason}); leave --pretrained out, or put the "
            f"file into {torch.hub.get_dir()}/checkpoints"
        ) from None
    prefix = "features."
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def predict(model: AccModel, frames: Iterable[np.ndarray], source: str | Path, batch_size: int = 8) -> np.ndarray:
    """The importance of a clip's frames, uint8 [H, W, 3] RGB each: float32 [T, rows, cols] in [0, 1].

    Only `batch_size` of the frames are there at once. InputError, that names `source`, where they differ in size, and
    for a model that puts out what is no number.
    """
    maps: list[np.ndarray] = []
    frames, shape = iter(frames), None
    while batch := list(islice(frames, batch_size)):
        shape = shape or batch[0].shape
        if any(frame.shape != shape for frame in batch):
            raise InputError(f"{source}: its frames differ in size; one clip has one size")
        maps.append(model.importance(np.stack(batch)))
        if not np.isfinite(maps[-1]).all():
            raise InputError(f"{source}: --model puts out NaN for its frames; the model is damaged, train it again")
    return np.concatenate(maps)


def network_onnx(network: AccNetwork, input_hw: tuple[int, int]) -> bytes:
    """The ONNX of the network for one frame of a fixed size: `x` float32 [1, 3, H, W] normalised → logits."""
    example = torch.zeros(1, 3, *input_hw, device=next(network.parameters()).device)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(action="ignore"):
        path = Path(folder) / "network.onnx"
        # it warns that the frame's size becomes a constant, which is meant
        torch.onnx.export(network.eval(), (example,), path, opset_version=17, input_names=["x"], dynamo=False)
        return path.read_bytes()
