"""The training loop of small networks, which goes on where it was interrupted."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import ConstantLR, LRScheduler, OneCycleLR

from regenhance_data.console import progress

_FEWEST_STEPS = 5  # of a schedule: the first and the last steps have next to no rate


def one_cycle(optimizer: torch.optim.Optimizer, rate: float, steps: int, warm_up: float) -> LRScheduler:
    """The one-cycle schedule, which reaches `rate` after `warm_up`, a share of the steps; fewer than five steps all
    have that rate.
    """
    if steps < _FEWEST_STEPS:
        return ConstantLR(optimizer, factor=1.0)
    if warm_up * steps == 1:  # PyTorch divides by the number of the step on which the warm-up ends
        warm_up += 1e-6
    return OneCycleLR(optimizer, rate, steps, pct_start=warm_up)


class Training:
    """`iterations` steps of an optimizer. The learning rate follows `one_cycle` up to the optimizer's own;
    gradients are scaled down to a norm of at most `most_gradient`. done: the steps taken.
    """

    def __init__(
        self, network: nn.Module, optimizer: torch.optim.Optimizer, iterations: int, most_gradient: float
    ) -> None:
        self.network, self.iterations, self.done = network, iterations, 0
        self._optimizer, self._most_gradient = optimizer, most_gradient
        (rate,) = (group["lr"] for group in optimizer.param_groups)
        self._schedule = one_cycle(optimizer, rate, iterations, warm_up=0.1)
        self._parts: tuple[Any, ...] = network, optimizer, self._schedule

    def run(
        self,
        batch_loss: Callable[[int], torch.Tensor],
        until: int | None = None,
        after_step: Callable[[], None] = lambda: None,
    ) -> None:
        """Go on to step `until`, the last by default. batch_loss: the loss of a new batch for a step (0, 1, …)."""
        left = range(self.done, self.iterations if until is None else until)
        for step in progress(left, "train", len(left), "step"):
            loss = batch_loss(step)
            self._optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.network.parameters(), self._most_gradient)
            self._optimizer.step()
            self._schedule.step()
            self.done = step + 1
            after_step()

    def state(self) -> dict[str, Any]:
        """All that a training needs to go on, as `restore` takes it and torch.save writes it."""
        return {"done": self.done, "parts": [part.state_dict() for part in self._parts]}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a `state`, with the numbers that an unbroken training has."""
        self.done = state["done"]
        for part, of_part in zip(self._parts, state["parts"], strict=True):
            part.load_state_dict(of_part)
