"""A server of the Open Inference Protocol for what is in a model repository, strict about what it is asked."""

import json
import re
import threading
from collections.abc import Callable
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import onnxruntime
from google.protobuf import json_format

from deploy.serving.triton import CONFIG, read_config, versions

LENGTH = "Inference-Header-Content-Length"


class Model:
    """The latest version of a model, as its config.pbtxt has it."""

    def __init__(self, folder: Path) -> None:
        self.config = read_config(folder / CONFIG)
        self.version = max(versions(folder))
        path = folder / str(self.version) / self.config.default_model_filename
        self.session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def metadata(self) -> dict:
        batch = [-1] if self.config.max_batch_size else []
        port = dict(zip(("inputs", "outputs"), (self.config.input[0], self.config.output[0]), strict=True))
        kinds = {"inputs": "UINT8", "outputs": "FP32"}
        ports = {k: [{"name": p.name, "datatype": kinds[k], "shape": [*batch, *p.dims]}] for k, p in port.items()}
        return {"name": self.config.name, "versions": [str(self.version)], "platform": self.config.platform, **ports}

    def infer(self, question: dict, content: bytes) -> tuple[dict, bytes]:
        (tensor,), (wanted,) = question["inputs"], question["outputs"]
        shape, about = tensor["shape"], self.metadata()
        expected = about["inputs"][0]
        assert (tensor["name"], tensor["datatype"]) == (expected["name"], expected["datatype"]), "unknown input"
        assert shape[1:] == expected["shape"][1:], f"shape {shape}"
        frames_allowed = (
            range(1, self.config.max_batch_size + 1) if self.config.max_batch_size else [expected["shape"][0]]
        )
        assert shape[0] in frames_allowed, f"batch of {shape[0]}"
        if "parameters" in tensor:
            assert tensor["parameters"]["binary_data_size"] == len(content) == np.prod(shape), "wrong size"
            assert "data" not in tensor
            frames = np.frombuffer(content, np.uint8)
        else:
            assert content == b""
            frames = np.array(tensor["data"], np.uint8)
        assert wanted["name"] == about["outputs"][0]["name"], "unknown output"
        (importance,) = self.session.run([wanted["name"]], {tensor["name"]: frames.reshape(shape)})
        output = {"name": wanted["name"], "datatype": "FP32", "shape": list(importance.shape)}
        if not wanted.get("parameters", {}).get("binary_data"):
            return {"outputs": [{**output, "data": importance.ravel().tolist()}]}, b""
        raw = importance.astype("<f4").tobytes()
        return {"outputs": [{**output, "parameters": {"binary_data_size": len(raw)}}]}, raw


class InferenceServer:
    """Made by `serving`. `requests`: (method, path) of all that came in. `spoil` may change an answer on its way out:
    (path, status, JSON, bytes behind it) → the same but for the path, or None to hang up.
    """

    def __init__(self, repository: Path, binary: bool = True) -> None:
        self.models = {folder.name: Model(folder) for folder in repository.iterdir()}
        self.binary = binary
        self.loading: set[str] = set()
        self.requests: list[tuple[str, str]] = []
        self.spoil: Callable = lambda path, *answer: answer

    def answer(self, method: str, path: str, question: bytes, content: bytes) -> tuple[int, object, bytes]:
        if (method, path) == ("GET", "/v2"):
            extensions = ["binary_tensor_data", "model_configuration", "model_repository"] if self.binary else []
            return 200, {"name": "test", "version": "1", "extensions": extensions}, b""
        if (method, path) == ("POST", "/v2/repository/index"):
            states = [(name, "LOADING" if name in self.loading else "READY") for name in self.models]
            return 200, [{"name": name, "version": "1", "state": state, "reason": ""} for name, state in states], b""
        match = re.fullmatch(r"/v2/models/([^/]+)(?:/versions/([0-9]+))?(/ready|/config|/infer)?", path)
        model = self.models.get(match[1]) if match else None
        if model is None or match[2] not in (None, str(model.version)):
            return 404, {"error": "Request for unknown model"}, b""
        if match[1] in self.loading:
            return 400, {"error": "has no available versions"}, b""
        if match[3] == "/infer":
            assert method == "POST"
            return 200, *model.infer(json.loads(question), content)
        assert method == "GET"
        if match[3] == "/ready":
            return 200, {}, b""
        if match[3] == "/config":
            return 200, json_format.MessageToDict(model.config, preserving_proto_field_name=True), b""
        return 200, model.metadata(), b""


@contextmanager
def serving(repository: Path, **options):
    """(the server, its URL) until the end of the block."""
    server = InferenceServer(repository, **options)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            length = int(self.headers.get(LENGTH, len(body)))
            server.requests.append((self.command, self.path))
            try:
                answer = server.answer(self.command, self.path, body[:length], body[length:])
            except (AssertionError, KeyError, ValueError, TypeError) as error:
                answer = 400, {"error": f"{type(error).__name__}: {error}"}, b""
            spoiled = server.spoil(self.path, *answer)
            if spoiled is None:
                self.close_connection = True
                return
            status, value, content = spoiled
            text = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text) + len(content)))
            if content:
                self.send_header(LENGTH, str(len(text)))
            self.end_headers()
            self.wfile.write(text + content)

        do_GET = do_POST = handle_any

        def log_message(self, *words: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server, f"http://127.0.0.1:{http.server_port}"
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
