"""Which rows of a detector's output are detections, in NumPy: the same ones as `BoxDetector` finds, without PyTorch."""

from collections.abc import Sequence

import numpy as np

from regenhance_data.detections import Detections
from regenhance_data.detectors.settings import DetectorSettings

# names of the input and the outputs of a detector's graph (onnx_export.py)
FRAMES, BOXES, SCORES, LABELS, CLASSES = "frames", "boxes", "scores", "labels", "classes"
# Candidates with the highest scores that NMS compares: its cost grows with their square, and a street has some hundred.
MOST_CANDIDATES = 10_000
_MOST_SHIFTED = 1000  # boxes; torchvision's batched_nms moves the classes of so few apart, and takes more one by one


def detections_in(
    boxes: np.ndarray,
    scores: np.ndarray,
    labels: np.ndarray | int,
    hw: tuple[int, int],
    settings: DetectorSettings,
    counted: Sequence[int],
    one_class_per_row: bool,
) -> Detections:
    """The detections of one frame of size `hw`, as `BoxDetector.filtered` finds them.

    boxes: float32 [rows, 4], xyxy in pixels of the frame. scores: float32 [rows, C]. labels: int64 [rows], or the label
    of the first column where the columns are the classes. counted: labels that count. one_class_per_row: whether only
    the best class of a row can be a detection.
    """
    rows, columns = np.divmod(np.flatnonzero(scores >= np.float32(settings.score_threshold)), max(scores.shape[1], 1))
    if len(rows) > MOST_CANDIDATES:
        best = np.argsort(-scores[rows, columns], kind="stable")[:MOST_CANDIDATES]
        rows, columns = rows[best], columns[best]
    found = scores[rows, columns]
    classes = columns + labels if isinstance(labels, int) else labels[rows]
    clipped = boxes[rows].clip(0, np.array([hw[1], hw[0]] * 2, np.float32))
    areas = (clipped[:, 2] - clipped[:, 0]) * (clipped[:, 3] - clipped[:, 1])
    counts = (areas > 0) & (areas <= np.float32(settings.max_box_area * hw[0] * hw[1]))
    if one_class_per_row:
        counts &= found == scores[rows].max(-1)
    if settings.classes:
        counts &= np.isin(classes, counted)
    clipped, found, classes = clipped[counts], found[counts], classes[counts]
    kept = not_suppressed(clipped, found, classes, settings.iou_threshold)
    return Detections(clipped[kept], found[kept], classes[kept].astype(np.int64))


def not_suppressed(boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, iou_threshold: float) -> np.ndarray:
    """The indices, by falling score, that torchvision's batched_nms keeps on a CPU: NMS within each class.

    boxes: float32 [n, 4]. scores: float32 [n]. labels: int [n].
    """
    by_score = np.argsort(-scores, kind="stable")
    if len(boxes) > _MOST_SHIFTED:
        kept = [_greedy(boxes, by_score[labels[by_score] == label], iou_threshold) for label in np.unique(labels)]
        indices = np.concatenate(kept)
        return indices[np.argsort(-scores[indices], kind="stable")]
    if not len(boxes):
        return by_score
    apart = labels.astype(np.float32) * (boxes.max() + np.float32(1))  # rounds to float32 as torchvision does
    return _greedy(boxes + apart[:, None], by_score, iou_threshold)


def _greedy(boxes: np.ndarray, order: np.ndarray, iou_threshold: float) -> np.ndarray:
    """The indices in `order` of the boxes that no kept box before them overlaps by more than the threshold."""
    low, high = boxes[:, :2], boxes[:, 2:]
    areas = (high - low).prod(-1)
    kept = []
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(best)
        inner = (np.minimum(high[best], high[rest]) - np.maximum(low[best], low[rest])).clip(0).prod(-1)
        union = areas[best] + areas[rest] - inner
        # boxes that far from 0 may have lost their area to rounding; such ones are kept
        overlaps = np.divide(inner, union, out=np.zeros_like(inner), where=union > 0)
        order = rest[overlaps <= iou_threshold]
    return np.array(kept, np.int64)
