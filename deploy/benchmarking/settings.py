"""What a benchmark measures, and how often."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.backends.registry import CPU_BACKENDS, local_backends, refuse_address
from deploy.contract import PRECISIONS
from regenhance_data.errors import InputError
from regenhance_data.predictors.paddleseg.config_file import shrink_of

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = {path.stem: path for path in sorted((ROOT / "paddleseg_configs").glob("*.yml"))}


@dataclass(frozen=True)
class MeasurementSettings:
    """Rows to measure and the number of measurements. See the flags of the same names of deploy/benchmark.py.

    models: names of CONFIGS, and files; those of names are exported into save_dir. input_size: (height, width) of what
    is exported; None: of the dataset `data`. InputError for a model or a run that does not exist, an unknown backend
    or precision, an input scale that no network can have, and a number that is too small.
    """

    models: Sequence[str]
    save_dir: Path
    backends: Sequence[str] = CPU_BACKENDS
    video: Path | None = None
    data: Path | None = None
    runs: Sequence[Path] = ()
    precisions: Sequence[str] = ("fp32",)
    input_scales: Sequence[float] = (1.0,)
    batch_sizes: Sequence[int] = (1,)
    input_size: tuple[int, int] | None = None
    rounds: int = 3
    repeats: int = 50
    warmup: int = 10
    threads: int | None = None

    def __post_init__(self) -> None:
        counts = (self.repeats, self.rounds, 1 if self.threads is None else self.threads)
        if min(*counts, *self.batch_sizes, *(self.input_size or ())) < 1 or self.warmup < 0:
            raise InputError("--repeats, --rounds, --threads and sizes: expected at least 1, --warmup at least 0")
        for scale in self.input_scales:
            shrink_of(scale, "--input_scales")
        for run in self.runs:
            if not run.is_dir():
                raise InputError(f"--runs {run}: no such folder; trainings lie in RUNS/NAME/best_model")
        _refuse_unknown(self.backends, local_backends(), "--backends")
        _refuse_unknown(self.precisions, PRECISIONS, "--precisions")
        for model in self.models:
            refuse_address(model)
            if model not in CONFIGS and not Path(model).exists():
                raise InputError(f"--models {model}: no such file, and none of {', '.join(CONFIGS)}")


def _refuse_unknown(words: Sequence[str], known: Sequence[str], flag: str) -> None:
    unknown = [word for word in words if word not in known]
    if unknown or not words:
        raise InputError(f"{flag} {' '.join(unknown)}: expected some of {', '.join(known)}")
