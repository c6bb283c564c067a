"""Predictors on a server: KServe's Open Inference Protocol, version 2, over HTTP.

Triton Inference Server, KServe, MLServer and others implement it. Frames and importance are sent as bytes where the
server has the binary tensor data extension (Triton has), else as JSON.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from deploy.backends.base import BatchRunner, Predictor
from deploy.backends.http_server import Answer, HttpServer
from deploy.backends.settings import Backend, EngineSettings
from deploy.contract import HEADS, INPUT, OUTPUT
from regenhance_data.defaults import MOST_MB_SIZE, MOST_SCALE
from regenhance_data.errors import InputError
from regenhance_data.grid import MacroblockGrid
from regenhance_data.io.files import parse_json

_MODEL_URL = re.compile(r"(https?://[^/@\s]+(?:/[^@\s]+)?)/v2/models/([^/?#\s]+)(?:/versions/([1-9][0-9]*))?/?")
_BINARY = "binary_tensor_data"
_HEADER_LENGTH = "Inference-Header-Content-Length"
# of an answer: without importance, and for each of its numbers as text
_MOST_BYTES, _BYTES_OF_NUMBER = 4 << 20, 32
_MOST_FRAME_BYTES = 256 << 20  # of a batch
_WANTS_PASSWORD = (401, 403, 407)


@dataclass(frozen=True)
class _Model:
    """A server's description of a predictor.

    batch: the most frames at once; is_dynamic: fewer as well. picture: [rows, cols], or with the pixels head [H, W].
    """

    grid: MacroblockGrid
    batch: int
    is_dynamic: bool
    picture: list[int]
    metadata: dict[str, str]


class ServedPredictor(Predictor):
    """A predictor on a server, used like one in a file. Made by deploy.runtime.load_predictor.

    url: `http://HOST:PORT/v2/models/NAME`, or a version of it at `…/NAME/versions/NUMBER`. `batch` is the most frames
    that the server takes at once. `metadata` comes from the model's configuration where the server gives it, as Triton
    does, else from the parameters that it gives the output. InputError where no server answers, where it has no such
    model or is not ready to run it, and where the model is not a predictor of this kit.
    """

    def __init__(self, model: Path | str, backend: Backend, settings: EngineSettings) -> None:
        url = str(model)
        if settings.threads or settings.batch_size:
            raise InputError(f"{url}: the server has its own engine; leave out --threads and --batch_size")
        match = _MODEL_URL.fullmatch(url)
        if not match:
            raise InputError(f"{url}: expected http://HOST:8000/v2/models/NAME, perhaps with /versions/NUMBER")
        self._server, self._name, _ = match.groups()
        self.url = url.rstrip("/")
        self._http = HttpServer("/".join(url.split("/")[:3]))
        served = _model(self._about(), self._asked(f"{self.url}/config") or {})
        if served is None:
            raise InputError(
                f"{url}: is not a predictor of this kit, or the server does not give its mb_size, scale and head; "
                "serve what deploy/make_triton_repository.py wrote"
            )
        input_hw = served.grid.height, served.grid.width
        super().__init__(backend, self.url, input_hw, served.batch, served.is_dynamic, served.metadata)
        self._picture = served.picture
        extensions = (self._asked(f"{self._server}/v2") or {}).get("extensions")
        self._is_binary = isinstance(extensions, list) and _BINARY in extensions

    def _batch_runner(self) -> BatchRunner:
        return self._infer

    def _about(self) -> dict[str, Any]:
        """The model's metadata. InputError, with what the server has, where it is missing or not ready."""
        answer = self._request("GET", self.url)
        if answer.status in _WANTS_PASSWORD:
            raise InputError(
                f"{self.url}: the server refuses it ({answer.status}); passwords and tokens are not supported, let the "
                "server answer this machine without"
            )
        about = _json_object(answer)
        if about is not None and self._request("GET", f"{self.url}/ready").status == 200:
            return about
        index = self._request("POST", f"{self._server}/v2/repository/index", body=b"{}")
        listed = _json(index.data) if index.status == 200 else None
        models = [model for model in listed if isinstance(model, dict)] if isinstance(listed, list) else []
        names = sorted({str(model.get("name")) for model in models})
        if about is None and self._name not in names:
            known = f"it has {', '.join(names)[:200]}" if names else f"it answers {answer.status}, look at its log"
            raise InputError(f"{self.url}: the server has no such model; {known}")
        states = [
            " ".join(f"version {model.get('version')}: {model.get('state')} {model.get('reason', '')}".split())[:120]
            for model in models
            if model.get("name") == self._name
        ]
        said = f" ({'; '.join(states)})" if states else ""
        raise InputError(f"{self.url}: the server is not ready to run it{said}; wait, or look at its log")

    def _asked(self, url: str) -> dict[str, Any] | None:
        """The JSON object at a URL, or None."""
        return _json_object(self._request("GET", url))

    def _request(self, method: str, url: str, most_bytes: int = _MOST_BYTES, **content: Any) -> Answer:
        return self._http.request(method, urlsplit(url).path, most_bytes, **content)

    def _infer(self, frames: np.ndarray) -> np.ndarray:
        tensor: dict[str, Any] = {"name": INPUT, "shape": list(frames.shape), "datatype": "UINT8"}
        output: dict[str, Any] = {"name": OUTPUT}
        if self._is_binary:
            content = frames.tobytes()
            tensor["parameters"] = {"binary_data_size": len(content)}
            output["parameters"] = {"binary_data": True}
        else:
            content = b""
            tensor["data"] = frames.ravel().tolist()
        question = json.dumps({"inputs": [tensor], "outputs": [output]}).encode()
        headers = {"Content-Type": "application/json"}
        if self._is_binary:
            headers = {"Content-Type": "application/octet-stream", _HEADER_LENGTH: str(len(question))}
        most_bytes = _MOST_BYTES + _BYTES_OF_NUMBER * len(frames) * prod(self._picture)
        response = self._request("POST", f"{self.url}/infer", most_bytes, body=question + content, headers=headers)
        if response.status != 200:
            said = _json(response.data)
            reason = said.get("error") if isinstance(said, dict) else None
            raise InputError(
                f"{self.url}: the server did not run it ({response.status} {str(reason or '')[:200]}); look at its log"
            )
        importance = _importance(response, [len(frames), *self._picture])
        if importance is None:
            raise InputError(
                f"{self.url}: gives something else than finite importance {[len(frames), *self._picture]}; serve "
                "the predictor again with deploy/make_triton_repository.py"
            )
        return importance

    def bound(self, frames: np.ndarray) -> Callable[[], Any]:
        return lambda: self._infer(frames)


