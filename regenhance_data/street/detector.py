"""The built-in detector: a small anchor-free network for the vehicles and people of the built-in street.

Small enough for two CPU cores, and smooth (SiLU) so that the gradient of its scores shows which pixels matter.
It is trained only on HR frames and uses only fine detail (each pixel less the mean of its neighbourhood),
so it loses more accuracy on upsampled frames than a large detector does: the demo's street is simple, and a network
that also saw coarse shapes lost only a quarter of its F1. One prediction for each 4×4 pixels: a score for each class
(how near the centre of such an object it is) and the distances to the box's sides.
"""

from collections.abc import Sequence
from functools import reduce
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from regenhance_data.learning.loop import Training
from regenhance_data.learning.weights import load_weights
from regenhance_data.street import scene
from regenhance_data.street.samples import Sample, crop_corner
from regenhance_data.street.weights import DETECTOR_WEIGHTS

CLASS_NAMES = scene.CLASS_NAMES

_STRIDE = 4  # the smallest people are 5 px wide: a coarser grid would merge two of them
_DETAIL_PX = 5  # side of the neighbourhood whose mean is subtracted: wider structures are not seen
_COARSEST = 32  # pixels per cell of the deepest features; frames are padded to a multiple
_CROP = (192, 288)  # height and width of training crops: many small ones teach more in the same time than few large
_LEARNING_RATE = 3e-3  # the usual choice for AdamW at this size
_CALIBRATION = (
    0.85  # subtracted from the score logits: F1 on unseen streets was best at 0.5, the default threshold is 0.3
)


class StreetDetector(nn.Module):
    """Frames float32 [N, 3, H, W] RGB 0..255 of any size → (boxes [N, A, 4] xyxy pixels, scores [N, A, classes] 0..1).

    A = ceil(H / 32) · ceil(W / 32) · 64. Differentiable; overlapping detections are left in.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(_layer(3, 16, 2), _layer(16, 32, 2))
        self.quarter = _layer(32, 32, 1)
        self.eighth = nn.Sequential(_layer(32, 48, 2), _Residual(48))
        self.sixteenth = nn.Sequential(_layer(48, 64, 2), _Residual(64), _Residual(64))
        self.coarsest = nn.Sequential(_layer(64, 64, 2), _Residual(64))
        self.from_coarsest = _layer(64, 64, 1)
        self.from_sixteenth = nn.Conv2d(64, 48, 1)
        self.merge_eighth = _layer(48, 48, 1)
        self.from_eighth = nn.Conv2d(48, 32, 1)
        self.merge_quarter = nn.Sequential(_layer(32, 32, 1), _layer(32, 32, 1))
        self.scores = nn.Conv2d(32, len(CLASS_NAMES), 1)
        self.sides = nn.Conv2d(32, 4, 1)
        self.sides.bias = nn.Parameter(torch.full((4,), 1.3))  # 15 px, half a usual car
        self.scores.bias = nn.Parameter(torch.full((len(CLASS_NAMES),), -4.6))  # 1 % everywhere, as RetinaNet begins

    def forward(self, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits, boxes = self.maps(frames)
        return boxes.flatten(2).transpose(1, 2), logits.flatten(2).transpose(1, 2).sigmoid()

    def maps(self, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(score logits [N, classes, rows, cols], boxes [N, 4, rows, cols] xyxy pixels), one cell per 4×4 pixels."""
        quarter = self.features(frames)
        left, top, right, bottom = (self.sides(quarter).clamp(max=6).exp() * _STRIDE).unbind(1)
        x, y = _centres(quarter)
        return self.scores(quarter), torch.stack([x - left, y - top, x + right, y + bottom], 1)

    def features(self, frames: torch.Tensor) -> torch.Tensor:
        """What scores and boxes are read from: [N, 32, rows, cols], one cell for each 4×4 pixels."""
        height, width = frames.shape[-2:]
        around = _mean_along(_mean_along(frames, -2), -1)
        detail = functional.pad((frames - around) / 32, (0, -width % _COARSEST, 0, -height % _COARSEST))
        quarter = self.quarter(self.stem(detail))
        eighth = self.eighth(quarter)
        sixteenth = self.sixteenth(eighth)
        sixteenth = sixteenth + _twice(self.from_coarsest(self.coarsest(sixteenth)))
        eighth = self.merge_eighth(eighth + _twice(self.from_sixteenth(sixteenth)))
        return self.merge_quarter(quarter + _twice(self.from_eighth(eighth)))


def _layer(channels_in: int, channels_out: int, stride: int) -> nn.Sequential:
    conv = nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels_out), nn.SiLU())


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(_layer(channels, channels, 1), _layer(channels, channels, 1))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features + self.layers(features)


def _mean_along(frames: torch.Tensor, dim: int) -> torch.Tensor:
    """The mean of the _DETAIL_PX pixels around each pixel along `dim` (-2 or -1), without those outside the frame.

    A sum of shifted frames: avg_pool2d takes three times as long on a CPU, forward and backward.
    """
    size, reach = frames.shape[dim], _DETAIL_PX // 2
    middles = torch.arange(size, device=frames.device)
    inside = (middles + reach).clamp(max=size - 1) - (middles - reach).clamp(min=0) + 1
    padded = functional.pad(frames, (0, 0, reach, reach) if dim == -2 else (reach, reach))
    shifted = [padded.narrow(dim, shift, size) for shift in range(_DETAIL_PX)]
    return reduce(torch.add, shifted) / (inside[:, None] if dim == -2 else inside)


