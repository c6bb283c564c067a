"""Training samples of the built-in networks: HR frames of the street, and LR frames as from a small camera."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import cv2
import numpy as np

from regenhance_data.console import progress
from regenhance_data.errors import InputError
from regenhance_data.io.leftovers import temporary_folder
from regenhance_data.io.video import VideoWriter, read_video
from regenhance_data.parallel.threads import bounded_map
from regenhance_data.street.scene import render_scene

TRAINING_SEEDS = 1000  # seeds below are for training; the demo and the tests use seeds from here on
SCALE = 3
CRF = (26, 32)  # x264's rate factor of the training clips: visible artefacts, but still visible objects
_CLIP_FRAMES, _EVERY = 9, 4  # frames 0, 4 and 8 at 10 frames per second: one intra-coded, two predicted


class Sample(NamedTuple):
    """One moment of a street: the HR frame with its true boxes, and the LR frame."""

    hr: np.ndarray  # uint8 [H, W, 3]
    boxes: np.ndarray  # float32 [n, 4] xyxy pixels of the HR frame
    labels: np.ndarray  # int64 [n]
    lr: np.ndarray  # uint8 [H / 3, W / 3, 3]


def camera_view(frames: Iterable[np.ndarray], crf: int, scale: int = SCALE) -> Iterator[np.ndarray]:
    """`frames` (uint8 [H, W, 3], sides multiples of 2·scale) downscaled by `scale`, H.264-encoded and decoded."""
    with temporary_folder() as folder:
        path = folder / "camera.mp4"
        with VideoWriter(path, fps=10, crf=crf) as video:
            for frame in frames:
                size = frame.shape[1] // scale, frame.shape[0] // scale
                video.write(cv2.resize(frame, size, interpolation=cv2.INTER_AREA))
        yield from read_video(path)


def refuse_street_count(seeds: int) -> None:
    """InputError where there are fewer streets for training."""
    if not 1 <= seeds <= TRAINING_SEEDS:
        raise InputError(f"--streets {seeds}: expected 1 to {TRAINING_SEEDS}; the others are kept for tests")


def training_samples(seeds: int) -> list[Sample]:
    """The samples of streets 0 .. `seeds` − 1, three of each; about half a second and 5 MB per street."""
    refuse_street_count(seeds)
    clips = bounded_map(_clip, range(seeds))
    return [sample for clip in progress(clips, "render", seeds, "street") for sample in clip]


def _clip(seed: int) -> list[Sample]:
    rendered = list(render_scene(seed, _CLIP_FRAMES))
    crf = int(np.random.default_rng(seed).integers(CRF[0], CRF[1] + 1))
    lr_frames = list(camera_view((frame for frame, _, _ in rendered), crf))
    return [Sample(*rendered[i], lr_frames[i]) for i in range(0, _CLIP_FRAMES, _EVERY)]


def crop_corner(rng: np.random.Generator, sample: Sample, size_wh: tuple[int, int]) -> np.ndarray:
    """A random crop of `size_wh` pixels of the LR frame: its corner int64 [2] (left, top).

    Three in four cover a random object, the rest lie anywhere: most of a street is empty and easy to learn.
    """
    frame_wh = np.array(sample.lr.shape[1::-1])
    corner = rng.uniform(0, frame_wh - size_wh)
    if len(sample.boxes) and rng.random() < 0.75:
        box = sample.boxes[rng.integers(len(sample.boxes))] / SCALE
        corner = rng.uniform(box[2:] - size_wh, box[:2] + 1) if (box[2:] - box[:2] < size_wh).all() else box[:2]
    return corner.clip(0, frame_wh - size_wh).astype(np.int64)
