"""A trial before the first iteration: what a config's pieces raise when they are used is said before anything slow."""

from typing import Any

import numpy as np

from regenhance_data.console import tell
from regenhance_data.predictors.paddleseg import validation
from regenhance_data.predictors.paddleseg.batches import PreparedFrames
from regenhance_data.predictors.paddleseg.config import PredictorConfig
from regenhance_data.predictors.paddleseg.optimizer_step import OptimizerStep
from regenhance_data.predictors.samples import Samples

_DRAWS = 8  # of the random transforms


def try_out(config: PredictorConfig, model: Any, step: OptimizerStep, training: Samples, validating: Samples) -> None:
    """Take one batch through transforms, network and loss, and one frame through the validation.

    Changes nothing: not the weights, nor the frames that the training draws. Tells where the validation frames have
    nothing to rank. InputError names the config and the piece that fails.
    """
    frames = PreparedFrames(training, config, "train_dataset")
    # with a batch of one frame, transforms may make any size of it
    draws = [[(0, seed) for seed in range(_DRAWS)]] if config.seg.batch_size > 1 else [[(0, s)] for s in range(_DRAWS)]
    tried = [frames.batch(keys) for keys in draws]
    size = min(config.seg.batch_size, _DRAWS)
    step.try_out(tuple(part[:size] for part in tried[0]))
    validation.try_out(model, config, validating)
    if step.is_first and not any(map(_differs, validating.importance())):
        tell(
            f"{validating.dataset.root}: in none of the {len(validating)} validation frames do macroblocks differ in "
            "importance, so nothing can be ranked: best_model is the last checkpoint, not the best; give validation "
            "frames with objects (tools/make_seg_dataset.py --split)"
        )


def _differs(truth: np.ndarray) -> bool:
    known = truth[~np.isnan(truth)]
    return bool(known.size and np.ptp(known) > 0)
