"""Each stage beside its bound or the obvious way, in one process and turn by turn; prints ratios, asserts no time.

make bench
"""

import io
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from regenhance_data.dataset.folder import Dataset
from regenhance_data.dataset.label_png import label_png
from regenhance_data.detectors.base import BoxDetector, Detector
from regenhance_data.detectors.loading import load_detector
from regenhance_data.detectors.settings import DetectorSettings
from regenhance_data.grid import MacroblockGrid
from regenhance_data.importance.formulas import importance_map
from regenhance_data.importance.frame_pairs import FramePair
from regenhance_data.io.video import VideoWriter, read_video
from regenhance_data.regions.composite import upsample_frame
from regenhance_data.stages.extract import ExtractionSettings, extract
from regenhance_data.stages.make_seg_dataset import make_seg_dataset
from regenhance_data.street.scene import render_scene
from tests.support.files import images_and_importance


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
    first = np.array(next(iter(times.values())))
    print()
    for name, taken in times.items():
        # turn by turn, so that what slows the machine down for a while slows both
        ratio = float(np.median(np.array(taken) / first))
        print(f"  {name.replace('_', ' '):44s} {medians[name]:9.2f} ms   ratio {ratio:5.2f}")
    return medians


@pytest.fixture(scope="module")
def street() -> list[np.ndarray]:
    return [frame for frame, _, _ in render_scene(1000, 30)]


@pytest.mark.parametrize(
    ("spec", "rounds"),
    [("builtin", 30), ("torchvision:fcos_resnet50_fpn", 5)],
)
def test_importance_beside_the_detectors_bare_forward_and_backward(street, spec, rounds):
    clear = street[-1]
    origin = cv2.resize(clear, (320, 180), interpolation=cv2.INTER_AREA)
    pair = FramePair(origin, clear, upsample_frame(origin, 3), MacroblockGrid(540, 960, 48))
    settings = DetectorSettings(spec, weights=None if spec == "builtin" else "none")
    if spec != "builtin":  # random weights find nothing: let the hundred best count
        scores = scores_of(load_detector(settings), clear)
        settings = replace(settings, score_threshold=float(scores.topk(100).values[-1]), max_box_area=1.0)
    detector = load_detector(settings)

    def bare() -> None:
        frames = detector.tensor(clear[None]).requires_grad_()
        torch.autograd.grad(detector.dense(frames).scores[0].sum(), frames)

    def bare_twice() -> None:
        bare()
        bare()

    print(f"\n  {spec}: {importance_map(detector, pair)[1]} detections")
    compare(
        rounds, bare_forward_and_backward=bare, importance_by_product=lambda: importance_map(detector, pair, "product")
    )
    compare(rounds, the_same_twice=bare_twice, importance_by_gain=lambda: importance_map(detector, pair, "gain"))


@torch.no_grad()
def scores_of(detector: Detector, frame: np.ndarray) -> torch.Tensor:
    assert isinstance(detector, BoxDetector)
    return detector.dense(detector.tensor(frame[None])).scores[0].flatten()


def test_a_label_beside_pillows_encoder_and_beside_kron_with_pillows_default():
    grid = MacroblockGrid(360, 640)
    levels = np.random.default_rng(0).integers(0, 10, grid.shape, dtype=np.uint8)
    encoded = Image.open(io.BytesIO(label_png(levels, grid, 10)))
    encoded.load()
    compare(
        200,
        pillows_png_encoder_alone=lambda: encoded.save(io.BytesIO(), "PNG", compress_level=1),
        label=lambda: label_png(levels, grid, 10),
        kron_and_pillows_default=lambda: kron_png(levels, grid, io.BytesIO()),
    )


@pytest.fixture
def folder_in_memory(tmp_path) -> Iterator[Path]:
    """A folder whose files cost no disk, where the machine has one: a busy disk took up to three times as long."""
    memory = Path("/dev/shm")
    if not memory.is_dir():
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


@pytest.mark.timeout(600)
def test_a_dataset_of_labels_beside_its_encoder_and_a_plain_loop(folder_in_memory):
    tmp_path = folder_in_memory
    count, runs, cores = 2000, iter(range(1000)), sorted(os.sched_getaffinity(0))
    dataset = Dataset(images_and_importance(tmp_path / "data", count))
    grid = MacroblockGrid(360, 640)
    levels = np.random.default_rng(0).integers(0, 10, (count, *grid.shape), dtype=np.uint8)
    pngs = [Image.open(io.BytesIO(label_png(one, grid, 10))) for one in levels[:50]]
    for png in pngs:
        png.load()

    def encoder_alone() -> None:
        for number in range(count):
            pngs[number % len(pngs)].save(io.BytesIO(), "PNG", compress_level=1)

    def plain_loop() -> None:
        folder = tmp_path / f"plain{next(runs)}"
        folder.mkdir()
        for number, one in enumerate(levels):
            kron_png(one, grid, folder / f"{number}.png")

    def whole() -> None:
        if (dataset.root / "labels").exists():  # removing them would cost as much as making them
            os.rename(dataset.root / "labels", tmp_path / f"made{next(runs)}")
        make_seg_dataset(Dataset(dataset.root))

    def on(cores: list[int], call: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            os.sched_setaffinity(0, cores)
            call()

        return run

    try:
        medians = compare(
            3,
            pillows_png_encoder_alone_on_one_core=on(cores[:1], encoder_alone),
            make_seg_dataset_on_one_core=on(cores[:1], whole),
            make_seg_dataset_on_two_cores=on(cores[:2], whole),
            kron_and_pillows_default_on_one_core=on(cores[:1], plain_loop),
        )
    finally:
        os.sched_setaffinity(0, cores)
    encoder, one, two, plain = (ms / count for ms in medians.values())
    print(f"  a label takes {one:.2f} ms on one core, {encoder / one:.2f} of the encoder's limit; on two cores it is")
    print(f"  {one / two:.2f} times as fast; the plain loop takes {plain / one:.2f} times as long")


def kron_png(levels: np.ndarray, grid: MacroblockGrid, file: object) -> None:
    Image.fromarray(np.kron(levels, np.ones((16, 16), np.uint8))[: grid.height, : grid.width]).save(file, "PNG")


def test_extraction_beside_ffmpegs_own_decoding_and_png(tmp_path):
    if not shutil.which("ffmpeg"):
        pytest.skip("there is no ffmpeg to compare with")
    video, runs = tmp_path / "street.mp4", iter(range(1000))
    with VideoWriter(video, 10) as writer:
        for frame, _, _ in render_scene(1000, 120):
            writer.write(frame)

    def decoding() -> None:
        for _ in read_video(video):
            pass

    def ffmpeg(*flags: str) -> None:
        folder = tmp_path / f"ffmpeg{next(runs)}"
        folder.mkdir()
        words = ["ffmpeg", "-v", "error", "-i", str(video), *flags, str(folder / "%06d.png")]
        subprocess.run(words, check=True, stdin=subprocess.DEVNULL)

    def ours(height: int) -> None:
        extract(Dataset(tmp_path / f"data{next(runs)}"), "street", video, ExtractionSettings(height=height))

    compare(
        5,
        ffmpeg_decoding_and_png_of_540_lines=lambda: ffmpeg(),
        extraction_of_540_lines=lambda: ours(540),
        ffmpeg_to_180_lines=lambda: ffmpeg("-vf", "scale=-2:180:flags=area"),
        extraction_to_180_lines=lambda: ours(180),
        decoding_alone=decoding,
    )
