"""Real clips whose enhancement is perfect: the pixels of the originals are pasted. None of them is in this project."""

from collections.abc import Sequence
from itertools import islice

import cv2
import numpy as np

from deploy.online.cameras import CameraFrame
from deploy.online.loop import Detects, EnhancedFrame, Importance, Loop
from deploy.online.plan import Plan
from deploy.online.strategies import KnownFrame
from regenhance_data.detectors.loading import load_detector
from regenhance_data.detectors.settings import DetectorSettings
from regenhance_data.grid import MacroblockGrid
from regenhance_data.importance.formulas import importance_map
from regenhance_data.importance.frame_pairs import FramePair
from regenhance_data.io.images import jpeg_compressed
from regenhance_data.io.video import read_video
from regenhance_data.regions.composite import upsample_frame
from regenhance_data.regions.rectangles import Region
from tests.support.files import ROOT

DATA = ROOT.parent / "shared" / "data"
CLIPS = {"road_540p": "fixed", "suburb_352p": "fixed", "shop_1080p": "fixed", "highway_540p": "moving"}
FRAMES, SCALE, JPEG_QUALITY = 120, 3, 75
SETTINGS = DetectorSettings(
    f"onnx:{DATA / 'yolox_nano.onnx'}", classes=("person", "bicycle", "car", "motorcycle", "bus", "truck")
)


def frames_of(name: str, with_importance: bool = True, numbers: range = range(FRAMES)) -> list[KnownFrame]:
    """Frames of a clip in a row, their importance only where it is wanted: it takes most of the time."""
    detector = load_detector(SETTINGS)
    found = []
    video = islice(read_video(DATA / f"{name}.mp4"), numbers.start, numbers.stop)
    for number, rgb in enumerate(video, numbers.start):
        height, width = (side // SCALE for side in rgb.shape[:2])
        hr = np.ascontiguousarray(rgb[: height * SCALE, : width * SCALE])
        lr = jpeg_compressed(cv2.resize(hr, (width, height), interpolation=cv2.INTER_AREA), JPEG_QUALITY)
        grid = MacroblockGrid(height, width).scaled(SCALE)
        pair = FramePair(lr, hr, upsample_frame(lr, SCALE), grid)
        importance = importance_map(detector, pair)[0] if with_importance else None
        found.append(KnownFrame(name, number, 0.0, lr, lr, original=hr, importance=importance))
    return found


class Originals:
    """In place of an upscaler: the original's pixels. It knows a frame by its LR pixels."""

    mode, halo_px, scale = "regions", 0, SCALE

    def __init__(self, frames: Sequence[KnownFrame]) -> None:
        self._originals = {id(frame.lr): frame.original for frame in frames}

    def enhance(self, lr: np.ndarray, regions: Sequence[Region]) -> list[np.ndarray]:
        return [self._originals[id(lr)][region.inner.scaled(SCALE).slices] for region in regions]

    def pixels_seen(self, regions: Sequence[Region], lr_hw: tuple[int, int]) -> int:
        return sum(region.inner.height * region.inner.width for region in regions)


def known_importance(frames: Sequence[CameraFrame]) -> np.ndarray:
    return np.stack([frame.importance for frame in frames if isinstance(frame, KnownFrame)])


def run_loop(
    plan: Plan, importance: Importance, frames: Sequence[KnownFrame], detector: Detects
) -> list[EnhancedFrame]:
    """What the loop makes of frames in a row, with perfect enhancement."""
    grid = MacroblockGrid(*frames[0].lr.shape[:2])
    loop = Loop(plan, grid, importance, Originals(frames), detector)
    return [item for frame in frames for item in loop.step([frame]).done]
