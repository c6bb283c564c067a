"""Each stage beside its bound or the obvious way, in one process and turn by turn; prints ratios, asserts no time.

make bench
"""

import io
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import fill_dataset
from PIL import Image

from regenhance_data.dataset import Dataset, blurred_frame
from regenhance_data.detectors import DetectorSettings, load_detector
from regenhance_data.extraction import ExtractionSettings, extract
from regenhance_data.formulas import FramePair, importance_map
from regenhance_data.grid import MacroblockGrid
from regenhance_data.labels import label_png, make_seg_dataset
from regenhance_data.scene import render_scene
from regenhance_data.video import VideoWriter, read_video


def compare(rounds: int, **calls: Callable[[], object]) -> dict[str, float]:
    """The median milliseconds of each call, all taking turns; prints them and their ratios to the first."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if turn:  # the first turn warms up
                times[name].append(1000 * (time.perf_counter() - start))
    medians = {name: float(np.median(taken)) for name, taken in times.items()}
    first = next(iter(medians.values()))
    print()
    for name, median in medians.items():
        print(f"  {name.replace('_', ' '):44s} {median:9.2f} ms   ratio {median / first:5.2f}")
    return medians


@pytest.fixture(scope="module")
def street() -> list[np.ndarray]:
    return [frame for frame, _, _ in render_scene(1000, 30)]


def test_importance_beside_the_detectors_bare_forward_and_backward(street):
    detector = load_detector(DetectorSettings())
    clear = street[-1]
    origin = cv2.resize(clear, (320, 180), interpolation=cv2.INTER_AREA)
    pair = FramePair(origin, clear, blurred_frame(origin, 3), MacroblockGrid(540, 960, 48))

    def bare() -> None:
        frames = detector.tensor(clear[None]).requires_grad_()
        torch.autograd.grad(detector.dense(frames)[1].sum(), frames)

    compare(15, bare_forward_and_backward=bare, importance=lambda: importance_map(detector, pair))


def test_labels_beside_kron_and_pillows_default(tmp_path):
    grid = MacroblockGrid(360, 640)
    levels = np.random.default_rng(0).integers(0, 10, grid.shape, dtype=np.uint8)

    def plain() -> None:
        Image.fromarray(np.kron(levels, np.ones((16, 16), np.uint8))[:360]).save(io.BytesIO(), "PNG")

    spread = Image.fromarray(grid.spread(levels))
    compare(
        100,
        png_encoder_alone=lambda: spread.save(io.BytesIO(), "PNG", compress_level=1),
        label=lambda: label_png(levels, grid, 10),
        kron_and_pillows_default=plain,
    )
    dataset = fill_dataset(tmp_path, {"cam": 200}, 360, 640)
    start = time.perf_counter()
    make_seg_dataset(dataset)
    print(f"  a whole dataset: {1000 * (time.perf_counter() - start) / 200:.2f} ms a frame, with files and lists")


def test_extraction_beside_decoding_and_png(tmp_path, street):
    video = tmp_path / "street.mp4"
    with VideoWriter(video, 10) as writer:
        for frame in street:
            writer.write(frame)

    def decode_and_encode() -> None:
        for frame in read_video(video):
            cv2.imencode(".png", cv2.resize(frame, (320, 180)), [cv2.IMWRITE_PNG_COMPRESSION, 1])

    runs = iter(range(100))

    def whole() -> None:
        extract(Dataset(tmp_path / str(next(runs))), "street", Path(video), ExtractionSettings(height=180))

    compare(
        5,
        decode_alone=lambda: sum(1 for _ in read_video(video)),
        decode_resize_png_in_one_thread=decode_and_encode,
        extraction=whole,
    )
