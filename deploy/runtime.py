"""The public way in: `from deploy.runtime import load_predictor`. What is behind it lives in deploy/backends/."""

from deploy.backends.registry import BACKENDS, CPU_BACKENDS, backends_of, installed_backends, load_predictor

__all__ = ["BACKENDS", "CPU_BACKENDS", "backends_of", "installed_backends", "load_predictor"]
