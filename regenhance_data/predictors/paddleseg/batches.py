"""The frames of a training: through the config's transforms, in batches that a resumed training repeats."""

import random
import threading
from collections.abc import Iterator, Sequence

import numpy as np
from paddleseg.transforms.functional import mask_to_binary_edge

from regenhance_data.errors import InputError
from regenhance_data.parallel.processes import map_in_forks
from regenhance_data.parallel.threads import ahead
from regenhance_data.predictors.paddleseg.config import PredictorConfig
from regenhance_data.predictors.paddleseg.pieces import named
from regenhance_data.predictors.samples import Samples, one_size_batches, shrunk_frame, shrunk_label

# Transforms use Python's and NumPy's global random generators, and frames are prepared in a thread while others are
# validated.
_RANDOM_LOCK = threading.Lock()
_EDGE_RADIUS = 2  # PaddleSeg's
_BATCHES_AHEAD = 2

Key = tuple[int, int]  # (index of a frame, seed)
Batch = tuple[np.ndarray, ...]  # images float32 [N, 3, h, w], labels int64 [N, h, w], perhaps edges int64 [N, 1, h, w]


def prepared_image(image: np.ndarray, config: PredictorConfig, key: str) -> np.ndarray:
    """A frame as the network's input: uint8 RGB [H, W, 3] → float32 [3, h, w], shrunk and through `key`'s transforms.

    Meant for the transforms of val_dataset, which are not random. InputError where they change the frame's size.
    """
    bgr = shrunk_frame(image[:, :, ::-1], config.shrink)
    prepared = config.transforms(key)({"img": bgr, "gt_fields": [], "trans_info": []})["img"]
    _refuse_another_size(config, key, bgr, prepared)
    return prepared


def _refuse_another_size(config: PredictorConfig, key: str, frame: np.ndarray, prepared: np.ndarray) -> None:
    if frame.shape[:2] != prepared.shape[1:]:
        height, width = frame.shape[:2]
        raise InputError(
            f"{config.path}: {key}.transforms make {prepared.shape[2]}x{prepared.shape[1]} of a frame of "
            f"{width}x{height}, and importance belongs to the frame's macroblocks; remove what resizes or crops (a "
            "smaller input: --input_scale 0.5)"
        )


class PreparedFrames:
    """Frames through the transforms of the config's `key`, train_dataset or val_dataset, at its `shrink`.

    The key of an item is (index, seed); the item, (float32 [3, h, w], label int64 [h, w]) and, where train_dataset
    asks for it, the edges of the label int64 [1, h, w], depends on nothing else. Frames of val_dataset keep their size.
    For a network on the grid, training frames are padded to whole macroblocks first: a mirrored frame then has the
    same macroblocks.
    """

    def __init__(self, samples: Samples, config: PredictorConfig, key: str) -> None:
        self._samples, self._config, self._key = samples, config, key
        self._transforms = config.transforms(key)
        is_training = key == "train_dataset"
        self._whole_px = samples.mb_size // config.shrink if config.is_on_grid and is_training else 1
        self._with_edges = is_training and bool(config.seg.dic[key].get("edge"))

    def __getitem__(self, key: Key) -> Batch:
        index, seed = key
        image, label = self._samples.read(index)
        bgr = shrunk_frame(image[:, :, ::-1], self._config.shrink)
        label = shrunk_label(label, self._config.shrink)
        if right := -label.shape[1] % self._whole_px:
            bgr = np.pad(bgr, ((0, 0), (0, right), (0, 0)), mode="edge")
            label = np.pad(label, ((0, 0), (0, right)), mode="edge")
        with _RANDOM_LOCK:
            random.seed(seed)
            np.random.seed(seed)
            data = self._transforms({"img": bgr, "label": label, "gt_fields": ["label"], "trans_info": []})
        if self._key == "val_dataset":
            _refuse_another_size(self._config, self._key, bgr, data["img"])
        if not self._with_edges:
            return data["img"], data["label"].astype(np.int64)
        with named(f"{self._config.path}: {self._key}.edge"):
            edges = mask_to_binary_edge(data["label"].copy(), radius=_EDGE_RADIUS, num_classes=self._config.num_classes)
        return data["img"], data["label"].astype(np.int64), edges.astype(np.int64)

    def __len__(self) -> int:
        return len(self._samples)

    def batch(self, keys: Sequence[Key]) -> Batch:
        """Frames of one size, stacked. InputError where the transforms make several sizes of it."""
        items = [self[key] for key in keys]
        sizes = sorted({item[0].shape[1:] for item in items} | {item[1].shape for item in items})
        if len(sizes) > 1:
            raise InputError(
                f"{self._config.path}: {self._key}.transforms make frames of several sizes "
                f"({' and '.join(f'{width}x{height}' for height, width in sizes[:3])}), a batch has one; end them with "
                "RandomPaddingCrop, or give --batch_size 1"
            )
        return tuple(np.stack(parts) for parts in zip(*items, strict=True))

    def batches(self, order: "Batches", workers: int) -> Iterator[Batch]:
        """The batches of `order`, prepared ahead: in `workers` processes, or with 0 in a thread of this one."""
        if workers:
            return map_in_forks(self.batch, order, workers)
        return ahead(map(self.batch, order), _BATCHES_AHEAD)


class Batches:
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

    def __iter__(self) -> Iterator[list[Key]]:
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
