"""The table of predictor backends, and how a predictor is loaded. A new backend is a row here and a module of its own.

Imports no engine: a backend's module is imported when it is used for the first time.
"""

import re
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.backends.settings import FOLDER, URL, Backend, EngineSettings
from deploy.contract import ENGINE_SUFFIX, ONNX_SUFFIX
from regenhance_data.errors import InputError
from regenhance_data.io.files import refuse_missing

if TYPE_CHECKING:
    from deploy.backends.base import Predictor

_ONNX_RUNTIME = "deploy.backends.onnxruntime.OnnxRuntimePredictor"
_GPU = ("onnxruntime-gpu",)
# 'auto' takes the first that runs an artifact and is installed: the faster one stands first
BACKENDS = {
    row.name: row
    for row in (
        Backend("openvino", "deploy.backends.openvino.OpenVinoPredictor", ONNX_SUFFIX, "openvino", ("openvino",)),
        Backend(
            "onnxruntime",
            _ONNX_RUNTIME,
            ONNX_SUFFIX,
            "onnxruntime",
            ("onnxruntime",),
            provider="CPUExecutionProvider",
        ),
        Backend(
            "onnxruntime_cuda",
            _ONNX_RUNTIME,
            ONNX_SUFFIX,
            "onnxruntime",
            _GPU,
            device="cuda",
            provider="CUDAExecutionProvider",
        ),
        Backend(
            "onnxruntime_tensorrt",
            _ONNX_RUNTIME,
            ONNX_SUFFIX,
            "onnxruntime",
            _GPU,
            device="cuda",
            provider="TensorrtExecutionProvider",
        ),
        Backend(
            "paddle",
            "deploy.backends.paddle.PaddlePredictor",
            FOLDER,
            "paddle",
            ("paddlepaddle", "paddlepaddle-gpu"),
        ),
        Backend(
            "tensorrt",
            "deploy.backends.tensorrt.TensorRtPredictor",
            ENGINE_SUFFIX,
            "tensorrt",
            ("tensorrt",),
            device="cuda",
        ),
        Backend("served", "deploy.backends.served.ServedPredictor", URL, "http", ("python",), device="server"),
    )
}
# those that run an ONNX file on any machine
CPU_BACKENDS = tuple(name for name, row in BACKENDS.items() if row.artifact == ONNX_SUFFIX and row.device == "cpu")


def installed_backends() -> list[str]:
    """Those of CPU_BACKENDS that are installed, the preferred one first."""
    return [name for name in CPU_BACKENDS if BACKENDS[name].is_installed()]


def local_backends() -> list[str]:
    """The backends that run a model on this machine, not on a server."""
    return [name for name, row in BACKENDS.items() if row.artifact != URL]


def is_url(model: Path | str) -> bool:
    """Whether `model` is the address of a served predictor, not a file; http:// may be missing."""
    return served_url(model) is not None


def served_url(model: Path | str) -> str | None:
    """The address of a served predictor, with http:// where the user left it out; None for a file.

    A path that exists is a file, whatever its name.
    """
    text = str(model)
    if scheme := re.match("https?://", text, re.IGNORECASE):
        return scheme[0].lower() + text[scheme.end() :]
    is_address = re.match(r"(\[[0-9a-fA-F:]+\]|[\w.-]+):[0-9]{1,5}(/|$)|[\w.-]+/v2/models/", text)
    return f"http://{text}" if is_address and not Path(text).exists() else None


def refuse_address(model: Path | str) -> None:
    """InputError for the address of a served predictor, in a command that takes files alone."""
    # of http:// a path keeps one slash
    if is_url(model) or re.match("https?:/", str(model), re.IGNORECASE):
        raise InputError(f"{model}: is an address, and this command takes files; give the file that is served there")


def refuse_missing_predictor(model: Path) -> None:
    """InputError where there is no such file of a predictor."""
    refuse_address(model)
    refuse_missing(model, "predictor; make one with deploy/export_onnx.py")


def backends_of(model: Path | str) -> tuple[str, ...]:
    """The backends that run a model: an .onnx, an .engine, a folder of Paddle Inference, or a URL."""
    if is_url(model):
        artifact = URL
    elif Path(model).is_dir():
        artifact = FOLDER
    else:  # a file of another name may be an ONNX file; reading it says whether it is
        suffix = Path(model).suffix
        artifact = suffix if suffix in {row.artifact for row in BACKENDS.values()} else ONNX_SUFFIX
    return tuple(name for name, row in BACKENDS.items() if row.artifact == artifact)


def load_predictor(
    model: Path | str,
    backend: str = "auto",
    threads: int | None = None,
    batch_size: int | None = None,
    streams: int = 1,
) -> "Predictor":
    """Load what deploy/export_onnx.py (.onnx), onnx2trt.py (.engine) or `paddleseg export` (a folder) wrote, or what a
    server runs (a URL).

    backend: a name of BACKENDS; 'auto' takes the first that runs such a model and is installed. The rest: see
    EngineSettings. InputError for what is not a predictor of this kit, does not run, or takes another batch, and for a
    backend that is not installed or does not run such a model.
    """
    if backend not in ("auto", *BACKENDS):
        *names, last = BACKENDS
        raise InputError(f"--backend {backend}: expected auto, {', '.join(names)} or {last}")
    able = backends_of(model)
    if backend == "auto":
        backend = next((name for name in able if BACKENDS[name].is_installed()), able[0])
    if backend not in able:
        raise InputError(f"{model}: --backend {backend} does not run such a model; {' or '.join(able)} does")
    row = BACKENDS[backend]
    model = served_url(model) or model
    if not row.is_installed():
        pip = row.distributions[0]
        raise InputError(f"{model}: --backend {backend} needs {pip}, which is not installed; pip install {pip}")
    settings = EngineSettings(threads, batch_size, streams)
    module, _, name = row.predictor.rpartition(".")
    predictor: Predictor = getattr(import_module(module), name)(model, row, settings)
    if row.artifact != URL:  # a server checks its models when it loads them
        predictor.check()
    return predictor
