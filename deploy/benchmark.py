"""Measure predictors: latency, throughput, memory and size, beside the accuracy they bring.

--models takes files (.onnx, .engine, folders of Paddle Inference) and names of paddleseg_configs, or all of them, which
are exported in every precision and input scale; with --runs from their trainings, else with random weights, which are
for latency alone and marked. Each row is measured by a process of its own, so that peak memory is its own; rounds go
through all rows, so that whatever else the machine does meets them alike. What is measured is kept: the same command
goes on where it was stopped, and adds --evaluation at once.

engine_ms is the bare engine call on input that is bound already; frame_ms goes from a frame in memory, decoded to BGR
at the model's size (uint8), to the importance of its macroblocks on the host. Both are milliseconds a frame: a call's
time over its batch; p95 is of frame_ms, frames/s of its mean, so that hiccups count. peak_memory_mb is what loading and
running a row added to its process.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from deploy.artifacts.onnx import read_onnx
from deploy.backends.base import PRECISIONS
from deploy.backends.tensorrt import SUFFIX, read_sidecar
from deploy.benchmarking.report import environment, pareto_plot, table, write_markdown
from deploy.export_onnx import compared_frames, file_name
from deploy.runtime import BACKENDS, CPU_BACKENDS, ONNX_BACKENDS, backends_of, load_predictor
from deploy.trt_infer import fitted
from regenhance_data import __version__, cli
from regenhance_data.cli import InputError
from regenhance_data.dataset.folder import Dataset
from regenhance_data.io.files import locked, read_json, read_yaml, sha256, write_json
from regenhance_data.io.video import read_video
from regenhance_data.parallel.executors import in_a_process

EXAMPLES = """
python deploy/benchmark.py --models runs/predictor/pp_mobileseg_tiny.onnx --save_dir runs/benchmark
python deploy/benchmark.py --models all --data my_dataset --runs runs --precisions fp32,fp16,int8 --save_dir S
python deploy/benchmark.py --models all accmodel.onnx --input_size 360 640 --backends openvino,paddle --save_dir S
python deploy/benchmark.py --models A.onnx B.onnx --data my_dataset --evaluation evaluation.json --save_dir S
"""
ROOT = Path(__file__).resolve().parent.parent
CONFIGS = ROOT / "paddleseg_configs"
PADDLE = "_paddle"  # how the folder of a network in PaddleSeg's own form ends, beside its ONNX file


def make_parser() -> argparse.ArgumentParser:
    parser = cli.make_parser(__doc__, EXAMPLES)
    parser.add_argument("--models", nargs="+", required=True, help="all, names of paddleseg_configs, files")
    parser.add_argument("--backends", nargs="+", default=[",".join(CPU_BACKENDS)], help="of: " + ", ".join(BACKENDS))
    parser.add_argument("--video", type=Path, help="take the frames of a video (default: noise)")
    parser.add_argument("--data", type=Path, help="take the frames of a dataset (default: noise)")
    parser.add_argument(
        "--evaluation",
        type=Path,
        nargs="+",
        help="evaluation.json of tools/evaluate.py, for F1 (int8: in that backend)",
    )
    named = parser.add_argument_group("for names")
    named.add_argument("--runs", type=Path, nargs="+", default=[], help="folders that hold NAME/best_model (trained)")
    named.add_argument("--precisions", nargs="+", default=["fp32"], help="of: " + ", ".join(PRECISIONS))
    named.add_argument("--input_scales", nargs="+", type=float, default=[1.0], help="of the frame that a network sees")
    named.add_argument("--batch_sizes", nargs="+", type=int, default=[1], help="frames at once")
    named.add_argument("--input_size", nargs=2, type=int, metavar=("H", "W"), help="(default: of --data, or 360 640)")
    parser.add_argument("--rounds", type=int, default=3, help="through all rows")
    parser.add_argument("--repeats", type=int, default=50, help="measured calls of a row in each round")
    parser.add_argument("--warmup", type=int, default=10, help="calls before measuring")
    parser.add_argument("--threads", type=int, help="of the engines (default: their own choice)")
    parser.add_argument("--save_dir", type=Path, required=True, help="folder for benchmark.json, .md and .png")
    return parser


@dataclass(frozen=True)
class Case:
    """A row to measure: a predictor's file in a backend. evaluated: the file whose F1 at 10 % it shares."""

    path: Path
    backend: str
    batch: int | None
    evaluated: Path

    def key(self) -> str:
        """What its measurements are kept under: another file of the same name has others."""
        files = sorted(self.path.iterdir()) if self.path.is_dir() else [self.path]
        return f"{self.path}|{self.backend}|{self.batch}|" + "|".join(sha256(file)[:16] for file in files)


