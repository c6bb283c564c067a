"""What many tests need: commands run as a user runs them, small videos, small datasets."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import settings

from regenhance_data.dataset.folder import Dataset, Frame
from regenhance_data.dataset.importance_file import write_importance
from regenhance_data.grid import MacroblockGrid
from regenhance_data.io.images import write_image

ROOT = Path(__file__).resolve().parent.parent
settings.register_profile("kit", deadline=None, max_examples=50)
settings.load_profile("kit")


@pytest.fixture(scope="session")
def run() -> Callable[..., subprocess.CompletedProcess]:
    """run("tools/extract.py", "--video", …): the command in a process of its own, from the project's root."""

    def run_command(*words: object, code: int = 0, **options: object) -> subprocess.CompletedProcess:
        command = [str(Path(sys.executable).with_name("paddleseg"))] if words[0] == "paddleseg" else [sys.executable]
        command += [str(word) for word in (words[1:] if words[0] == "paddleseg" else words)]
        environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment, **options)
        assert result.returncode == code, f"exit {result.returncode}, expected {code}\n{result.stdout}\n{result.stderr}"
        return result

    return run_command


@pytest.fixture(scope="session")
def refused(run) -> Callable[..., str]:
    """refused("tools/extract.py", …): the one line with which a command refuses bad input (exit code 2)."""

    def run_refused(*words: object, **options: object) -> str:
        result = run(*words, code=2, **options)
        assert "Traceback" not in result.stderr
        lines = [line for line in result.stderr.splitlines() if ": error: " in line]
        assert len(lines) == 1, result.stderr
        return lines[0]

    return run_refused


def paddleseg(*words: object) -> int:
    """Run the console command in this process (Paddle takes seconds to start); return its exit code."""
    from regenhance_data.predictors.paddleseg.command import main

    with pytest.raises(SystemExit) as left:
        main([str(word) for word in words])
    return left.value.code


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """24 frames with labels and lists, to train on; other test modules have a dataset of their own."""
    from regenhance_data.stages.make_seg_dataset import make_seg_dataset

    made = fill_dataset(tmp_path_factory.mktemp("data"), {"a": 24})
    make_seg_dataset(made, gap=2)
    return made


@pytest.fixture(scope="session")
def detector_file(tmp_path_factory):
    """The ONNX of a detector that finds red and blue squares, at any size."""
    from tiny_detectors import write_detector

    return write_detector(tmp_path_factory.mktemp("squares") / "d.onnx", "yolox", (64, 96))


@pytest.fixture(scope="session")
def detector(detector_file):
    from regenhance_data.detectors.registry import load_detector
    from regenhance_data.detectors.settings import DetectorSettings

    return load_detector(DetectorSettings(f"onnx:{detector_file}"))


def encode(
    path: Path, frames: Sequence[np.ndarray], fps: int = 25, pixel_format: str = "yuv420p", times: Sequence[int] = ()
) -> Path:
    """A video of RGB frames; lossless for 8 bits 4:4:4. `times`: time stamps in 1/100 s for a variable frame rate."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"qp": "0", "bf": "0"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixel_format
        if times:
            stream.codec_context.time_base = Fraction(1, 100)
        for index, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            if times:
                frame.pts, frame.time_base = times[index], Fraction(1, 100)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def noise(count: int, height: int, width: int, seed: int = 0) -> list[np.ndarray]:
    """Frames of smooth noise, each with its own brightness, uint8 [height, width, 3]."""
    rng = np.random.default_rng(seed)
    frames = []
    for index in range(count):
        coarse = rng.integers(0, 100, (-(-height // 8), -(-width // 8), 3), dtype=np.uint8)
        image = coarse.repeat(8, axis=0).repeat(8, axis=1)[:height, :width]
        frames.append(np.ascontiguousarray(image + np.uint8(index * 150 // max(count, 1))))
    return frames


def fill_dataset(root: Path, clips: dict[str, int], height: int = 70, width: int = 93, seed: int = 0) -> Dataset:
    """A dataset with origin images and random heavy-tailed importance for `clips` {id: frames}."""
    rng = np.random.default_rng(seed)
    grid = MacroblockGrid(height, width)
    for clip, count in clips.items():
        for number, image in enumerate(noise(count, height, width, seed)):
            write_image(root / "origin_images" / clip / f"{number:06d}.png", image)
        importance = rng.pareto(1.0, (count, *grid.shape)).astype(np.float32)
        write_importance(Dataset(root).importance_path(clip), importance, np.arange(count))
    return Dataset.open(root)


def frame_paths(dataset: Dataset, folder: str, clip: str = "") -> dict[Frame, Path]:
    """Each frame of a clip and where its picture lies."""
    return {frame: dataset.path(folder, frame) for frame in dataset.frames(clip)}
