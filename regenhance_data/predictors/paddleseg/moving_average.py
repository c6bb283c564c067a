"""The exponential moving average (EMA) of a network's weights."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import paddle

from regenhance_data.errors import InputError
from regenhance_data.predictors.paddleseg.checkpoints import AVERAGE, WEIGHTS, load_trained_weights
from regenhance_data.predictors.paddleseg.settings import TrainSettings

DECAY = 0.99  # PaddleSeg's; 0.999 would still hold much of the random start after some hundred iterations


class MovingAverage:
    """The exponential moving average of a network's state dict, buffers included; `state` is its present value.

    It begins with the network's present state, that after `steps` iterations. The first iterations have a lower decay.
    """

    def __init__(self, model: Any, steps: int) -> None:
        self._steps = steps
        self._model_state = model.state_dict()
        self.state = {name: tensor.clone() for name, tensor in self._model_state.items()}

    @paddle.no_grad()
    def update(self) -> None:
        """Include the network's present state."""
        self._steps += 1
        decay = min(DECAY, self._steps / (10 + self._steps))
        for name, tensor in self._model_state.items():
            self.state[name].scale_(decay).add_(tensor * (1 - decay))

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside the block the network has the average as its state."""
        current = {name: tensor.clone() for name, tensor in self._model_state.items()}
        self._set_model_state(self.state)
        try:
            yield
        finally:
            self._set_model_state(current)

    def _set_model_state(self, state: dict[str, Any]) -> None:
        for name, tensor in self._model_state.items():
            tensor.set_value(state[name])


def initial_average(settings: TrainSettings, model: Any) -> MovingAverage | None:
    """The average at the start of a training: new, or that of the checkpoint to resume; None without use_ema.

    InputError where the training to resume had use_ema and this one has not, or the other way round.
    """
    checkpoint = settings.resume_model
    if checkpoint is not None:
        had_average = (checkpoint / AVERAGE).is_file()
        if had_average != settings.use_ema:
            was, fix = ("with", "give it again") if had_average else ("without", "leave it out")
            raise InputError(f"{checkpoint}: was trained {was} --use_ema; {fix}")
    if not settings.use_ema:
        return None
    if checkpoint is None:
        return MovingAverage(model, 0)
    load_trained_weights(model, checkpoint / AVERAGE)
    average = MovingAverage(model, settings.start)
    load_trained_weights(model, checkpoint / WEIGHTS)
    return average