def main(args: argparse.Namespace) -> None:
    counts = (args.repeats, args.rounds, 1 if args.threads is None else args.threads)
    if min(*counts, *args.batch_sizes, *(args.input_size or [])) < 1 or args.warmup < 0:
        raise InputError("--repeats, --rounds, --threads and sizes: expected at least 1, --warmup at least 0")
    for run in args.runs:
        if not run.is_dir():
            raise InputError(f"--runs {run}: no such folder; trainings lie in RUNS/NAME/best_model")
    if args.input_size is None and args.data is None:
        args.input_size = [360, 640]
    backends = _words(args.backends, BACKENDS, "--backends")
    precisions = _words(args.precisions, PRECISIONS, "--precisions")
    where = environment(args.threads)
    with locked(args.save_dir / ".lock"):
        measured = measure_all(list(cases_of(args, backends, precisions)), where, args)
    if not measured:
        raise InputError(
            f"--backends {' '.join(backends)}: no row is left to tell of (.onnx runs in {', '.join(ONNX_BACKENDS)}, "
            ".engine in tensorrt, a folder in paddle); see the warnings, if any"
        )
    evaluated = [(path, read_json(path)) for path in args.evaluation or []]
    rows = [summary(row, f1_of(case, row["precision"], evaluated)) for case, row in measured.items()]
    write_json(args.save_dir / "benchmark.json", rows)
    write_json(args.save_dir / "environment.json", where)
    write_markdown(args.save_dir / "benchmark.md", rows, where)
    written = ["benchmark.json", "benchmark.md", "environment.json"]
    if any(row["f1_at_10"] is not None for row in rows):
        pareto_plot(args.save_dir / "benchmark.png", rows)
        written.append("benchmark.png")
    print(table(rows))
    print(f"wrote {args.save_dir}/{', '.join(written)}")


def measure_all(cases: list[Case], where: dict[str, Any], args: argparse.Namespace) -> dict[Case, dict[str, Any]]:
    """The measurements of each case, those of earlier runs of this command among them; without what does not run."""
    settings = {name: getattr(args, name) for name in ("repeats", "warmup")}
    settings |= {name: str(getattr(args, name)) for name in ("video", "data")}
    settings |= {name: value for name, value in where.items() if name != "date"}
    path = args.save_dir / "measurements.json"
    kept = _kept(path, settings)
    keys = {case: case.key() for case in cases}
    todo = [
        (case, turn)
        for turn in range(args.rounds)
        for case in cases
        if len(kept.get(keys[case], {}).get("engine_ms", [])) <= turn
    ]
    failed: set[Case] = set()
    for case, _ in cli.progress(todo, "benchmark", unit="row"):
        if case in failed:
            continue
        try:
            measured = in_a_process(measure, case, args)
        except (BrokenProcessPool, InputError) as error:
            why = "the engine ended its process" if isinstance(error, BrokenProcessPool) else str(error)
            cli.warn(f"{case.path} with {case.backend} is left out: {why}")
            failed.add(case)
            continue
        row = kept.setdefault(keys[case], {**measured, "engine_ms": [], "frame_ms": [], "peak_memory_mb": 0.0})
        row["engine_ms"].append(measured["engine_ms"])
        row["frame_ms"].append(measured["frame_ms"])
        row["peak_memory_mb"] = max(row["peak_memory_mb"], measured["peak_memory_mb"])
        write_json(path, {"settings": settings, "rows": kept})
    return {case: kept[keys[case]] for case in cases if case not in failed}


