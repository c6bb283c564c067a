"""The training loop of the built-in networks."""

from collections.abc import Callable

import torch
from torch import nn

from regenhance_data.console import progress


def train_network(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    iterations: int,
    batch_loss: Callable[[], torch.Tensor],
    most_gradient: float,
) -> None:
    """Take `iterations` steps on the loss of a new batch each. The learning rate follows the one-cycle schedule up to
    the optimizer's own; gradients are scaled down to a norm of at most `most_gradient`.
    """
    (rate,) = (group["lr"] for group in optimizer.param_groups)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, iterations, pct_start=0.1)
    for _ in progress(range(iterations), "train", iterations, "step"):
        loss = batch_loss()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), most_gradient)
        optimizer.step()
        schedule.step()
