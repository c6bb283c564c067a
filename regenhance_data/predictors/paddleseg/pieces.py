"""The pieces of a config: what one of them raises when it is used becomes one line that names the config and the piece.

PaddleSeg checks little of a config when it reads it. A transform, a network or a loss fails where it first meets a
frame, with any exception.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from regenhance_data.errors import InputError, one_line
from regenhance_data.predictors.paddleseg.compat import like_paddle_2

_MOST_CHARACTERS = 240
# what Paddle and PaddleSeg write around the reason: a C++ stack, general advice, and a place in Paddle's sources
_STACK = re.compile(r".*(Error Message Summary:\s*-+|error message is:)", re.DOTALL | re.IGNORECASE)
_PLACE = re.compile(r"\(at /\S+:\d+\)|\[operator < \S+ > error\]")


@contextmanager
def named(piece: str) -> Iterator[None]:
    """InputError, which begins with `piece`, for every exception inside the block that is not one already."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{piece}: {reason(error)}") from None


def reason(error: BaseException) -> str:
    """Why Paddle or PaddleSeg raised `error`, on one line."""
    text = _PLACE.sub("", _STACK.sub("", str(error))).strip()
    named = "" if isinstance(error, InputError | RuntimeError | ValueError) and text else f"{type(error).__name__} "
    return one_line(Exception(f"{named}{text}"), _MOST_CHARACTERS)


class Transforms:
    """The transforms of a dataset of the config: a mapping with `img` (BGR float32 [H, W, 3]) and perhaps `label`
    [H, W] → the same with `img` RGB [3, h, w]. `transforms`: PaddleSeg's own objects. InputError as `named`.
    """

    def __init__(self, transforms: Sequence[Any], where: str) -> None:
        self.transforms, self._where = list(transforms), where

    def __call__(self, data: dict[str, Any]) -> dict[str, Any]:
        data["img"] = cv2.cvtColor(data["img"], cv2.COLOR_BGR2RGB)
        for number, transform in enumerate(self.transforms):
            with named(f"{self._where}[{number}] ({type(transform).__name__})"):
                data = transform(data)
        image = np.asarray(data["img"], np.float32)
        if image.ndim != 3 or image.shape[2] != 3:
            raise InputError(f"{self._where}: make an image of shape {list(image.shape)}, expected [height, width, 3]")
        data["img"] = np.ascontiguousarray(image.transpose(2, 0, 1))
        return data


def name_losses(losses: dict[str, Any], path: Path) -> dict[str, Any]:
    """PaddleSeg's losses of a config, each of which raises InputError as `named` and gets labels of its own.

    DiceLoss writes into its labels: without a copy, losses after it would count ignored pixels as level 0.
    """
    for number, loss in enumerate(losses["types"]):
        where = f"{path}: loss.types[{number}]"
        _name_loss(loss, f"{where} ({type(loss).__name__})")
        for inner, part in enumerate(loss.losses if type(loss).__name__ == "MixedLoss" else []):
            _name_loss(part, f"{where}.losses[{inner}] ({type(part).__name__})")
    return losses


def _name_loss(loss: Any, where: str) -> None:
    if "forward" in vars(loss):  # one object for several outputs
        return
    forward = loss.forward

    def named_forward(logits: Any, labels: Any, *args: Any, **keywords: Any) -> Any:
        with named(where):
            if labels is None:
                raise InputError(f"{where}: needs the edges of labels; set train_dataset.edge to True")
            return forward(logits, labels.clone() if hasattr(labels, "clone") else labels, *args, **keywords)

    loss.forward = named_forward


def outputs(model: Any, images: Any, path: Path) -> list[Any]:
    """The outputs of the config's network for images [N, 3, h, w], one for each loss. InputError as `named`."""
    with named(f"{path}: model ({type(model).__name__})"), like_paddle_2():
        found = model(images)
        if not isinstance(found, list | tuple) or not len(found):
            raise InputError(f"{path}: model ({type(model).__name__}): returns no list of outputs")
        return list(found)
