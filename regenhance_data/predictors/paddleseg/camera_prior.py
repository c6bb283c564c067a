"""What a camera's training frames say of its macroblocks before a frame is seen: how often each has which level."""

import numpy as np

from regenhance_data.console import tell
from regenhance_data.predictors.samples import Samples


def learn_camera_prior(samples: Samples) -> np.ndarray | None:
    """The logarithm of the share of each level at each macroblock over these frames, float32 [levels, rows, cols].

    Every macroblock also counts one frame with the shares of all macroblocks, so that no level is impossible. None
    where the frames have several sizes, which is told.
    """
    if len(set(samples.sizes_hw)) > 1:
        tell(f"{samples.dataset.root}: has frames of several sizes: the predictor learns no camera prior")
        return None
    levels = np.arange(samples.num_classes)[:, None, None]
    labels = (samples.read(index)[1][:: samples.mb_size, :: samples.mb_size] for index in range(len(samples)))
    counts = sum((label == levels).astype(np.float64) for label in labels)
    overall = counts.sum((1, 2), keepdims=True) + 1
    counts = counts + overall / overall.sum()
    return np.log(counts / counts.sum(0)).astype(np.float32)
