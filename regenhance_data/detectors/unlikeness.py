"""How unlike a detector's results on other frames are to those on the HR frames: what an upscaler is trained with."""

import torch
from torch.nn import functional

from regenhance_data.detectors.base import BoxDetector, Detector
from regenhance_data.detectors.segmentation import Segmenter

_LEAST_SCORE = 1e-6  # below it a score is rounding, and its logarithm has no limit


def unlikeness(detector: Detector, frame: torch.Tensor, hr: torch.Tensor) -> torch.Tensor:
    """A scalar ≥ 0, differentiable in `frame`; 0 where the detector's results are those on the HR frame. Both are
    float32 [1, 3, H, W] RGB 0..255 on its device.

    For boxes, the cross-entropy between the dense scores of the classes that count, less its least value, for each
    detection on the HR frame; for segmentation, between the classes of each pixel. Where the rows of the scores do not
    correspond from frame to frame, it is the share of the accuracy on the HR frame that is lost.
    """
    if isinstance(detector, Segmenter):
        return _of_classes(detector, frame, hr)
    if isinstance(detector, BoxDetector) and detector.same_rows:
        return _of_scores(detector, frame, hr)
    objective = detector.accuracy(hr.detach().requires_grad_())
    wanted = objective.value.detach()
    return (1 - objective.at(frame)[0] / wanted.clamp(min=_LEAST_SCORE)).clamp(min=0)


def _of_scores(detector: BoxDetector, frame: torch.Tensor, hr: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        dense = detector.dense(hr)
        (found,) = detector.filtered(dense, (int(hr.shape[2]), int(hr.shape[3])))
    wanted, made = dense.scores[0], detector.dense(frame, dense.proposals).scores[0]
    columns = _counted_columns(detector, wanted.shape[1])
    wanted, made = wanted[:, columns], made[:, columns]
    wanted, made = (scores.clamp(_LEAST_SCORE, 1 - _LEAST_SCORE) for scores in (wanted, made))
    lost = functional.binary_cross_entropy(made, wanted, reduction="sum")
    least = functional.binary_cross_entropy(wanted, wanted, reduction="sum")
    return (lost - least) / max(len(found.rows), 1)


def _counted_columns(detector: BoxDetector, columns: int) -> list[int]:
    """The columns of the dense scores that are classes that count; all where the columns are no classes."""
    background = len(detector.class_names) - columns  # the first class, which has no column
    if background not in (0, 1):
        return list(range(columns))
    return [number - background for number in detector.counted_classes() if number >= background]


def _of_classes(detector: Segmenter, frame: torch.Tensor, hr: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        wanted = detector.logits(hr).log_softmax(1)
    made = detector.logits(frame).log_softmax(1)
    return functional.kl_div(made, wanted, reduction="none", log_target=True).sum(1).mean()
