"""Enhancement of regions beside that of the whole frame, turn by turn; prints ratios, asserts no time.

make bench
"""

import time
from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch

from deploy.backends.upscaling import load_onnx_upscaler
from deploy.export.upscaler import export_upscaler
from regenhance_data.grid import MacroblockGrid
from regenhance_data.regions.rectangles import cover
from regenhance_data.regions.selection import select_macroblocks
from regenhance_data.upscalers.edsr import Edsr
from regenhance_data.upscalers.enhancement import RegionEnhancer
from regenhance_data.upscalers.loading import load_upscaler
from regenhance_data.upscalers.settings import UpscalerSettings
from regenhance_data.upscalers.tiling import TiledUpscaler

HEIGHT, WIDTH = 360, 640
BUDGETS = (0.05, 0.1, 0.2)
ROUNDS = 5


def median_ms(calls: list[Callable[[], object]], rounds: int) -> list[float]:
    """The median milliseconds of a core for each call, all taking turns; the first two warm up."""
    times: list[list[float]] = [[] for _ in calls]
    for turn in range(-2, rounds):
        for call, taken in zip(calls, times, strict=True):
            start = time.process_time()
            call()
            if turn >= 0:
                taken.append(1000 * (time.process_time() - start))
    return [float(np.median(taken)) for taken in times]


@pytest.mark.parametrize("name", ["builtin", "edsr"])
def test_regions_beside_the_whole_frame(tmp_path, name):
    """On one core. As importance is, the selection is blobs; ratio: to what as many pixels cost in the whole frame."""
    torch.set_num_threads(1)
    spec, halos = "builtin", (None, 3)
    if name == "edsr":
        torch.manual_seed(0)
        torch.save(Edsr(32, 2, 3).state_dict(), tmp_path / "edsr.pt")
        spec = f"edsr:{tmp_path / 'edsr.pt'}"
    export_upscaler(UpscalerSettings(spec), tmp_path / "up.onnx")
    rng = np.random.default_rng(0)
    lr, grid = rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8), MacroblockGrid(HEIGHT, WIDTH)
    scores = cv2.GaussianBlur(rng.random(grid.shape), (0, 0), 1.5)
    measure(f"{name} in torch", load_upscaler(UpscalerSettings(spec)), lr, scores, halos)
    for engine in ("onnxruntime", "openvino"):
        upscaler = load_onnx_upscaler(UpscalerSettings(f"onnx:{tmp_path / 'up.onnx'}"), engine, threads=1)
        measure(f"{name} in {engine}", upscaler, lr, scores, halos)


def measure(
    name: str, upscaler: TiledUpscaler, lr: np.ndarray, scores: np.ndarray, halos: tuple[int | None, ...]
) -> None:
    grid, calls, rows = MacroblockGrid(*lr.shape[:2]), [lambda: upscaler(lr[None])], []
    for halo_px in halos:
        for mode in ("regions", "atlas"):
            enhancer = RegionEnhancer(upscaler, mode, halo_px)
            for budget in BUDGETS:
                regions = cover(select_macroblocks(scores, budget), grid, enhancer.halo_px)
                seen = min(sum(region.outer.area for region in regions) / lr[..., 0].size, 1.0)
                calls.append(lambda enhancer=enhancer, regions=regions: enhancer.enhance(lr, regions))
                rows.append((f"{mode}, halo {enhancer.halo_px}, {budget:.0%} in {len(regions)} regions", seen))
    whole, *taken = median_ms(calls, ROUNDS)
    print(f"\n  {name}: the whole frame takes {whole:.1f} ms")
    for (what, seen), ms in zip(rows, taken, strict=True):
        print(f"  {what:42s} {ms:8.1f} ms  {seen:6.1%} of the pixels   ratio {ms / (seen * whole):5.2f}")
