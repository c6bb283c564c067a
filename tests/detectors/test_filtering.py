"""Which rows are detections, in NumPy."""

import warnings

import numpy as np
import torch
from torchvision.ops import batched_nms

from regenhance_data.detectors.filtering import not_suppressed


def test_boxes_whose_area_is_lost_to_rounding_are_kept_as_torchvision_keeps_them():
    thin = [[1500.0, 20.0, 1500.001, 30.0], [1500.0, 20.0, 1500.001, 30.0], [1500.0, 20.0, 1600.0, 90.0]]
    boxes, scores, labels = np.array(thin, np.float32), np.array([0.9, 0.8, 0.7], np.float32), np.full(3, 79)
    with warnings.catch_warnings(action="error"):
        kept = not_suppressed(boxes, scores, labels, 0.5)
    assert kept.tolist() == batched_nms(*map(torch.from_numpy, (boxes, scores, labels)), 0.5).tolist() == [0, 1, 2]
