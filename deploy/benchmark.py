"""Measure the latency of predictors, a row for each model and backend.

engine_ms is the bare engine call on input that is bound already; frame_ms goes from a decoded frame in memory (uint8)
to the importance of its macroblocks on the host. Both are milliseconds a frame: a call's time over its batch. All rows
take turns, so that whatever else the machine does meets them alike.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from deploy.export_onnx import compared_frames
from deploy.runtime import BACKENDS, load_predictor
from deploy.trt_infer import fitted
from regenhance_data import cli
from regenhance_data.cli import InputError
from regenhance_data.dataset import Dataset
from regenhance_data.files import read_json, write_json
from regenhance_data.video import read_video

EXAMPLES = """
python deploy/benchmark.py --models runs/predictor/pp_mobileseg_tiny.onnx --save_dir runs/benchmark
python deploy/benchmark.py --models A.onnx B.onnx --backends openvino --data my_dataset --save_dir S
"""


def make_parser() -> argparse.ArgumentParser:
    parser = cli.make_parser(__doc__, EXAMPLES)
    parser.add_argument("--models", nargs="+", type=Path, required=True, help="predictors of deploy/export_onnx.py")
    parser.add_argument("--backends", nargs="+", default=[",".join(BACKENDS)], help="separated by commas or spaces")
    parser.add_argument("--video", type=Path, help="take the frames of a video (default: noise)")
    parser.add_argument("--data", type=Path, help="take the frames of a dataset (default: noise)")
    parser.add_argument("--evaluation", type=Path, help="evaluation.json of tools/evaluate.py, for f1_at_10")
    parser.add_argument("--repeats", type=int, default=100, help="measured calls a row")
    parser.add_argument("--warmup", type=int, default=10, help="calls before measuring")
    parser.add_argument("--threads", type=int, help="of the engines (default: their own choice)")
    parser.add_argument("--save_dir", type=Path, required=True, help="folder for benchmark.json")
    return parser


def main(args: argparse.Namespace) -> None:
    if args.repeats < 1 or args.warmup < 0:
        raise InputError("--repeats and --warmup: expected at least 1 and at least 0")
    rows: list[dict[str, Any]] = []
    calls: list[tuple[Callable[[], Any], Callable[[], Any]]] = []
    for path in args.models:
        for backend in ",".join(args.backends).split(","):
            predictor = load_predictor(path, backend, args.threads)
            frames = frames_for(predictor.input_hw, predictor.batch, args.video, args.data)
            # an engine of its own, since bound input would stay bound
            engine = load_predictor(path, backend, args.threads).bound(frames)
            calls.append((engine, partial(predictor.predict, frames)))
            rows.append(
                {
                    "model": predictor.metadata.get("model", path.stem),
                    "backend": backend,
                    "precision": predictor.metadata.get("precision", "fp32"),
                    "batch": predictor.batch,
                    "input_scale": float(predictor.metadata.get("input_scale", 1)),
                    "head": predictor.metadata["head"],
                    "input_hw": list(predictor.input_hw),
                    "f1_at_10": read_f1(args.evaluation, path) if args.evaluation else None,
                }
            )
    times_ms = measure(calls, args.warmup, args.repeats)
    for row, (engine_ms, frame_ms) in zip(rows, times_ms, strict=True):
        row["engine_ms_median"] = float(np.median(engine_ms)) / row["batch"]
        row["frame_ms_median"] = float(np.median(frame_ms)) / row["batch"]
        row["frame_ms_p95"] = float(np.percentile(frame_ms, 95)) / row["batch"]
    path = args.save_dir / "benchmark.json"
    write_json(path, rows)
    print(f"{'model':26s} {'backend':12s} {'head':10s} {'input':>9s} {'batch':>5s}  engine ms  frame ms   (p95)")
    for row in rows:
        size = f"{row['input_hw'][1]}x{row['input_hw'][0]}"
        print(
            f"{row['model']:26s} {row['backend']:12s} {row['head']:10s} {size:>9s} {row['batch']:5d} "
            f"{row['engine_ms_median']:10.2f} {row['frame_ms_median']:9.2f} {row['frame_ms_p95']:9.2f}"
        )
    print(f"wrote {path}")


def measure(
    calls: list[tuple[Callable[[], Any], Callable[[], Any]]], warmup: int, repeats: int
) -> list[tuple[list[float], list[float]]]:
    """Milliseconds of each repeat of each pair of calls, all taking turns, which of a pair goes first as well."""
    for _ in range(warmup):
        for pair in calls:
            for call in pair:
                call()
    times_ms: list[tuple[list[float], list[float]]] = [([], []) for _ in calls]
    for turn in cli.progress(range(repeats), "benchmark", unit="round"):
        for pair, taken in zip(calls, times_ms, strict=True):
            for call, into in list(zip(pair, taken, strict=True))[:: -1 if turn % 2 else 1]:
                start = time.perf_counter()
                call()
                into.append(1000 * (time.perf_counter() - start))
    return times_ms


def frames_for(size_hw: tuple[int, int], batch: int, video: Path | None, data: Path | None) -> np.ndarray:
    """A batch of frames, uint8 BGR [batch, H, W, 3]."""
    if video is not None:
        images = np.stack([fitted(next(read_video(video)), size_hw, video)])
    else:
        images = compared_frames(Dataset.open(data) if data else None, size_hw)
    return np.ascontiguousarray(np.resize(images, (batch, *images.shape[1:]))[..., ::-1])


def read_f1(path: Path, model: Path) -> float | None:
    """F1 of `model` at a budget of 10 %, from evaluation.json; None where another model, budget or metric is in it."""
    evaluation = read_json(path)
    try:
        models = evaluation["settings"]["models"].items()
        curve = next((name for name, path in models if Path(path).resolve() == model.resolve()), None)
        value = evaluation["curves"][curve].get("0.1") if curve else None
        return None if value is None or evaluation["metric"] != "f1" else float(value)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{path}: is no evaluation.json of tools/evaluate.py") from None


if __name__ == "__main__":
    cli.run(main, make_parser())
