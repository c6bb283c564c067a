"""The frames of a training: through the config's transforms, in batches that a resumed training repeats."""

import random
import threading
from collections.abc import Iterator

import numpy as np
import paddle

from regenhance_data.predictors.paddleseg.config import PredictorConfig
from regenhance_data.predictors.samples import Samples, one_size_batches, shrunk_frame, shrunk_label

# Transforms use Python's and NumPy's global random generators, and Paddle's loader prepares frames in a thread while
# others are validated.
_RANDOM_LOCK = threading.Lock()


def prepared_image(image: np.ndarray, config: PredictorConfig, key: str) -> np.ndarray:
    """A frame as the network's input: uint8 RGB [H, W, 3] → float32 [3, h, w], shrunk and through `key`'s transforms.

    Meant for the transforms of val_dataset, which are not random.
    """
    return config.transforms(key)({"img": shrunk_frame(image[:, :, ::-1], config.shrink)})["img"]


class PreparedFrames(paddle.io.Dataset):
    """Frames through the transforms of the config's `key`, train_dataset or val_dataset, at its `shrink`.

    The key of an item is (index, seed); the item, (float32 [3, h, w], label int64 [h, w]), depends on nothing else.
    For a network on the grid, training frames are padded to whole macroblocks first: a mirrored frame then has the
    same macroblocks.
    """

    def __init__(self, samples: Samples, config: PredictorConfig, key: str) -> None:
        self._samples, self._shrink = samples, config.shrink
        self._transforms = config.transforms(key)
        self._whole_px = samples.mb_size // config.shrink if config.is_on_grid and key == "train_dataset" else 1

    def __getitem__(self, key: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        index, seed = key
        image, label = self._samples.read(index)
        bgr = shrunk_frame(image[:, :, ::-1], self._shrink)
        label = shrunk_label(label, self._shrink)
        if right := -label.shape[1] % self._whole_px:
            bgr = np.pad(bgr, ((0, 0), (0, right), (0, 0)), mode="edge")
            label = np.pad(label, ((0, 0), (0, right)), mode="edge")
        with _RANDOM_LOCK:
            random.seed(seed)
            np.random.seed(seed)
            data = self._transforms({"img": bgr, "label": label, "gt_fields": ["label"], "trans_info": []})
        return data["img"], data["label"].astype(np.int64)

    def __len__(self) -> int:
        return len(self._samples)


class Batches(paddle.io.BatchSampler):
    """The batches of iterations `start`+1 … `stop`, each a list of (index, seed).

    An iteration has `parts` batches, equal in size to within one frame, with frames of one size only; `own_parts` are
    those of this process. Each epoch has a new order, which depends on nothing but the seed and the epoch's number: a
    resumed training gets the batches that an uninterrupted one would get, and several processes share the batches that
    one process would get.
    """

    def __init__(
        self,
        sizes_hw: list[tuple[int, int]],
        batch_size: int,
        start: int,
        stop: int,
        seed: int,
        parts: int = 1,
        own_parts: range = range(1),
    ) -> None:
        self._sizes_hw, self._size, self._seed = sizes_hw, batch_size, seed
        self._start, self._stop, self._parts, self._own_parts = start, stop, parts, own_parts

    def __len__(self) -> int:
        return (self._stop - self._start) * len(self._own_parts)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        iteration, epoch = 0, 0
        while iteration < self._stop:
            for batch in one_size_batches(self._sizes_hw, self._size, np.random.default_rng([self._seed, epoch])):
                iteration += 1
                if self._start < iteration <= self._stop:
                    draws = np.random.default_rng([self._seed, epoch, iteration]).integers(2**31, size=len(batch))
                    keys = list(zip(batch, draws.tolist(), strict=True))
                    keys *= -(-self._parts // len(keys))  # no part is empty, however few frames have this size
                    for part in self._own_parts:
                        yield keys[part :: self._parts]
            epoch += 1
