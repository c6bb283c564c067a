"""Small videos, frames and datasets; the project's root."""

import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from regenhance_data.dataset.folder import Dataset
from regenhance_data.dataset.importance_file import write_importance
from regenhance_data.grid import MacroblockGrid
from regenhance_data.io.images import write_image

ROOT = Path(__file__).resolve().parents[2]


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
    """A dataset with LR frames and random heavy-tailed importance for `clips` {id: frames}."""
    rng = np.random.default_rng(seed)
    grid = MacroblockGrid(height, width)
    for clip, count in clips.items():
        for number, image in enumerate(noise(count, height, width, seed)):
            write_image(root / "origin_images" / clip / f"{number:06d}.png", image)
        importance = rng.pareto(1.0, (count, *grid.shape)).astype(np.float32)
        write_importance(Dataset(root).importance_path(clip), importance, np.arange(count))
    return Dataset.open(root)


def images_and_importance(root: Path, count: int) -> Path:
    """A clip of one picture `count` times, and random importance."""
    folder = root / "origin_images" / "cam"
    folder.mkdir(parents=True)
    write_image(folder / "000000.png", noise(1, 360, 640)[0])
    for number in range(1, count):
        os.link(folder / "000000.png", folder / f"{number:06d}.png")
    importance = np.random.default_rng(0).pareto(1.0, (count, *MacroblockGrid(360, 640).shape))
    write_importance(Dataset(root).importance_path("cam"), importance, np.arange(count))
    return root


def content(root):
    """Every file of a folder and its bytes."""
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}
