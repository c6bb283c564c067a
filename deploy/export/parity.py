"""Parity: an exported file compared with the framework that trained it, before it is written."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx

from deploy.artifacts.onnx import read_onnx, refuse_overwriting_others
from deploy.backends.registry import installed_backends, load_predictor
from regenhance_data import KIT, __version__
from regenhance_data.dataset.folder import Dataset
from regenhance_data.defaults import BUDGET, SCALE
from regenhance_data.errors import InputError
from regenhance_data.grid import MacroblockGrid
from regenhance_data.io.files import atomic_write, sha256, write_json
from regenhance_data.metrics.ranking import spearman
from regenhance_data.regions.selection import select_macroblocks

# How much importance in [0, 1] may differ from Paddle's, by precision: the largest |difference|, or the mean.
# fp32: a hundredth of one of 10 levels. Another order of sums differed by less than 1e-5 on PP-MobileSeg-Tiny; a
# misread operator (the epsilon of a normalisation, see Paddle2ONNX issue 1618) is off by far more than this.
# fp16: a tenth of a level. CPUs compute in float32 between values rounded to half, which differed by less than 1e-3 on
# the trained sizes; ONNX's reference, which computes in half, by as much on mb_nano.
# int8: single macroblocks near a border of two levels differ by a level, which no bound on the largest can tell from a
# broken graph; the mean can: a fifth of a level.
TOLERANCES = {"fp32": ("max", 1e-3), "fp16": ("max", 1e-2), "int8": ("mean", 2e-2)}
# Of the importance within BUDGET, the share that the macroblocks selected by the export must have.
LEAST_KEPT = 0.95
_EXPORTERS = {"Paddle": "paddle2onnx", "PyTorch": "torch"}


def export_name(
    model: str,
    size_hw: tuple[int, int] | None = None,
    batch_size: int | None = 1,
    input_scale: float = 1.0,
    scale: int = SCALE,
) -> str:
    """How the names of all files of an export begin: that of its config, and what differs from the usual.

    size_hw: (height, width) of the frames where it was asked for. batch_size: None where it stays open. scale: of the
    upscaler, where no dataset has one of its own.
    """
    upscaled = "" if scale == SCALE else f"_x{scale}"
    size = f"_{size_hw[1]}x{size_hw[0]}" if size_hw else ""
    seen = "" if input_scale == 1 else f"_scale{input_scale:g}"
    batch = "_dynamic" if batch_size is None else "" if batch_size == 1 else f"_batch{batch_size}"
    return f"{model}{upscaled}{size}{seen}{batch}"


def file_name(name: str, precision: str, head: str = "macroblock") -> str:
    """The name of the ONNX file of an export, by its `export_name`."""
    return (
        name + ("" if head == "macroblock" else f"_{head}") + ("" if precision == "fp32" else f"_{precision}") + ".onnx"
    )


def parity(
    path: Path,
    head: str,
    frames: np.ndarray,
    reference: dict[str, np.ndarray],
    framework: str = "Paddle",
    precision: str = "fp32",
) -> dict[str, Any]:
    """Compare the ONNX file with `reference`, the framework's importance by head (see `paddle_importance`), in every
    installed backend. InputError when one differs by more than the precision's tolerance.
    """
    which, tolerance = TOLERANCES[precision]
    report: dict[str, Any] = {"frames": len(frames), "tolerance": {which: tolerance}, "backends": {}}
    expected = reference[head]
    batch = len(frames) if read_onnx(path).batch == 0 else None
    for backend in installed_backends() or ["auto"]:
        found = load_predictor(path, backend, batch_size=batch).predict(frames[..., ::-1])
        differences = np.abs(found - expected)
        measured = {
            "max": float(differences.max()),
            "mean": float(differences.mean()),
            "kept_at_10": float(np.mean([kept_share(a, b) for a, b in zip(found, expected, strict=True)])),
        }
        report["backends"][backend] = measured
        if not measured[which] <= tolerance:
            raise InputError(
                f"the exported graph in {backend} differs from {framework} by {measured[which]:.2g} ({which}), "
                f"{precision} may differ by {tolerance:g}; no graph was written: {_advice(precision, framework)}"
            )
        if precision != "fp32" and measured["kept_at_10"] < LEAST_KEPT:
            raise InputError(
                f"the macroblocks that the exported graph in {backend} selects hold {measured['kept_at_10']:.3f} of "
                f"the importance that {framework}'s hold, {LEAST_KEPT:g} is expected; no graph was written: "
                + _advice(precision, framework)
            )
        ranks = [spearman(a, b) for a, b in zip(found, reference["pixels"], strict=True)]
        known = [rank for rank in ranks if rank is not None]
        report["spearman_to_pixels_head"] = float(np.mean(known)) if known else None
    return report


def kept_share(found: np.ndarray, expected: np.ndarray) -> float:
    """Share of the importance that a 10 % budget can hold by `expected`, which the selection by `found` holds."""
    best = expected[select_macroblocks(expected, BUDGET)].sum()
    return float(expected[select_macroblocks(found, BUDGET)].sum() / best) if best > 0 else 1.0


def _advice(precision: str, framework: str) -> str:
    if precision == "int8":
        return "calibrate on more frames (--calibration_frames), or stay with fp16"
    if precision == "fp16":
        return "this network needs float32"
    return f"the exporter misread this network, try another {_EXPORTERS[framework]}"


def described(
    name: str,
    head: str,
    levels: int,
    grid: MacroblockGrid,
    dataset: Dataset | None,
    input_scale: float = 1.0,
    precision: str = "fp32",
    weights: Path | None = None,
) -> dict[str, Any]:
    """A predictor's metadata, which also begins its parity report.

    weights: file of the trained ones; None: random ones.
    """
    about = dataset.root / "dataset.yaml" if dataset else None
    return {
        "kit": KIT,
        "kit_version": __version__,
        "model": name,
        "head": head,
        "levels": levels,
        "mb_size": grid.mb_size,
        "scale": dataset.scale if dataset else SCALE,
        "dataset_sha256": sha256(about) if about and about.is_file() else "",
        "input_height": grid.height,
        "input_width": grid.width,
        "input_scale": input_scale,
        "precision": precision,
        "weights": "trained" if weights else "random",
        "weights_sha256": sha256(weights) if weights else "",
    }


def write_compared(
    path: Path,
    graph: onnx.ModelProto,
    about: dict[str, Any],
    frames: np.ndarray,
    reference: dict[str, np.ndarray],
    framework: str = "Paddle",
    further: dict[str, Any] | None = None,
) -> None:
    """Write a predictor's graph and its parity report, and print both; InputError, and no graph, where `parity` fails,
    and where another file would be overwritten.

    about: see `described`. further: more entries of the report. The rest: see `parity`.
    """
    refuse_overwriting_others(path)
    with atomic_write(path) as temporary:
        onnx.save(graph, str(temporary))
        report = parity(temporary, about["head"], frames, reference, framework, about["precision"])
    report_path = path.with_suffix(".parity.json")
    write_json(report_path, {**about, **report, **(further or {})})
    for backend, measured in report["backends"].items():
        print(
            f"{backend:12s} differs from {framework} by {measured['max']:.1e} at most, {measured['mean']:.1e} in the "
            f"mean, on {len(frames)} frames; its best {BUDGET:.0%} hold {measured['kept_at_10']:.3f} of the importance"
        )
    if report["spearman_to_pixels_head"] is not None:
        print(f"order of the macroblocks against the pixels head: Spearman {report['spearman_to_pixels_head']:.4f}")
    height, width, (rows, cols) = about["input_height"], about["input_width"], reference["macroblock"].shape[1:]
    print(f"wrote {path} ({width}x{height} frames → {rows}x{cols} macroblocks), {report_path}")
