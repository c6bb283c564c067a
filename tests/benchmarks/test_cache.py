"""The cache of enhanced macroblocks beside enhancing anew, on real clips, where enhancement is perfect: the original's
pixels. Prints F1 against the detector's results on the originals, and its paired difference from that of a fresh 10 %.

python -m pytest tests/benchmarks/test_cache.py -s
"""

from collections.abc import Sequence
from itertools import islice

import cv2
import numpy as np
import pytest

from deploy.online.cameras import CameraFrame
from deploy.online.detectors import load_online_detector
from deploy.online.plan import Plan
from deploy.online.rounds import Loop
from deploy.online.strategies import KnownFrame
from regenhance_data.detectors.loading import load_detector
from regenhance_data.detectors.settings import DetectorSettings
from regenhance_data.evaluation.bootstrap import Counts, CurvePoint, bootstrap_lead
from regenhance_data.grid import MacroblockGrid
from regenhance_data.importance.formulas import importance_map
from regenhance_data.importance.frame_pairs import FramePair
from regenhance_data.io.images import jpeg_compressed
from regenhance_data.io.video import read_video
from regenhance_data.metrics.detection import count_matches, f1
from regenhance_data.metrics.resampling import blocks_of
from regenhance_data.regions.cache import CachePolicy
from regenhance_data.regions.composite import upsample_frame
from regenhance_data.regions.rectangles import Region
from tests.support.files import ROOT

DATA = ROOT.parent / "shared" / "data"
CLIPS = {"road_540p": "fixed", "suburb_352p": "fixed", "shop_1080p": "fixed", "highway_540p": "moving"}
FRAMES, SCALE, JPEG_QUALITY = 120, 3, 75
FRESH = CurvePoint("enhanced anew", 0.1)
CLASSES = ("person", "bicycle", "car", "motorcycle", "bus", "truck")


def frames_of(name: str) -> list[KnownFrame]:
    """Frames of a clip in a row, with their importance."""
    detector = load_detector(DetectorSettings(f"onnx:{DATA / 'yolox_nano.onnx'}", classes=CLASSES))
    found = []
    for number, rgb in enumerate(islice(read_video(DATA / f"{name}.mp4"), FRAMES)):
        height, width = (side // SCALE for side in rgb.shape[:2])
        hr = np.ascontiguousarray(rgb[: height * SCALE, : width * SCALE])
        lr = jpeg_compressed(cv2.resize(hr, (width, height), interpolation=cv2.INTER_AREA), JPEG_QUALITY)
        grid = MacroblockGrid(height, width).scaled(SCALE)
        importance, _ = importance_map(detector, FramePair(lr, hr, upsample_frame(lr, SCALE), grid))
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


@pytest.mark.skipif(not DATA.is_dir(), reason="the real clips are not here")
@pytest.mark.parametrize("name", CLIPS)
def test_f1_of_kept_macroblocks_beside_those_enhanced_anew(name):
    frames = frames_of(name)
    grid = MacroblockGrid(*frames[0].lr.shape[:2])
    hr_hw = frames[0].original.shape[:2]
    detector = load_online_detector(DetectorSettings(f"onnx:{DATA / 'yolox_nano.onnx'}", classes=CLASSES), hr_hw)
    references = [detector.detect(frame.original[None])[0] for frame in frames]
    print(f"\n{name}, {CLIPS[name]} camera, {len(frames)} frames: F1, macroblocks enhanced anew")
    blocks, counts, anew = blocks_of([name] * FRAMES), list[Counts]({} for _ in frames), dict[CurvePoint, float]()
    for budget in (0.0, 0.05, 0.1):
        for threshold in (0, 1, 2, 3, 4, 6, 10) if budget else (0,):
            plan = Plan(budget, cache=CachePolicy(threshold))
            loop = Loop(plan, grid, known_importance, Originals(frames), detector)
            done = [item for frame in frames for item in loop.step([frame]).done]
            point = CurvePoint(f"cache, threshold {threshold}" if threshold else FRESH.curve, budget)
            anew[point] = np.mean([item.selected.mean() for item in done])
            for one, item, reference in zip(counts, done, references, strict=True):
                one[point] = count_matches(item.found, reference)
    for point, share in anew.items():
        score, lead = float(f1(sum(one[point] for one in counts))), bootstrap_lead(counts, point, FRESH, blocks)
        low, high = lead.interval_95
        way = f"{point.budget:4.0%} {point.curve:19} {score:.3f} {share:6.1%}"
        print(f"  {way}; above a fresh 10 %: {lead.value:+.3f} ({low:+.3f} to {high:+.3f})")
