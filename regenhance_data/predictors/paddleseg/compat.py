"""PaddleSeg 2.8.0 on Paddle 3: the newest PaddleSeg on the package index was written for Paddle 2.

Paddle 3 cannot multiply float32 by int64, which PaddleSeg 2.8's CrossEntropyLoss does with its mask and its
coefficients; PaddleSeg 2.9 and later cast them. A trial call decides whether the installed one needs the fix: a
PaddleSeg from its repository has version 0.0.0.
"""

from typing import Any


def fix_cross_entropy_loss() -> None:
    """Replace the method that fails, if it fails. May be called any number of times."""
    import paddle
    from paddleseg.models.losses import CrossEntropyLoss

    try:
        CrossEntropyLoss()(paddle.zeros([1, 2, 1, 1]), paddle.zeros([1, 1, 1], "int64"))
    except TypeError:
        CrossEntropyLoss._post_process_loss = _post_process_loss


def _post_process_loss(self: Any, logit: Any, label: Any, semantic_weights: Any, loss: Any) -> Any:
    """CrossEntropyLoss._post_process_loss of PaddleSeg, in one dtype.

    `self` is the loss, `logit` [N, H, W, K], `label` int64 [N, H, W], `loss` [N, H, W] or [N, H, W, 1]; a scalar.
    """
    import paddle
    import paddle.nn.functional as F

    counted = (label != self.ignore_index).astype(loss.dtype)
    mask = counted if self.avg_non_ignore else paddle.ones_like(counted)
    loss = loss.squeeze(-1) if loss.ndim > mask.ndim else loss
    loss = loss * mask
    if semantic_weights is not None:
        loss = loss * semantic_weights
    coef = paddle.ones_like(mask)
    if self.weight is not None:
        known = label * counted.astype("int64")
        coef = (F.one_hot(known, logit.shape[-1]) * self.weight).sum(-1)
    if self.top_k_percent_pixels == 1.0:
        return loss.mean() / ((mask * coef).mean() + self.EPS)
    top_k_pixels = int(self.top_k_percent_pixels * loss.size)
    loss, indices = paddle.topk(loss.flatten(), top_k_pixels)
    return loss.mean() / (paddle.gather(coef.flatten(), indices).mean() + self.EPS)