def _twice(features: torch.Tensor) -> torch.Tensor:
    return functional.interpolate(features, scale_factor=2, mode="nearest")


def _centres(features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(x [1, 1, cols], y [1, rows, 1]) of the cells' middles in pixels."""
    rows, cols = (torch.arange(n, device=features.device) * float(_STRIDE) + _STRIDE / 2 for n in features.shape[-2:])
    return cols[None, None], rows[None, :, None]


def load_street_detector(weights: Path = DETECTOR_WEIGHTS) -> StreetDetector:
    """The detector with the weights of this kit (or others of the same network), in eval mode."""
    return load_weights(StreetDetector(), weights, "tools/train_builtin_detector.py")


# --- training ------------------------------------------------------------------------------------------------------


def train_street_detector(samples: Sequence[Sample], iterations: int, seed: int = 0, batch: int = 8) -> StreetDetector:
    """A detector trained on random crops of the HR frames of `samples`, in eval mode."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    detector = StreetDetector().train()
    optimizer = torch.optim.AdamW(detector.parameters(), _LEARNING_RATE, weight_decay=1e-3)

    def batch_loss(_: int) -> torch.Tensor:
        crops = [_crop(rng, samples[rng.integers(len(samples))]) for _ in range(batch)]
        frames = torch.from_numpy(np.stack([frame for frame, _, _ in crops])).permute(0, 3, 1, 2).contiguous()
        logits, boxes = detector.maps(frames)
        losses = [_loss(logits[i], boxes[i], *map(torch.from_numpy, crop[1:])) for i, crop in enumerate(crops)]
        return torch.stack(losses).mean()

    Training(detector, optimizer, iterations, most_gradient=10.0).run(batch_loss)
    detector.get_parameter("scores.bias").data -= _CALIBRATION
    return detector.eval()


def _crop(rng: np.random.Generator, sample: Sample) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(frame float32 [h, w, 3], boxes [n, 4], labels [n]) at a random position, mirrored and relit at random.

    The label of an object whose smaller part is inside the crop is −1: neither found nor missed.
    """
    height, width = _CROP
    scale = sample.hr.shape[0] // sample.lr.shape[0]
    left, top = crop_corner(rng, sample, (width // scale, height // scale)) * scale
    frame = sample.hr[top : top + height, left : left + width].astype(np.float32)
    # haze and glare: contrast down to a third
    frame = (frame - 128) * rng.uniform(0.35, 1.2) + 128 + rng.uniform(-20, 20) + rng.uniform(-8, 8, 3)
    moved = sample.boxes - np.tile((left, top), 2)
    boxes = moved.clip(0, np.tile((width, height), 2)).astype(np.float32)
    whole, inside = (np.prod(b[:, 2:] - b[:, :2], axis=1) for b in (moved, boxes))
    labels = np.where(inside < 0.4 * whole, -1, sample.labels)
    if rng.random() < 0.5:
        frame = frame[:, ::-1]
        boxes[:, [0, 2]] = width - boxes[:, [2, 0]]
    kept = inside > 0
    return frame.clip(0, 255).astype(np.float32), boxes[kept], labels[kept]


def _loss(logits: torch.Tensor, boxes: torch.Tensor, true_boxes: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Quality focal loss (Li et al. 2020) on a bump around each object's middle, and GIoU loss under the bumps.

    logits [classes, rows, cols], boxes [4, rows, cols]; true_boxes [n, 4], labels [n] (−1: ignore its cells).
    """
    x, y = (c[0] for c in _centres(logits))
    target, weight = torch.zeros_like(logits), torch.ones_like(logits[0])
    nearest, owner = torch.zeros_like(weight), torch.full_like(weight, -1, dtype=torch.long)
    for index, (box, label) in enumerate(zip(true_boxes, labels.tolist(), strict=True)):
        if label < 0:
            weight[(x > box[0]) & (x < box[2]) & (y > box[1]) & (y < box[3])] = 0
            continue
        # a sixth of the box, but never so narrow that it falls between the cells, nor so wide that it drowns others
        sigma_x, sigma_y = ((box[2:] - box[:2]) / 6).clamp(0.4 * _STRIDE, 2 * _STRIDE)
        across, down = (box[0] + box[2]) / 2 - x, (box[1] + box[3]) / 2 - y
        bump = torch.exp(-0.5 * ((across / sigma_x) ** 2 + (down / sigma_y) ** 2))
        bump = bump / bump.max()
        target[label] = torch.maximum(target[label], bump)
        owner = torch.where(bump > nearest, index, owner)
        nearest = torch.maximum(nearest, bump)
    focal = (target - logits.sigmoid()).abs() ** 2
    entropy = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    count = max(int((labels >= 0).sum()), 1)
    score_loss = (focal * entropy * weight).sum() / count
    under = nearest > 0.2
    if not under.any():
        return score_loss
    # each object counts the same, however many cells it has: most objects are small
    owners, nearness = owner[under], nearest[under]
    share = nearness / torch.zeros(len(labels)).index_add(0, owners, nearness)[owners] / count
    return score_loss + 2 * (share * (1 - _giou(boxes[:, under].T, true_boxes[owners]))).sum()


def _giou(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Generalised IoU (Rezatofighi et al. 2019) of boxes [n, 4] pair by pair: [n], −1..1."""
    inner = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0).prod(1)
    union = (a[:, 2:] - a[:, :2]).prod(1) + (b[:, 2:] - b[:, :2]).prod(1) - inner
    hull = (torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])).prod(1)
    return inner / union - (hull - union) / hull
