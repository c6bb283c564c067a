"""TensorRT engine files and the JSON beside them."""

from dataclasses import dataclass
from pathlib import Path

from deploy.contract import is_described
from regenhance_data.errors import InputError
from regenhance_data.io.files import others_like, read_json, sha256

_MOST = 2**16  # frames, or pixels of a side


@dataclass(frozen=True)
class Sidecar:
    """What an engine was built from and for: a JSON file beside it, since the engine itself is opaque.

    min_batch, opt_batch, max_batch: of its optimisation profile. metadata: of the predictor.
    """

    onnx_sha256: str
    engine_sha256: str
    tensorrt: str
    gpu: str
    precision: str
    min_batch: int
    opt_batch: int
    max_batch: int
    input_hw: list[int]
    metadata: dict[str, str]


def sidecar_path(engine: Path) -> Path:
    """The sidecar of an engine: M.engine.json beside M.engine."""
    return engine.with_name(f"{engine.name}.json")


def read_sidecar(engine: Path) -> Sidecar:
    """Read an engine's sidecar, without TensorRT. InputError when it is missing, broken or of another engine."""
    path = sidecar_path(engine)
    if not engine.is_file():
        raise InputError(f"{engine}: no such engine{others_like(engine)}; build one with deploy/onnx2trt.py")
    if not path.is_file():
        raise InputError(f"{path}: is missing, which describes {engine.name}; build it again with onnx2trt.py")
    try:
        sidecar = Sidecar(**read_json(path))
        batches = [sidecar.min_batch, sidecar.opt_batch, sidecar.max_batch]
        is_right = (
            is_described(sidecar.metadata)
            and all(type(size) is int and 0 < size <= _MOST for size in (*batches, *sidecar.input_hw))
            and isinstance(sidecar.tensorrt, str)
            and isinstance(sidecar.gpu, str)
            and batches == sorted(batches)
            and len(sidecar.input_hw) == 2
        )
    except (TypeError, AttributeError):
        is_right = False
    if not is_right:
        raise InputError(f"{path}: describes no engine of this kit; build it again with deploy/onnx2trt.py")
    if sha256(engine) != sidecar.engine_sha256:
        raise InputError(f"{engine}: is not the engine that {path.name} describes; build it again with onnx2trt.py")
    source = engine.with_suffix(".onnx")
    if source.is_file() and sha256(source) != sidecar.onnx_sha256:
        raise InputError(f"{engine}: was built from another {source.name} than the one beside it; build it again")
    return sidecar
