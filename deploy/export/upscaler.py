"""Upscalers as ONNX files, compared with PyTorch before they are written."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import onnx

from deploy.artifacts.onnx import refuse_overwriting_others
from deploy.backends.registry import installed_backends
from deploy.backends.upscaling import load_onnx_upscaler
from regenhance_data import KIT, __version__
from regenhance_data.errors import InputError
from regenhance_data.io.files import atomic_write, write_json
from regenhance_data.street.scene import render_scene
from regenhance_data.upscalers.loading import load_upscaler, upscaler_record
from regenhance_data.upscalers.onnx import HALO_KEY
from regenhance_data.upscalers.receptive_field import exact_halo
from regenhance_data.upscalers.settings import UpscalerSettings

if TYPE_CHECKING:
    from regenhance_data.upscalers.tiling import TiledUpscaler

_COMPARED_WH = ((160, 96), (93, 61))  # sizes of the frames: a graph that holds one size fails on the other
_MOST_LEVELS = 1  # that a pixel may differ, of 255: another order of sums, then rounding


def export_upscaler(settings: UpscalerSettings, path: Path) -> None:
    """Write an upscaler that PyTorch runs as a graph on pixels (see `upscaler_onnx`), in full precision, and a report
    of its comparison with PyTorch in every installed engine. InputError, and no graph, where they differ, and where
    another file would be overwritten.
    """
    refuse_overwriting_others(path)
    from regenhance_data.upscalers.onnx_export import upscaler_onnx

    upscaler = load_upscaler(replace(settings, precision="fp32"))
    graph, halo = upscaler_onnx(upscaler.network), exact_halo(upscaler.network)
    about = {
        **{"kit": KIT, "kit_version": __version__, "model": settings.kind.name, "scale": settings.scale},
        **{"weights_sha256": upscaler_record(settings)["sha256"], HALO_KEY: "" if halo.px is None else halo.px},
    }
    onnx.helper.set_model_props(graph, {key: str(value) for key, value in about.items()})
    with atomic_write(path) as temporary:
        onnx.save(graph, str(temporary))
        engines = _compared(upscaler, UpscalerSettings(f"onnx:{temporary}", settings.scale), path)
    report = path.with_suffix(".parity.json")
    write_json(report, {**about, "tolerance": {"max": _MOST_LEVELS}, "engines": engines})
    for name, measured in engines.items():
        most, mean = measured["max"], measured["mean"]
        print(f"{name:12s} differs from PyTorch by {most} of 255 at most, {mean:.1e} in the mean")
    print(f"halo: {'none, ' if halo.px is None else f'{halo.px} LR pixels, '}{halo.how}")
    print(f"wrote {path} ({load_upscaler(UpscalerSettings(f'onnx:{path}', settings.scale)).read_as}), {report}")


def _compared(upscaler: "TiledUpscaler", settings: UpscalerSettings, path: Path) -> dict[str, dict[str, Any]]:
    """How much the file differs from PyTorch in each engine, in levels of 255, on frames of a street."""
    frame, _, _ = next(iter(render_scene(0, 1)))
    frames = [cv2.resize(frame, size_wh, interpolation=cv2.INTER_AREA)[None] for size_wh in _COMPARED_WH]
    expected = [upscaler(one).astype(int) for one in frames]
    found = {}
    for engine in installed_backends():
        exported = load_onnx_upscaler(settings, engine)
        differences = [np.abs(exported(one) - made) for one, made in zip(frames, expected, strict=True)]
        most = max(int(one.max()) for one in differences)
        if most > _MOST_LEVELS:
            raise InputError(
                f"{path}: the exported graph in {engine} differs from PyTorch by {most} of 255; no graph was written: "
                "this network cannot be exported, keep --model as it is"
            )
        found[engine] = {"max": most, "mean": float(np.mean([one.mean() for one in differences]))}
    return found
