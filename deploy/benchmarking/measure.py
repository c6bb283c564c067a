"""Measure the rows of a benchmark, each in a process of its own."""

import time
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from deploy.backends.base import fit_frame
from deploy.backends.registry import load_predictor
from deploy.benchmarking.cases import Case
from deploy.benchmarking.settings import MeasurementSettings
from deploy.export.frames import compared_frames
from regenhance_data import console
from regenhance_data.dataset.folder import Dataset
from regenhance_data.defaults import BUDGET
from regenhance_data.errors import InputError
from regenhance_data.evaluation.record import EvaluationRecord
from regenhance_data.importance.static_map import STATIC
from regenhance_data.io.files import read_json, sha256, write_json
from regenhance_data.io.video import inspect_video, read_video
from regenhance_data.parallel.processes import run_in_process

# the keys of a row of measurements.json, by the type of their values
_WORDS = ("model", "backend", "precision", "head", "weights", "file")
_NUMBERS = ("batch", "input_scale", "model_mb", "peak_memory_mb")
_TIMES_MS = ("engine_ms", "frame_ms")  # a list for each round
_MOST = 1e12  # so that means are finite


def measure_all(cases: list[Case], where: dict[str, Any], settings: MeasurementSettings) -> dict[Case, dict[str, Any]]:
    """The measurements of each case, those of earlier runs of this command included; without what does not run."""
    conditions: dict[str, Any] = {"repeats": settings.repeats, "warmup": settings.warmup}
    conditions |= {"video": str(settings.video), "data": str(settings.data)}
    conditions |= {name: value for name, value in where.items() if name != "date"}
    path = settings.save_dir / "measurements.json"
    kept = _earlier_rows(path, conditions)
    keys = {case: case.key() for case in cases}
    todo = [
        (case, turn)
        for turn in range(settings.rounds)
        for case in cases
        if len(kept.get(keys[case], {}).get("engine_ms", [])) <= turn
    ]
    failed: set[Case] = set()
    for case, _ in console.progress(todo, "benchmark", unit="row"):
        if case in failed:
            continue
        try:
            measured = run_in_process(measure, case, settings)
        except (BrokenProcessPool, InputError) as error:
            why = "the engine crashed" if isinstance(error, BrokenProcessPool) else str(error)
            console.warn(f"{case.path} with {case.backend} is left out: {why}")
            failed.add(case)
            continue
        row = kept.setdefault(keys[case], {**measured, "engine_ms": [], "frame_ms": [], "peak_memory_mb": 0.0})
        row["engine_ms"].append(measured["engine_ms"])
        row["frame_ms"].append(measured["frame_ms"])
        row["peak_memory_mb"] = max(row["peak_memory_mb"], measured["peak_memory_mb"])
        write_json(path, {"settings": conditions, "rows": kept})
    return {case: kept[keys[case]] for case in cases if case not in failed}


