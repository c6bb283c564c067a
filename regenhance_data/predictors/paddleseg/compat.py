"""PaddleSeg 2.8.0 on Paddle 3: the newest PaddleSeg on the package index was written for Paddle 2.

Paddle 2 converted integers and booleans that met floating-point numbers; Paddle 3 raises a TypeError, in half of
PaddleSeg's losses and in some of its networks. Inside `like_paddle_2` they are converted again. Where nothing is
mixed, as in a PaddleSeg that was written for Paddle 3, this changes nothing.

The gradient of a maximum over a whole tensor takes Paddle 3.2 minutes on a CPU (its time grows with the square of the
size); inside the block it is computed with topk.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_OPERATORS = tuple(f"__{side}{name}__" for name in ("add", "sub", "mul", "truediv", "pow") for side in ("", "r"))


@contextmanager
def like_paddle_2() -> Iterator[None]:
    """Inside the block, an operator on tensors of two kinds converts booleans to integers and both to floats, and the
    gradient of a maximum is fast.
    """
    import paddle
    import paddle.nn.functional as F

    real = {name: getattr(paddle.Tensor, name) for name in _OPERATORS}
    one_hot, maximum = F.one_hot, paddle.Tensor.max

    def fast_maximum(self: Any, *args: Any, **keywords: Any) -> Any:
        return maximum(self, *args, **keywords) if args or keywords else self.flatten().topk(1)[0].squeeze()

    for name, operator in real.items():
        setattr(paddle.Tensor, name, _converting(operator))
    F.one_hot = lambda x, *args, **keywords: one_hot(x.astype("int64"), *args, **keywords)
    paddle.Tensor.max = fast_maximum
    try:
        yield
    finally:
        F.one_hot, paddle.Tensor.max = one_hot, maximum
        for name, operator in real.items():
            setattr(paddle.Tensor, name, operator)


def _converting(operator: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """The operator on two tensors of one kind: the lesser is converted to the dtype of the greater."""
    import paddle

    def kind(tensor: Any) -> int:
        return 2 if tensor.is_floating_point() else int(tensor.dtype != paddle.bool)

    def converted(self: Any, other: Any) -> Any:
        if isinstance(other, paddle.Tensor) and self.dtype != other.dtype:
            mine, its = kind(self), kind(other)
            if mine > its:
                other = other.astype(self.dtype)
            elif its > mine:
                self = self.astype(other.dtype)
        return operator(self, other)

    return converted
