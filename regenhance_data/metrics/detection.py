"""F1 of detections: boxes matched by IoU and class."""

import numpy as np

from regenhance_data.detections import Detections

MATCH_IOU = 0.5  # two boxes are of the same object from here on: PASCAL VOC's rule, and the paper's


def iou_matrix(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes [n, 4] and [m, 4] (x1, y1, x2, y2): float64 [n, m]."""
    a, b = a.astype(np.float64)[:, None], b.astype(np.float64)[None]
    overlap = (np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])).clip(0).prod(-1)
    union = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - overlap
    return np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0)


def count_matches(found: Detections, reference: Detections) -> np.ndarray:
    """(true positives, false positives, false negatives), int64 [3], of one frame.

    By falling score, each detection takes the free reference box of its class that it overlaps most, from MATCH_IOU on.
    """
    ious = iou_matrix(found.boxes, reference.boxes)
    ious[found.labels[:, None] != reference.labels[None]] = 0
    true = 0
    for place in np.argsort(-found.scores, kind="stable"):
        if ious[place].max(initial=0) >= MATCH_IOU:
            true += 1
            ious[:, ious[place].argmax()] = 0
    return np.array([true, len(found.boxes) - true, len(reference.boxes) - true])


def f1(counts: np.ndarray) -> np.ndarray:
    """2·TP / (2·TP + FP + FN) of counts [..., 3]; 1 where there is nothing to find and nothing was found."""
    true, wrong = counts[..., 0], counts[..., 1:].sum(-1)
    return np.divide(2 * true, 2 * true + wrong, out=np.ones(counts.shape[:-1]), where=true + wrong > 0)