def _words(given: list[str], known: tuple[str, ...], flag: str) -> list[str]:
    """Words separated by spaces or commas, each once. InputError for one that is not known."""
    words = list(dict.fromkeys(word for word in ",".join(given).split(",") if word))
    unknown = [word for word in words if word not in known]
    if unknown or not words:
        raise InputError(f"{flag} {' '.join(unknown)}: expected some of {', '.join(known)}")
    return words


def cases_of(args: argparse.Namespace, backends: list[str], precisions: list[str]) -> Iterator[Case]:
    """What to measure, exporting what has to be. InputError where a model is neither a name nor a file."""
    known = sorted(path.stem for path in CONFIGS.glob("*.yml"))
    words = [name for word in args.models for name in (known if word == "all" else [word])]
    for word in dict.fromkeys(words):
        if word not in known:
            path = Path(word)
            if not path.exists():
                raise InputError(f"--models {word}: no such file, and none of {', '.join(known)}")
            able = [backend for backend in backends if backend in backends_of(path)]
            sizes = args.batch_sizes if _is_batch_open(path) else [None]
            yield from (Case(path, backend, size, path) for size in sizes for backend in able)
            continue
        for scale in args.input_scales:
            for batch in args.batch_sizes:
                for path in exported(word, scale, batch, precisions, "paddle" in backends and scale == 1, args):
                    evaluated = _folder(args.save_dir, scale, 1) / path.name
                    yield from (Case(path, b, None, evaluated) for b in backends if b in backends_of(path))


def _is_batch_open(path: Path) -> bool:
    """Whether a file takes several batch sizes, each of which is a row."""
    if path.suffix == SUFFIX:
        sidecar = read_sidecar(path)
        return sidecar.min_batch < sidecar.max_batch
    return path.is_file() and read_onnx(path).batch == 0


def _folder(save_dir: Path, scale: float, batch: int) -> Path:
    return save_dir / "models" / f"scale_{scale:g}_batch_{batch}"


def exported(
    name: str, scale: float, batch: int, precisions: list[str], with_paddle: bool, args: argparse.Namespace
) -> Iterator[Path]:
    """The files of a config, exported where they are not there yet; what cannot be exported is told and left out."""
    folder = _folder(args.save_dir, scale, batch)
    trained = [run / name / "best_model" / "model.pdparams" for run in args.runs]
    weights = next((path for path in trained if path.is_file() and _scale_of(path) == scale), None)
    for precision in precisions:
        path = folder / file_name(name, precision)
        paddle = with_paddle and precision == "fp32"
        beside = path.with_name(name + PADDLE)
        if not _is_current(path, weights, args) or (paddle and not beside.is_dir()):
            words: list[object] = ["--config", CONFIGS / f"{name}.yml", "--precision", precision, "--save_dir", folder]
            words += ["--batch_size", batch, "--input_scale", scale, *(["--with_paddle"] if paddle else [])]
            words += ["--model_path", weights] if weights else ["--random_weights"]
            words += ["--dataset_root", args.data] if args.data else []
            words += ["--input_size", *args.input_size] if args.input_size else []
            print(f"exporting {name} in {precision}, {'trained' if weights else 'random'} weights", flush=True)
            command = [sys.executable, ROOT / "deploy" / "export_onnx.py", *words]
            done = subprocess.run([str(word) for word in command], capture_output=True, text=True, cwd=Path.cwd())
            if done.returncode:
                said = (done.stderr.strip().splitlines() or ["no reason is given"])[-1]
                cli.warn(f"{name} in {precision} is left out: {said.split('error: ')[-1]}")
                continue
        yield path
        if paddle and beside.is_dir():
            yield beside


def _is_current(path: Path, weights: Path | None, args: argparse.Namespace) -> bool:
    """Whether a file was exported from these weights and this dataset, for this frame size, by this version."""
    if not path.is_file():
        return False
    file = read_onnx(path)
    dataset = args.data / "dataset.yaml" if args.data else None
    expected = {
        "weights_sha256": sha256(weights) if weights else "",
        "dataset_sha256": sha256(dataset) if dataset and dataset.is_file() else "",
        "kit_version": __version__,
    }
    is_size = args.input_size is None or tuple(args.input_size) == file.input_hw
    return is_size and expected.items() <= file.metadata.items()


