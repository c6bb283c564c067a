"""One optimizer step of a training: in one process or several, at full precision or mixed, over one batch or more."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import paddle
from paddleseg.core.train import loss_computation

from regenhance_data.errors import InputError

# PaddleSeg's lists: batch normalisation may run in half precision, bilinear upsampling of logits may not
_AMP_WHITE, _AMP_BLACK = ("elementwise_add", "batch_norm", "sync_batch_norm"), ("bilinear_interp_v2",)


class Stepper:
    """One optimizer step: forward and backward of its batches, in this process or with others.

    rank, ranks: which of how many processes this is. Each has an equal part of an iteration's frames. Gradients are
    averaged over all parts, and so are the running statistics of normalisations: it makes no difference whether a part
    is a batch of one process or of another.
    """

    def __init__(self, model: Any, losses: Any, optimizer: Any, accumulate_steps: int, precision: str) -> None:
        environment = paddle.distributed.ParallelEnv()
        self.rank, self.ranks = environment.rank, environment.nranks
        self._losses, self._optimizer = losses, optimizer
        self._accumulate_steps, self._is_mixed = accumulate_steps, precision == "fp16"
        if self.ranks > 1 and paddle.get_device().startswith("gpu"):  # there is no such thing on CPUs
            paddle.nn.SyncBatchNorm.convert_sync_batchnorm(model)
        # running means and variances: state that is not trained, which Paddle keeps among the parameters
        self._statistics = {
            name: tensor
            for name, tensor in model.state_dict().items()
            if tensor.stop_gradient and tensor.dtype == paddle.float32
        }
        self._parallel = paddle.DataParallel(model) if self.ranks > 1 else model
        self._scaler = paddle.amp.GradScaler(enable=self._is_mixed, init_loss_scaling=1024)

    @property
    def parts(self) -> int:
        """How many batches, of all processes, make one iteration."""
        return self.ranks * self._accumulate_steps

    @property
    def mine(self) -> range:
        """Those that this process has."""
        return range(self.rank * self._accumulate_steps, (self.rank + 1) * self._accumulate_steps)

    def step(self, batches: list[Any], seed: int) -> float:
        """Do one iteration; returns its loss. `seed`: of dropout, the same for a resumed training."""
        total = 0.0
        # of one batch alone they are what it leaves
        statistics = list(self._statistics.values()) if len(batches) > 1 else []
        befores = [tensor.clone() for tensor in statistics]
        sums = [paddle.zeros_like(tensor) for tensor in statistics]
        for number, (images, labels) in enumerate(batches, 1):
            paddle.seed(seed * self.parts + self.mine[number - 1])
            with self._alone() if number < len(batches) else nullcontext():
                loss = self._loss(images, labels)
                self._scaler.scale(loss / len(batches)).backward()
            total += float(loss) / len(batches)
            for tensor, before, summed in zip(statistics, befores, sums, strict=True):
                summed.add_(tensor)
                tensor.set_value(before)
        for tensor, summed in zip(statistics, sums, strict=True):
            tensor.set_value(summed / len(batches))
        if self.ranks > 1:
            total = self._mean(paddle.to_tensor(total)).item()
        if not np.isfinite(total):
            return total
        # its first step names its state, which is looked for under these names when a training goes on
        try:
            with paddle.utils.unique_name.guard():
                self._scaler.step(self._optimizer)
        except AssertionError as error:  # state that was given, and is not what it looks for
            reason = " ".join(str(error).split())[-100:]
            raise InputError(f"--resume_model: model.pdopt is not of this config's optimizer ({reason})") from None
        self._scaler.update()
        self._optimizer.clear_grad()
        if isinstance(self._optimizer._learning_rate, paddle.optimizer.lr.LRScheduler):
            self._optimizer._learning_rate.step()
        return total

    def _loss(self, images: Any, labels: Any) -> Any:
        with paddle.amp.auto_cast(
            enable=self._is_mixed, custom_white_list=_AMP_WHITE, custom_black_list=_AMP_BLACK, level="O1"
        ):
            return sum(loss_computation(self._parallel(images), labels, None, self._losses))

    def _alone(self) -> AbstractContextManager[None]:
        """Gradients stay in this process: they are exchanged with the last batch of an iteration."""
        return self._parallel.no_sync() if self.ranks > 1 else nullcontext()

    def _mean(self, tensor: Any) -> Any:
        paddle.distributed.all_reduce(tensor)
        return tensor.scale_(1 / self.ranks)

    def in_any_process(self, here: bool) -> bool:
        """Whether `here` is true in any process; all of them must ask at the same moment."""
        if self.ranks == 1:
            return here
        told = paddle.to_tensor(float(here))
        paddle.distributed.all_reduce(told)
        return bool(told > 0)

    @paddle.no_grad()
    def share_statistics(self, state: dict[str, Any]) -> None:
        """Give every process the mean of the running statistics in `state`, the model's or an average of it.

        Each process has seen its own frames alone. Sharing is linear, and so are running statistics and averages of
        them: it does not matter how often it is done.
        """
        if self.ranks > 1:
            for name in self._statistics:
                state[name].set_value(self._mean(state[name].clone()))
