"""What is known of a predictor backend before it is used, and how its engine runs."""

import importlib.util
from dataclasses import dataclass

FOLDER, URL = "folder", "URL"  # artifacts that have no suffix


@dataclass(frozen=True)
class EngineSettings:
    """How an engine runs a predictor; None: its own choice.

    batch_size: frames at once, where the artifact leaves that open. streams: how many threads call it at a time.
    """

    threads: int | None = None
    batch_size: int | None = None
    streams: int = 1


@dataclass(frozen=True)
class Backend:
    """A predictor backend.

    predictor: 'module.Class', a `Predictor` that is constructed from (model, this row, EngineSettings).
    artifact: what it runs: the suffix of a file, FOLDER or URL. package: must be importable. distributions: what pip
    calls the package, the recommended one first. device: where it runs, 'cpu', 'cuda' or 'server'. provider: execution
    provider of ONNX Runtime.
    """

    name: str
    predictor: str
    artifact: str
    package: str
    distributions: tuple[str, ...]
    device: str = "cpu"
    provider: str = ""

    def is_installed(self) -> bool:
        # without an origin it is a folder that holds no module, such as TensorRT's type stubs alone
        spec = importlib.util.find_spec(self.package)
        return spec is not None and spec.origin is not None
