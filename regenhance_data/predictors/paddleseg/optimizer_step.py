"""One optimizer step of a training: in one process or several, in full or mixed precision, over one or more batches."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddleseg.core.train import loss_computation

from regenhance_data.errors import InputError, one_line
from regenhance_data.predictors.paddleseg.batches import Batch
from regenhance_data.predictors.paddleseg.compat import like_paddle_2
from regenhance_data.predictors.paddleseg.pieces import named, outputs, reason

# PaddleSeg's lists: batch normalisation may run in half precision, bilinear upsampling of logits may not
_AMP_WHITE, _AMP_BLACK = ("elementwise_add", "batch_norm", "sync_batch_norm"), ("bilinear_interp_v2",)


class OptimizerStep:
    """Forward and backward passes of one iteration's batches, gradient accumulation, and the optimizer's step.

    An iteration has `parts` batches: `accumulate_steps` in each of the `processes`. Gradients are averaged over all
    parts, and so are the running statistics of normalisations: it makes no difference whether two parts are batches of
    one process or of two.
    """

    def __init__(
        self, model: Any, losses: Any, optimizer: Any, accumulate_steps: int, precision: str, config_path: Path
    ) -> None:
        self._config_path = config_path
        environment = paddle.distributed.ParallelEnv()
        self.processes = environment.nranks
        self.is_first = environment.rank == 0
        self.parts = self.processes * accumulate_steps
        self.own_parts = range(environment.rank * accumulate_steps, (environment.rank + 1) * accumulate_steps)
        self._losses, self._optimizer, self._is_mixed = losses, optimizer, precision == "fp16"
        if self.processes > 1 and paddle.get_device().startswith("gpu"):  # Paddle has none for CPUs
            paddle.nn.SyncBatchNorm.convert_sync_batchnorm(model)
        # running means and variances, which Paddle keeps among the parameters
        self._statistics = {
            name: tensor
            for name, tensor in model.state_dict().items()
            if tensor.stop_gradient and tensor.dtype == paddle.float32
        }
        self._parallel = paddle.DataParallel(model) if self.processes > 1 else model
        self._scaler = paddle.amp.GradScaler(enable=self._is_mixed, init_loss_scaling=1024)

    def run(self, batches: list[Any], seed: int) -> float:
        """Do one iteration; return its loss. The optimizer makes no step where the loss is not finite.

        batches: (images, labels) of each of `own_parts`, perhaps with the labels' edges, as arrays. seed: for dropout,
        the same in a resumed training. InputError for what the network or a loss raises.
        """
        loss = self._accumulate_gradients(batches, seed)
        if self.processes > 1:
            loss = self._mean(paddle.to_tensor(loss)).item()
        if not np.isfinite(loss):
            return loss
        # the first step names the optimizer's state, and a resumed training looks for these names
        try:
            with paddle.utils.unique_name.guard():
                self._scaler.step(self._optimizer)
        except AssertionError as error:  # the loaded state is not what the optimizer looks for
            raise InputError(
                f"--resume_model: model.pdopt is not of this config's optimizer ({one_line(error)})"
            ) from None
        except Exception as error:  # a setting of another type than the optimizer takes
            name = type(self._optimizer).__name__
            raise InputError(f"{self._config_path}: optimizer ({name}): {reason(error)}") from None
        self._scaler.update()
        self._optimizer.clear_grad()
        if isinstance(self._optimizer._learning_rate, paddle.optimizer.lr.LRScheduler):
            needs_loss = isinstance(self._optimizer._learning_rate, paddle.optimizer.lr.ReduceOnPlateau)
            self._optimizer._learning_rate.step(*([loss] if needs_loss else []))
        return loss

    def try_out(self, batch: Batch) -> None:
        """The passes of one batch, of which nothing remains. InputError where the network or a loss cannot take it, or
        no weight gets a gradient.
        """
        state = {name: tensor.clone() for name, tensor in self._parallel.state_dict().items() if tensor.stop_gradient}
        with self._without_sync():
            self._loss(*map(paddle.to_tensor, batch)).backward()
        parameters = self._optimizer._parameter_list
        if all(parameter.grad is None for parameter in parameters):
            raise InputError(f"{self._config_path}: the loss gives no gradient; add another loss to it (MixedLoss)")
        self._optimizer.clear_grad()
        for name, tensor in self._parallel.state_dict().items():
            if name in state:
                tensor.set_value(state[name])

    def _accumulate_gradients(self, batches: list[Any], seed: int) -> float:
        """Forward and backward passes; the mean loss. Running statistics become the mean of those of each batch."""
        mean_loss = 0.0
        # a single batch leaves the right statistics by itself
        statistics = list(self._statistics.values()) if len(batches) > 1 else []
        befores = [tensor.clone() for tensor in statistics]
        sums = [paddle.zeros_like(tensor) for tensor in statistics]
        for number, batch in enumerate(batches, 1):
            paddle.seed(seed * self.parts + self.own_parts[number - 1])
            with self._without_sync() if number < len(batches) else nullcontext():
                loss = self._loss(*map(paddle.to_tensor, batch))
                self._scaler.scale(loss / len(batches)).backward()
            mean_loss += float(loss) / len(batches)
            for tensor, before, summed in zip(statistics, befores, sums, strict=True):
                summed.add_(tensor)
                tensor.set_value(before)
        for tensor, summed in zip(statistics, sums, strict=True):
            tensor.set_value(summed / len(batches))
        return mean_loss

    def _loss(self, images: Any, labels: Any, edges: Any = None) -> Any:
        with paddle.amp.auto_cast(
            enable=self._is_mixed, custom_white_list=_AMP_WHITE, custom_black_list=_AMP_BLACK, level="O1"
        ):
            found = outputs(self._parallel, images, self._config_path)
            wanted = len(self._losses["types"])
            if len(found) != wanted:
                raise InputError(
                    f"{self._config_path}: the network has {len(found)} outputs in training, the loss {wanted} types; "
                    f"give loss.coef {len(found)} values, and loss.types as many or one"
                )
            with named(f"{self._config_path}: loss"), like_paddle_2():
                return sum(loss_computation(found, labels, edges, self._losses))

    def _without_sync(self) -> AbstractContextManager[None]:
        """Gradients stay in this process: processes exchange them with the last batch of an iteration."""
        return self._parallel.no_sync() if self.processes > 1 else nullcontext()

    def _mean(self, tensor: Any) -> Any:
        paddle.distributed.all_reduce(tensor)
        return tensor.scale_(1 / self.processes)

    def in_any_process(self, here: bool) -> bool:
        """Whether `here` is true in any process; all of them must call this at the same point."""
        if self.processes == 1:
            return here
        count = paddle.to_tensor(float(here))
        paddle.distributed.all_reduce(count)
        return bool(count > 0)

    @paddle.no_grad()
    def average_statistics(self, state: dict[str, Any]) -> None:
        """Average the running statistics in `state`, the model's or its moving average's, over all processes.

        Each process has seen only its own frames. Running statistics, their moving averages and this mean are all
        linear: it does not matter how often they are averaged.
        """
        if self.processes > 1:
            for name in self._statistics:
                state[name].set_value(self._mean(state[name].clone()))