def _scale_of(weights: Path) -> float:
    """The --input_scale of a training, by its predictor.yaml."""
    record = weights.with_name("predictor.yaml")
    return float(read_yaml(record).get("input_scale", 1)) if record.is_file() else 1.0


def _kept(path: Path, settings: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What an earlier run measured in the same way."""
    if not path.is_file():
        return {}
    found = read_json(path)
    rows = found.get("rows") if isinstance(found, dict) else None
    if not isinstance(rows, dict) or not all(isinstance(row, dict) for row in rows.values()):
        raise InputError(f"{path}: holds no measurements of this command; remove it")
    if found.get("settings") != settings:
        raise InputError(
            f"{path}: was measured with other repeats, threads, frames or versions, or elsewhere; remove it or give "
            "another --save_dir"
        )
    return rows


def measure(case: Case, args: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds of each call of the bare engine and of the whole path, in turn, and what the row is about."""
    before_mb = _memory_mb("VmRSS")
    predictor = load_predictor(case.path, case.backend, args.threads, case.batch)
    frames = frames_for(predictor.input_hw, predictor.batch, args.video, args.data)
    calls = (predictor.bound(frames), partial(predictor.predict, frames))
    times_ms: tuple[list[float], list[float]] = ([], [])
    for turn in range(-args.warmup, args.repeats):
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
    """What this process holds (VmRSS) or held at most (VmHWM); getrusage's most is at least what the parent held."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{which}:")[2].split()[0]) / 2**10


def summary(row: dict[str, Any], f1_at_10: float | None) -> dict[str, Any]:
    """A row of benchmark.json from its measurements."""
    engine, frame = (np.concatenate([np.array(taken) for taken in row[name]]) for name in ("engine_ms", "frame_ms"))
    batch = row["batch"]
    told = {key: value for key, value in row.items() if key not in ("engine_ms", "frame_ms")}
    return {
        **told,
        "engine_ms_median": float(np.median(engine)) / batch,
        "frame_ms_median": float(np.median(frame)) / batch,
        "frame_ms_p95": float(np.percentile(frame, 95)) / batch,
        # of calls taken in turn, so that what slows the machine for a while slows both
        "frame_to_engine": float(np.median(frame / engine)),
        "frames_per_s": 1000 * batch / float(np.mean(frame)),
        "f1_at_10": f1_at_10,
    }


def frames_for(size_hw: tuple[int, int], batch: int, video: Path | None, data: Path | None) -> np.ndarray:
    """A batch of frames, uint8 BGR [batch, H, W, 3]."""
    if video is not None:
        images = np.stack([fitted(next(read_video(video)), size_hw, video)])
    else:
        images = compared_frames(Dataset.open(data) if data else None, size_hw)
    return np.ascontiguousarray(np.resize(images, (batch, *images.shape[1:]))[..., ::-1])


def f1_of(case: Case, precision: str, evaluations: list[tuple[Path, Any]]) -> float | None:
    """F1 of a model at a budget of 10 %, from the first evaluation.json that has this file; None where none does.

    What 8 bits say differs from backend to backend: then only an evaluation in the row's own counts.
    """
    digest = sha256(case.evaluated) if case.evaluated.is_file() else ""
    for path, evaluation in evaluations:
        try:
            for curve, ran in evaluation["settings"]["ran"].items():
                is_it = ran["sha256"] == digest if digest else Path(ran["model"]).resolve() == case.evaluated.resolve()
                value = evaluation["curves"][curve].get("0.1")
                is_backend = precision != "int8" or ran["backend"] == case.backend
                if is_it and is_backend and value is not None and evaluation["metric"] == "f1":
                    return float(value)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise InputError(f"{path}: is no evaluation.json of tools/evaluate.py") from None
    return None


if __name__ == "__main__":
    cli.run(main, make_parser())
