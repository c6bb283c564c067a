"""The rows of a benchmark: files and backends. Missing files are exported."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree

from deploy.artifacts.engine import read_sidecar
from deploy.artifacts.onnx import read_onnx
from deploy.backends.paddle import DEPLOY
from deploy.backends.registry import BACKENDS, backends_of
from deploy.backends.settings import FOLDER
from deploy.benchmarking.settings import CONFIGS, ROOT, MeasurementSettings
from deploy.contract import ENGINE_SUFFIX, ONNX_SUFFIX
from deploy.export.frames import frame_sizes
from deploy.export.parity import export_name, file_name
from regenhance_data import __version__, console
from regenhance_data.dataset.folder import Dataset
from regenhance_data.defaults import SCALE
from regenhance_data.errors import InputError
from regenhance_data.io.files import read_yaml, sha256
from regenhance_data.predictors.paddleseg.checkpoints import trained_scale
from regenhance_data.signals import end_command_with_the_parent

PADDLE = "_paddle"  # suffix of the folder of a network in PaddleSeg's own form, beside its ONNX file


@dataclass(frozen=True)
class Case:
    """A row to measure: a predictor's file in a backend. evaluated: the file whose F1 at 10 % it has as well."""

    path: Path
    backend: str
    batch: int | None
    evaluated: Path

    def key(self) -> str:
        """The key of its measurements, which changes with the content of its files."""
        files = sorted(self.path.iterdir()) if self.path.is_dir() else [self.path]
        return f"{self.path}|{self.backend}|{self.batch}|" + "|".join(sha256(file)[:16] for file in files)


def listed_cases(settings: MeasurementSettings) -> list[Case]:
    """`cases_of` the settings; a backend that runs none of the models is told."""
    cases = list(cases_of(settings))
    able = {backend for model in settings.models for backend in _backends_for(model, settings)}
    for backend in (name for name in settings.backends if name not in able):
        artifact = BACKENDS[backend].artifact
        runs = "folders, and names in fp32 at scale 1" if artifact == FOLDER else artifact
        console.warn(f"--backends {backend}: measures nothing; it runs {runs}, of which --models has none")
    return cases


def _backends_for(model: str, settings: MeasurementSettings) -> tuple[str, ...]:
    """The backends that run a model, and of a name, what is exported of it."""
    if model not in CONFIGS:
        return backends_of(Path(model))
    has_folder = "fp32" in settings.precisions and 1 in settings.input_scales
    artifacts = {ONNX_SUFFIX, *([FOLDER] if has_folder else [])}
    return tuple(name for name, row in BACKENDS.items() if row.artifact in artifacts)


def cases_of(settings: MeasurementSettings) -> Iterator[Case]:
    """What to measure; models that are given by name are exported first."""
    for model in settings.models:
        yield from _cases_of_config(model, settings) if model in CONFIGS else _cases_of_file(Path(model), settings)


def _cases_of_file(path: Path, settings: MeasurementSettings) -> Iterator[Case]:
    able = [backend for backend in settings.backends if backend in backends_of(path)]
    if not able:
        others = " or ".join(backends_of(path))
        console.warn(f"{path} is left out: --backends {' '.join(settings.backends)} does not run it; {others} does")
        return
    is_open = _is_batch_open(path)
    if not is_open and tuple(settings.batch_sizes) != (1,):
        sizes_asked = " ".join(map(str, settings.batch_sizes))
        console.warn(f"{path}: takes the batch that it was exported for; --batch_sizes {sizes_asked} is left out")
    sizes = settings.batch_sizes if is_open else [None]
    yield from (Case(path, backend, size, path) for size in sizes for backend in able)


def _cases_of_config(name: str, settings: MeasurementSettings) -> Iterator[Case]:
    for scale in settings.input_scales:
        for batch in settings.batch_sizes:
            for path, evaluated in exported(name, scale, batch, settings):
                yield from (Case(path, b, None, evaluated) for b in settings.backends if b in backends_of(path))


def _is_batch_open(path: Path) -> bool:
    """Whether a file takes several batch sizes, which are a row each."""
    artifact = BACKENDS[backends_of(path)[0]].artifact
    if artifact == ENGINE_SUFFIX:
        sidecar = read_sidecar(path)
        return sidecar.min_batch < sidecar.max_batch
    return artifact == ONNX_SUFFIX and read_onnx(path).batch == 0


