"""What a training reads: frames through the config's transforms, in batches that a resumed training repeats."""

import random
import threading
from collections.abc import Iterator

import numpy as np
import paddle

from regenhance_data.predictors.paddleseg.config import PredictorConfig
from regenhance_data.predictors.samples import Samples, one_size_batches, shrunk_frame, shrunk_label

# Transforms draw from Python's and NumPy's global generators, and Paddle's loader prepares frames in a thread beside
# the validation of others.
_DRAWING = threading.Lock()


def prepared_image(image: np.ndarray, config: PredictorConfig, key: str) -> np.ndarray:
    """A frame as the network takes it: uint8 RGB [H, W, 3] → float32 [3, h, w], shrunk and through `key`'s transforms.

    Without a label; meant for those of val_dataset, which draw nothing.
    """
    return config.transforms(key)({"img": shrunk_frame(image[:, :, ::-1], config.shrink)})["img"]


class PreparedFrames(paddle.io.Dataset):
    """Frames through the transforms of the config's `key`, train_dataset or val_dataset, at its `shrink`.

    An item is asked for by (index, seed) and depends on nothing else: (float32 [3, h, w], label int64 [h, w]). For a
    network on the grid of macroblocks, training frames are made of whole ones first, so that a mirrored frame has the
    same ones.
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
        with _DRAWING:
            random.seed(seed)
            np.random.seed(seed)
            data = self._transforms({"img": bgr, "label": label, "gt_fields": ["label"], "trans_info": []})
        return data["img"], data["label"].astype(np.int64)

    def __len__(self) -> int:
        return len(self._samples)


class Batches(paddle.io.BatchSampler):
    """Iterations `start`+1 … `stop`, cut into `parts` of which those in `mine` are given, each a list of (index, seed).

    One batch has frames of one size, and its parts are as large as each other to one frame. Every epoch is a new order,
    made from the seed and its number alone, so that a resumed training goes on with the very batches the uninterrupted
    one would have had, and several processes share those that one would have.
    """

    def __init__(
        self,
        sizes_hw: list[tuple[int, int]],
        batch_size: int,
        start: int,
        stop: int,
        seed: int,
        parts: int = 1,
        mine: range = range(1),
    ) -> None:
        self._sizes_hw, self._size, self._seed = sizes_hw, batch_size, seed
        self._start, self._stop, self._parts, self._mine = start, stop, parts, mine

    def __len__(self) -> int:
        return (self._stop - self._start) * len(self._mine)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        iteration, epoch = 0, 0
        while iteration < self._stop:
            for batch in one_size_batches(self._sizes_hw, self._size, np.random.default_rng([self._seed, epoch])):
                iteration += 1
                if self._start < iteration <= self._stop:
                    draws = np.random.default_rng([self._seed, epoch, iteration]).integers(2**31, size=len(batch))
                    keys = list(zip(batch, draws.tolist(), strict=True))
                    keys *= -(-self._parts // len(keys))  # no part is empty, however few frames have this size
                    for part in self._mine:
                        yield keys[part :: self._parts]
            epoch += 1
