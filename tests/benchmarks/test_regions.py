"""What covering and packing add to the pixels of the chosen macroblocks, and what they cost beside them.

python -m pytest tests/benchmarks/test_regions.py -s
"""

import time
from collections.abc import Iterator
from functools import partial
from itertools import chain, islice

import cv2
import numpy as np
import pytest

from deploy.backends.upscaling import load_onnx_upscaler
from deploy.export.upscaler import export_upscaler
from regenhance_data.grid import MacroblockGrid
from regenhance_data.io.video import read_video
from regenhance_data.regions.atlas import pack_densely, pack_into
from regenhance_data.regions.composite import paste_regions, upsample_frame
from regenhance_data.regions.rectangles import cover
from regenhance_data.regions.selection import select_macroblocks
from regenhance_data.upscalers.enhancement import RegionEnhancer
from regenhance_data.upscalers.settings import UpscalerSettings
from tests.support.files import ROOT

CLIPS = ROOT.parent / "shared" / "data"
NAMES = ("highway_540p", "road_540p", "suburb_352p", "shop_1080p")
FRAMES, SCALE, TOGETHER = 12, 3, 4  # TOGETHER: frames of a round, as of so many cameras
TURNS = 60


def maps(name: str) -> Iterator[tuple[MacroblockGrid, np.ndarray]]:
    """Grid of the LR frame and |original − upsampled| of macroblocks, of frames spread over a real clip."""
    for frame in islice(read_video(CLIPS / f"{name}.mp4", every=16), FRAMES):
        height, width = (side // SCALE for side in frame.shape[:2])
        original = frame[: height * SCALE, : width * SCALE]
        lr = cv2.resize(original, (width, height), interpolation=cv2.INTER_AREA)
        grid = MacroblockGrid(height, width)
        apart = cv2.absdiff(original, upsample_frame(lr, SCALE)).mean(-1)
        yield grid, grid.scaled(SCALE).mean(apart)


def bound(selected: np.ndarray, grid: MacroblockGrid, halo_px: int) -> int:
    """The pixels that super-resolution must see: those of the mask, dilated by the halo."""
    return int(cv2.dilate(grid.spread(selected).astype(np.uint8), np.ones((2 * halo_px + 1,) * 2, np.uint8)).sum())


@pytest.mark.skipif(not CLIPS.is_dir(), reason="the real clips are not here")
@pytest.mark.parametrize("name", NAMES)
def test_pixels_seen_beside_the_least_possible(name):
    found = list(maps(name))
    print(
        f"\n{name}: pixels that super-resolution sees ÷ pixels of the selected macroblocks; beside the least possible"
    )
    for halo_px in (0, 3, 7):
        for budget in (0.05, 0.1, 0.2):
            chosen = [(grid, select_macroblocks(scores, budget)) for grid, scores in found]
            covers = [cover(selected, grid, halo_px) for grid, selected in chosen]
            pixels = sum(int(grid.areas[selected].sum()) for grid, selected in chosen)
            seen = sum(one.outer.area for regions in covers for one in regions)
            least = sum(bound(s, grid, halo_px) for grid, s in chosen)
            sizes = [[(one.outer.height, one.outer.width) for one in regions] for regions in covers]
            rounds = [list(chain(*sizes[at : at + TOGETHER])) for at in range(0, len(sizes), TOGETHER)]
            started = time.perf_counter()
            atlases = [pack_densely(some) for some in rounds]
            packed_ms = 1e3 * (time.perf_counter() - started) / len(sizes)
            occupancy = seen / sum(atlas.height * atlas.width for atlas in atlases)
            print(
                f"  halo {halo_px}, {budget:4.0%}: {seen / pixels:.2f} ({seen / least:.2f} × the least), "
                f"{sum(map(len, covers)) / len(covers):.0f} regions a frame, "
                f"atlas of {TOGETHER} frames {occupancy:.1%} full, packed in {packed_ms:.1f} ms a frame"
            )


@pytest.mark.skipif(not CLIPS.is_dir(), reason="the real clips are not here")
def test_time_of_all_decisions_for_a_1080p_frame_beside_its_super_resolution(tmp_path):
    export_upscaler(UpscalerSettings("builtin"), tmp_path / "up.onnx")
    upscaler = load_onnx_upscaler(UpscalerSettings(f"onnx:{tmp_path / 'up.onnx'}"), "openvino")
    (grid, scores), *_ = maps("shop_1080p")
    hr_grid = grid.scaled(SCALE)
    lr, frame = (np.zeros((g.height, g.width, 3), np.uint8) for g in (grid, hr_grid))
    hr = np.full_like(frame, 255)

    def decide(halo_px: int) -> None:
        selected = select_macroblocks(scores, 0.1)
        regions = cover(selected, grid, halo_px)
        _ = [np.ascontiguousarray(lr[region.outer.slices]) for region in regions]
        enhanced = [hr[region.inner.scaled(SCALE).slices] for region in regions]
        paste_regions(frame, regions, enhanced, selected, hr_grid.mb_size)

    for halo_px in (3, 7):
        regions = cover(select_macroblocks(scores, 0.1), grid, halo_px)
        sizes = [(one.outer.height, one.outer.width) for one in regions]
        widest = max(224, *(width for _, width in sizes))
        calls = {
            "select, cover, cut and paste": partial(decide, halo_px),
            "an atlas": partial(pack_densely, sizes),
            f"an atlas of {TOGETHER} such frames, a frame": partial(pack_densely, sizes * TOGETHER),
            "pictures of one size": partial(pack_into, sizes, 224, widest),
            "super-resolution": partial(RegionEnhancer(upscaler, "regions", halo_px).enhance, lr, regions),
        }
        taken: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(TURNS):
            for name, call in calls.items():
                started = time.perf_counter()
                call()
                taken[name].append(1e3 * (time.perf_counter() - started) / (TOGETHER if "such frames" in name else 1))
        whole = np.median(taken["super-resolution"])
        print(f"\n10 % of a 1080p frame in {len(regions)} regions, halo {halo_px}")
        for name, ms in taken.items():
            print(
                f"  {name:40s} {np.median(ms):6.2f} ms (p95 {np.quantile(ms, 0.95):6.2f})  {np.median(ms) / whole:.1%}"
            )