def _folder(save_dir: Path, scale: float, batch: int) -> Path:
    return save_dir / "models" / f"scale_{scale:g}_batch_{batch}"


def _named_hw(settings: MeasurementSettings) -> tuple[int, int] | None:
    """The frame size that the names of exported files tell. InputError where there are several to choose from."""
    found = frame_sizes(Dataset.open(settings.data)) if settings.data else {}
    if settings.input_size is None and len(found) > 1:
        seen = ", ".join(f"{width}x{height}" for height, width in found)
        raise InputError(f"--data {settings.data}: has frames of several sizes ({seen}); give one by --input_size H W")
    return None if settings.input_size is None or [tuple(settings.input_size)] == [*found] else settings.input_size


def exported(name: str, scale: float, batch: int, settings: MeasurementSettings) -> Iterator[tuple[Path, Path]]:
    """(file, the one for single frames, which is evaluated) of a config, exported where they are missing or out of
    date; one that cannot be exported is left out, with a warning.
    """
    named_hw = _named_hw(settings)
    folder = _folder(settings.save_dir, scale, batch)
    trained = [run / name / "best_model" / "model.pdparams" for run in settings.runs]
    weights = next((path for path in trained if path.is_file() and _scale_of(path) == scale), None)
    takes_folder = any(BACKENDS[backend].artifact == FOLDER for backend in settings.backends)
    # weights are trained for one input scale; random ones are of any
    model = name if weights else f"{name}_random"
    seen, upscaled = (1.0, SCALE if settings.data else trained_scale(weights)) if weights else (scale, SCALE)
    stem, alone = (export_name(model, named_hw, size, seen, upscaled) for size in (batch, 1))
    for precision in settings.precisions:
        path, evaluated = folder / file_name(stem, precision), _folder(settings.save_dir, scale, 1)
        with_paddle = takes_folder and scale == 1 and precision == "fp32"
        beside = path.with_name(stem + PADDLE)
        if not _is_current(path, weights, settings) or (with_paddle and not (beside / DEPLOY).is_file()):
            if precision == "fp32":
                rmtree(beside, ignore_errors=True)  # of other weights, should this export end before it is written
            words: list[object] = ["--config", CONFIGS[name], "--precision", precision, "--save_dir", folder]
            words += ["--batch_size", batch, "--input_scale", scale, *(["--with_paddle"] if with_paddle else [])]
            words += ["--model_path", weights] if weights else ["--random_weights"]
            words += ["--dataset_root", settings.data] if settings.data else []
            words += ["--input_size", *settings.input_size] if settings.input_size else []
            print(f"exporting {name} in {precision}, {'trained' if weights else 'random'} weights", flush=True)
            reason = _export(words)
            if reason:
                console.warn(f"{name} in {precision} is left out: {reason}")
                continue
        yield path, evaluated / file_name(alone, precision)
        if with_paddle and (beside / DEPLOY).is_file():
            yield beside, evaluated / (alone + PADDLE)


def _export(words: list[object]) -> str:
    """Run deploy/export_onnx.py; why it failed, or nothing."""
    command = [str(word) for word in (sys.executable, ROOT / "deploy" / "export_onnx.py", *words)]
    ends = end_command_with_the_parent
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path.cwd(), preexec_fn=ends)
    if done.returncode == 0:
        return ""
    return (done.stderr.strip().splitlines() or ["no reason is given"])[-1].split("error: ")[-1]


def _is_current(path: Path, weights: Path | None, settings: MeasurementSettings) -> bool:
    """Whether a file was exported from these weights and this dataset, for this frame size, by this version."""
    if not path.is_file():
        return False
    file = read_onnx(path)
    dataset = settings.data / "dataset.yaml" if settings.data else None
    expected = {
        "weights_sha256": sha256(weights) if weights else "",
        "dataset_sha256": sha256(dataset) if dataset and dataset.is_file() else "",
        "kit_version": __version__,
    }
    is_size = settings.input_size is None or tuple(settings.input_size) == file.input_hw
    return is_size and expected.items() <= file.metadata.items()


def _scale_of(weights: Path) -> float:
    """The --input_scale of a training, by its predictor.yaml."""
    record = weights.with_name("predictor.yaml")
    scale = read_yaml(record).get("input_scale", 1) if record.is_file() else 1
    if type(scale) not in (int, float):
        raise InputError(f"{record}: input_scale is not a number; train again, or remove this file")
    return float(scale)
