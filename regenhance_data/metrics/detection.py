"""F1 of detections: boxes matched by IoU and class."""

import numpy as np

from regenhance_data.detections import Detections

MATCH_IOU = 0.5  # the least IoU of two boxes of the same object, as in PASCAL VOC and in the paper


def iou_matrix(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes [n, 4] and [m, 4] (x1, y1, x2, y2): float64 [n, m]."""
    a, b = a.astype(np.float64)[:, None], b.astype(np.float64)[None]
    overlap = (np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])).clip(0).prod(-1)
    union = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - overlap
    return np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0)


def count_matches(found: Detections, reference: Detections) -> np.ndarray:
    """(true positives, false positives, false negatives), int64 [3], of one frame.

    In descending order of scores, each detection is matched with the unmatched reference box of its class with the
    highest IoU, at least MATCH_IOU.
    """
    ious = iou_matrix(found.boxes, reference.boxes)
    ious[found.labels[:, None] != reference.labels[None]] = 0
    true = 0
    for index in np.argsort(-found.scores, kind="stable"):
        if ious[index].max(initial=0) >= MATCH_IOU:
            true += 1
            ious[:, ious[index].argmax()] = 0
    return np.array([true, len(found.boxes) - true, len(reference.boxes) - true])


def f1(counts: np.ndarray) -> np.ndarray:
    """2·TP / (2·TP + FP + FN) of counts [..., 3]; 1 where both detections and reference are empty."""
    true, wrong = counts[..., 0], counts[..., 1:].sum(-1)
    return np.divide(2 * true, 2 * true + wrong, out=np.ones(counts.shape[:-1]), where=true + wrong > 0)