def _earlier_rows(path: Path, conditions: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The measurements of an earlier run under the same conditions."""
    if not path.is_file():
        return {}
    found = read_json(path)
    rows = found.get("rows") if isinstance(found, dict) else None
    if not isinstance(rows, dict) or not all(map(_is_row, rows.values())):
        raise InputError(f"{path}: holds no measurements of this command; remove it")
    if found.get("settings") != conditions:
        raise InputError(
            f"{path}: was measured with other repeats, threads, frames or versions, or elsewhere; remove it or give "
            "another --save_dir"
        )
    return rows


def _is_row(row: Any) -> bool:
    """Whether this is a row of measurements.json, as `measure_all` writes it."""
    if not isinstance(row, dict) or row.keys() != {*_WORDS, *_NUMBERS, *_TIMES_MS, "input_hw"}:
        return False
    times = [row[name] for name in _TIMES_MS]
    rounds = [taken for runs in times if isinstance(runs, list) for taken in runs]
    is_timed = all(isinstance(runs, list) and runs for runs in (*times, *rounds))
    numbers: list[Any] = [row[name] for name in _NUMBERS]
    calls_ms: list[Any] = [ms for taken in rounds for ms in taken] if is_timed else []
    size_hw = row["input_hw"]
    return (
        is_timed
        and all(isinstance(row[name], str) for name in _WORDS)
        and all(type(number) in (int, float) and 0 <= number < _MOST for number in (*numbers, *calls_ms))
        and all(ms > 0 for ms in calls_ms)
        and (type(row["batch"]), row["batch"] > 0) == (int, True)
        and [len(taken) for taken in times[0]] == [len(taken) for taken in times[1]]
        and isinstance(size_hw, list)
        and [type(size) for size in size_hw] == [int, int]
    )


def measure(case: Case, settings: MeasurementSettings) -> dict[str, Any]:
    """Milliseconds of each call of the engine alone and of the whole path, in turn, with the row's description."""
    before_mb = _memory_mb("VmRSS")
    predictor = load_predictor(case.path, case.backend, settings.threads, case.batch)
    frames = frames_for(predictor.input_hw, predictor.batch, settings.video, settings.data)
    calls = (predictor.bound(frames), partial(predictor.predict, frames))
    times_ms: tuple[list[float], list[float]] = ([], [])
    for turn in range(-settings.warmup, settings.repeats):
        for which in (0, 1) if turn % 2 else (1, 0):
            start = time.perf_counter()
            calls[which]()
            if turn >= 0:
                times_ms[which].append(1000 * (time.perf_counter() - start))
    about = predictor.metadata
    files = case.path.iterdir() if case.path.is_dir() else [case.path]
    return {
        "model": about.get("model", case.path.stem),
        "backend": case.backend,
        "precision": about.get("precision", "fp32"),
        "batch": predictor.batch,
        "input_scale": float(about.get("input_scale", 1)),
        "head": about["head"],
        "input_hw": list(predictor.input_hw),
        "weights": about.get("weights", "trained"),
        "file": str(case.path),
        "model_mb": sum(file.stat().st_size for file in files) / 2**20,
        "engine_ms": times_ms[0],
        "frame_ms": times_ms[1],
        "peak_memory_mb": max(_memory_mb("VmHWM") - before_mb, 0.0),
    }


def _memory_mb(which: str) -> float:
    """Memory of this process, now (VmRSS) or at most (VmHWM); getrusage's maximum includes the parent's."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{which}:")[2].split()[0]) / 2**10


def summarise(row: dict[str, Any], f1_at_10: float | None, static_f1_at_10: float | None) -> dict[str, Any]:
    """A row of benchmark.json from its measurements."""
    engine, frame = (np.concatenate([np.array(taken) for taken in row[name]]) for name in ("engine_ms", "frame_ms"))
    batch = row["batch"]
    about = {key: value for key, value in row.items() if key not in ("engine_ms", "frame_ms")}
    return {
        **about,
        "engine_ms_median": float(np.median(engine)) / batch,
        "frame_ms_median": float(np.median(frame)) / batch,
        "frame_ms_p95": float(np.percentile(frame, 95)) / batch,
        # of calls in turn, so that a slow phase of the machine affects both
        "frame_to_engine": float(np.median(frame / engine)),
        "frames_per_s": 1000 * batch / float(np.mean(frame)),
        "f1_at_10": f1_at_10,
        "static_f1_at_10": static_f1_at_10,
    }


def refuse_unreadable_frames(settings: MeasurementSettings) -> None:
    """InputError, before anything is exported or measured, for a video or a dataset without frames to measure on."""
    if settings.video is not None:
        inspect_video(settings.video)
    if settings.data is not None:
        compared_frames(Dataset.open(settings.data), None)


def frames_for(size_hw: tuple[int, int], batch: int, video: Path | None, data: Path | None) -> np.ndarray:
    """A batch of frames, uint8 BGR [batch, H, W, 3]."""
    if video is not None:
        images = np.stack([fit_frame(next(read_video(video)), size_hw, video)])
    else:
        images = compared_frames(Dataset.open(data) if data else None, size_hw)
    return np.ascontiguousarray(np.resize(images, (batch, *images.shape[1:]))[..., ::-1])


def f1_of(case: Case, precision: str, evaluations: Sequence[EvaluationRecord]) -> tuple[float | None, float | None]:
    """F1 of a model and of the static map at a budget of 10 %, from the first evaluation of this file, else None.

    Results in 8 bits differ between backends: for int8 the evaluation must have run in the row's own backend.
    """
    digest = sha256(case.evaluated) if case.evaluated.is_file() else ""
    for evaluation in evaluations:
        if evaluation.result.metric != "f1":
            continue
        for curve, model in evaluation.settings.models.items():
            is_it = model.sha256 == digest if digest else Path(model.model).resolve() == case.evaluated.resolve()
            is_backend = precision != "int8" or model.backend == case.backend
            curves = evaluation.result.scores.curves
            score, static = curves[curve].get(BUDGET), curves.get(STATIC, {}).get(BUDGET)
            if is_it and is_backend and score is not None:
                return score.json_value(), static.json_value() if static else None
    return None, None
