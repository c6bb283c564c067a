"""A trial of predictors that may take more memory or time than there is, in a process of its own."""

from deploy.artifacts.onnx import OnnxPredictor
from deploy.backends.registry import load_predictor
from deploy.backends.settings import EngineSettings
from regenhance_data.parallel.limits import run_limited

_is_trial = False  # in the process of a trial


def try_first(file: OnnxPredictor, backend: str, settings: EngineSettings) -> None:
    """InputError where a graph whose demand is not known, or high, does not load and run within limits."""
    if not (file.is_moderate or _is_trial):
        run_limited(_load, str(file.path), backend, settings, what=f"{file.path}: loading it and a first run")


def _load(path: str, backend: str, settings: EngineSettings) -> None:
    global _is_trial
    _is_trial = True
    load_predictor(path, backend, settings.threads, settings.batch_size, settings.streams)