def _model(about: dict[str, Any], config: dict[str, Any]) -> _Model | None:
    """The predictor from a model's metadata and, where the server gives it, configuration; None for another model."""
    try:
        (frames,), (importance,) = about["inputs"], about["outputs"]
        batch, height, width, _ = (int(size) for size in frames["shape"])
        parameters = {key: value["string_value"] for key, value in config.get("parameters", {}).items()}
        metadata = {str(key): str(value) for key, value in {**importance.get("parameters", {}), **parameters}.items()}
        grid = MacroblockGrid(height, width, int(metadata["mb_size"]))
        picture = dict(zip(HEADS, ([*grid.shape], [height, width]), strict=True))[metadata["head"]]
        fitting = _MOST_FRAME_BYTES // (3 * height * width)
        most = batch if batch > 0 else max(min(int(config.get("max_batch_size", 1)), fitting), 1)
        is_ours = (
            [(port["name"], port["datatype"]) for port in (frames, importance)] == [(INPUT, "UINT8"), (OUTPUT, "FP32")]
            and frames["shape"] == [batch, height, width, 3]
            and importance["shape"] == [batch, *picture]
            and batch in (-1, most)
            and most <= fitting
            and all(text.isprintable() for pair in metadata.items() for text in pair)
            and 0 < int(metadata["scale"]) <= MOST_SCALE
            and grid.mb_size <= MOST_MB_SIZE
        )
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError):
        return None
    return _Model(grid, most, batch == -1, picture, metadata) if is_ours else None


def _json_object(answer: Answer) -> dict[str, Any] | None:
    found = _json(answer.data) if answer.status == 200 else None
    return found if isinstance(found, dict) else None


def _json(data: bytes) -> Any:
    try:
        return parse_json(data)
    except ValueError:
        return None


def _importance(response: Answer, shape: list[int]) -> np.ndarray | None:
    """The importance in a response, float32 of `shape`; None for another content."""
    try:
        length = int(response.headers.get(_HEADER_LENGTH.lower(), len(response.data)))
        (output,) = parse_json(response.data[:length])["outputs"]
        if (output["name"], output["datatype"], output["shape"]) != (OUTPUT, "FP32", shape):
            return None
        is_binary = "binary_data_size" in output.get("parameters", {})
        values = np.frombuffer(response.data[length:], "<f4") if is_binary else np.array(output["data"])
        if values.dtype.kind not in "fi":  # true and "0.5" are no numbers
            return None
        with np.errstate(over="ignore"):
            importance = values.astype(np.float32).reshape(shape)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        return None
    return importance if np.isfinite(importance).all() else None
