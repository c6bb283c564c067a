"""The rows of a benchmark: files and backends, exported where they are not there yet."""

import argparse
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from deploy.artifacts.engine import read_sidecar
from deploy.artifacts.onnx import read_onnx
from deploy.backends.registry import BACKENDS, FOLDER, backends_of
from deploy.contract import ENGINE_SUFFIX
from deploy.export.parity import file_name
from regenhance_data import __version__, console
from regenhance_data.errors import InputError
from regenhance_data.io.files import read_yaml, sha256

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "paddleseg_configs"
PADDLE = "_paddle"  # how the folder of a network in PaddleSeg's own form ends, beside its ONNX file


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
        with_folder = any(BACKENDS[backend].artifact == FOLDER for backend in backends)
        for scale in args.input_scales:
            for batch in args.batch_sizes:
                for path in exported(word, scale, batch, precisions, with_folder and scale == 1, args):
                    evaluated = _folder(args.save_dir, scale, 1) / path.name
                    yield from (Case(path, b, None, evaluated) for b in backends if b in backends_of(path))


def _is_batch_open(path: Path) -> bool:
    """Whether a file takes several batch sizes, each of which is a row."""
    if path.suffix == ENGINE_SUFFIX:
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
                console.warn(f"{name} in {precision} is left out: {said.split('error: ')[-1]}")
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
