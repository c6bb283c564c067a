"""Servers that hold, flood or mislead their client: sockets that answer as they like, by name of what they do."""

import gzip
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

Answer = Callable[[socket.socket, threading.Event], object]

HEIGHT, WIDTH, ROWS, COLS = 32, 48, 2, 3  # of the model that they pretend to have
URL = "/v2/models/one"
SOUND = 0.25  # all the importance that a sound answer has
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
FIRST, LATER = "about the model", "importance"  # which answer is hostile
_KEPT = 2**16


@contextmanager
def listening(treat: Answer) -> Iterator[str]:
    """The address of a server that treats each connection so, until the end of the block, when the event is set."""
    is_over = threading.Event()

    def accept() -> None:
        while not is_over.is_set():
            with suppress(OSError):
                threading.Thread(target=use, args=listener.accept()[:1], daemon=True).start()

    def use(used: socket.socket) -> None:
        with used, suppress(OSError, ValueError, LookupError):
            treat(used, is_over)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            is_over.set()
            with suppress(OSError):
                socket.create_connection(listener.getsockname()).close()
            thread.join()


def answering(answer: Answer) -> AbstractContextManager[str]:
    """The address of a server that answers the first question of each connection so."""
    return listening(lambda used, is_over: (used.recv(_KEPT), answer(used, is_over)))


def dripping(start: bytes, pause_s: float = 0.02) -> Answer:
    def answer(used: socket.socket, is_over: threading.Event) -> None:
        used.sendall(start)
        while not is_over.wait(pause_s):
            used.sendall(b"x")

    return answer


def flood(used: socket.socket, is_over: threading.Event) -> None:
    used.sendall(OK + b"Transfer-Encoding: chunked\r\n\r\n")
    while not is_over.is_set():
        used.sendall(b"100000\r\n" + bytes(2**20) + b"\r\n")


def saying(text: bytes) -> Answer:
    return lambda used, is_over: used.sendall(text)


def whole(body: bytes, status: str = "200 OK", more: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{more}\r\n".encode() + body


def _reset(used: socket.socket, is_over: threading.Event) -> None:
    used.sendall(OK + b"Content-Length: 100\r\n\r\n{")
    used.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    used.close()


def _half_closed(used: socket.socket, is_over: threading.Event) -> None:
    used.sendall(OK + b"Content-Length: 100\r\n\r\n{")
    used.shutdown(socket.SHUT_WR)
    is_over.wait()


def _headers(used: socket.socket, is_over: threading.Event) -> None:
    used.sendall(b"HTTP/1.1 200 OK\r\n")
    while not is_over.is_set():
        used.sendall(b"X-More: " + b"x" * 5000 + b"\r\n")


def _continues(used: socket.socket, is_over: threading.Event) -> None:
    while not is_over.is_set():
        used.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")


_BOMB = gzip.compress(bytes(2**26))
# What a socket can do, whichever answer it is.
SOCKETS: dict[str, Answer] = {
    "silent": lambda used, is_over: is_over.wait(),
    "hangs up": lambda used, is_over: None,
    "slow status line": dripping(b"HTTP/1.1 200 "),
    "slow headers": dripping(b"HTTP/1.1 200 OK\r\nA: ", 0.5),
    "slow body": dripping(OK + b"Content-Length: 1000000\r\n\r\n", 0.5),
    "slow chunks": dripping(OK + b"Transfer-Encoding: chunked\r\n\r\n", 0.5),
    "slow without a length": dripping(OK + b"\r\n{", 0.5),
    "half closed": _half_closed,
    "reset": _reset,
    "endless chunks": flood,
    "endless headers": _headers,
    "endless 100 Continue": _continues,
    "length of 6 GB": saying(OK + b"Content-Length: 6000000000\r\n\r\n" + bytes(2**23)),
    "negative length": saying(OK + b"Content-Length: -5\r\n\r\n{}"),
    "length that is no number": saying(OK + b"Content-Length: many\r\n\r\n{}"),
    "length of 5000 digits": saying(OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n{}"),
    "two lengths": saying(OK + b"Content-Length: 2\r\nContent-Length: 900\r\n\r\n{}"),
    "shorter than its length": saying(OK + b"Content-Length: 900\r\n\r\n{}"),
    "chunk of no size": saying(OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n"),
    "chunk of negative size": saying(OK + b"Transfer-Encoding: chunked\r\n\r\n-5\r\n{}\r\n"),
    "chunk of 10^18 bytes": saying(OK + b"Transfer-Encoding: chunked\r\n\r\nde0b6b3a7640000\r\n{}"),
    "gzip bomb": saying(whole(_BOMB, more="Content-Encoding: gzip\r\n")),
    "gzip that is none": saying(whole(b"{}", more="Content-Encoding: gzip\r\n")),
    "other encoding": saying(whole(b"{}", more="Content-Encoding: br, zstd, \x1b[2J\r\n")),
    "redirect elsewhere": saying(whole(b"", "302 Found", "Location: http://192.0.2.1/\r\n")),
    "redirect to itself": saying(whole(b"", "307 Temporary Redirect", f"Location: {URL}\r\n")),
    "redirect to a file": saying(whole(b"", "301 Moved", "Location: file:///etc/passwd\r\n")),
    "redirect nowhere": saying(whole(b"", "308 Permanent Redirect")),
    "retry in a day": saying(whole(b"", "503 Busy", "Retry-After: 100000\r\n")),
    "retry at a date": saying(whole(b"", "429 Slow", "Retry-After: Fri, 31 Dec 2099 23:59:59 GMT\r\n")),
    "500": saying(whole(b'{"error": "no"}', "500 Broken")),
    "502, always": saying(whole(b"<html>", "502 Bad Gateway")),
    "status 999": saying(whole(b"{}", "999 What")),
    "status of text": saying(b"HTTP/1.1 OK 200\r\n\r\n{}"),
    "asks for a password": saying(whole(b"", "401 Unauthorized", "WWW-Authenticate: Basic realm=x\r\n")),
    "upgrades": saying(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x81\x02{}"),
    "no HTTP": saying(b"\x1b[31mSSH-2.0-none\r\n\r\n"),
    "HTTP/0.9": saying(b'{"name": "one"}'),
    "TLS": saying(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64)),
    "escape sequences": saying(
        whole(b'{"error": "\\u001b]0;title\\u0007\\u001b[2J\\r\\nok: done"}', "400 \x1b[2JNo", "A: \x1b[31m\r\n")
    ),
    "no content": saying(whole(b"", "204 No Content")),
    "empty": saying(whole(b"")),
    "HTML": saying(whole(b"<!doctype html><title>log in</title>")),
    "half JSON": saying(whole(b'{"outputs": [{"name": "importance", ')),
    "deep JSON": saying(whole(b"[" * 100_000)),
    "number of 5000 digits": saying(whole(b'{"outputs": ' + b"7" * 5000 + b"}")),
    "UTF-16": saying(whole('{"name": "one"}'.encode("utf-16"))),
    "null": saying(whole(b"null")),
    "list": saying(whole(b"[1, 2]")),
    "lone surrogate": saying(whole(b'{"error": "\\ud800", "name": "\\udfff"}', "400 No")),
}


def about() -> dict[str, Any]:
    """What a sound server says of the model."""
    frames = {"name": "frames", "datatype": "UINT8", "shape": [1, HEIGHT, WIDTH, 3]}
    said = {"kit": "regenhance-kit", "head": "macroblock", "levels": "10", "mb_size": "16", "scale": "2"}
    said |= {"input_height": str(HEIGHT), "input_width": str(WIDTH), "precision": "fp32", "model": "one"}
    importance = {"name": "importance", "datatype": "FP32", "shape": [1, ROWS, COLS], "parameters": said}
    return {"name": "one", "versions": ["1"], "platform": "x", "inputs": [frames], "outputs": [importance]}


def predicted(value: Any = SOUND) -> dict[str, Any]:
    """The importance that a sound server gives."""
    output = {"name": "importance", "datatype": "FP32", "shape": [1, ROWS, COLS], "data": [value] * (ROWS * COLS)}
    return {"model_name": "one", "outputs": [output]}


def _with(value: dict[str, Any], port: str, **changes: Any) -> dict[str, Any]:
    value[port][0].update(changes)
    return value


def _saying_of_itself(**changes: Any) -> dict[str, Any]:
    said = about()
    said["outputs"][0]["parameters"].update(changes)
    return said


_OF_10_TO_9 = [10**9, HEIGHT, WIDTH, 3]
# Values in the place of what a sound server says, written as JSON.
MODELS: dict[str, Any] = {
    "a batch of 10^9": _with(_with(about(), "inputs", shape=_OF_10_TO_9), "outputs", shape=[10**9, ROWS, COLS]),
    "frames of 10^9 rows": _with(about(), "inputs", shape=[1, 10**9, WIDTH, 3]),
    "a shape of text": _with(about(), "inputs", shape=["1", "32", "48", "3"]),
    "a negative size": _with(about(), "inputs", shape=[1, -HEIGHT, WIDTH, 3]),
    "a size that is not finite": _with(about(), "inputs", shape=[1, float("inf"), WIDTH, 3]),
    "no ports": {**about(), "inputs": [], "outputs": []},
    "ports that are no list": {**about(), "inputs": {"0": 1}, "outputs": "x"},
    "floats as frames": _with(about(), "inputs", datatype="FP32"),
    "a macroblock of 0 pixels": _saying_of_itself(mb_size="0"),
    "a scale of 10^400": _saying_of_itself(scale="1" + "0" * 400),
    "another head": _saying_of_itself(head="all"),
    "escape sequences in its name": _saying_of_itself(model="\x1b[2J\r\nok", precision="\x1b]0;x\x07"),
    "100,000 parameters": _saying_of_itself(**{f"p{n}": "x" for n in range(100_000)}),
}
IMPORTANCE: dict[str, Any] = {
    "7e37": predicted(7e37),
    "-5": predicted(-5),
    "NaN": predicted(float("nan")),
    "Infinity": predicted(float("inf")),
    "10^300": predicted(10**300),
    "text": predicted("0.25"),
    "null": predicted(None),
    "lists": predicted([SOUND]),
    "true": predicted(True),
    "too few": _with(predicted(), "outputs", data=[SOUND]),
    "too many": _with(predicted(), "outputs", data=[SOUND] * 100_000),
    "another shape": _with(predicted(), "outputs", shape=[ROWS, COLS]),
    "another type": _with(predicted(), "outputs", datatype="FP64"),
    "another name": _with(predicted(), "outputs", name="\x1b[2J"),
    "bytes that are not there": _with(predicted(), "outputs", parameters={"binary_data_size": 2**60}),
    "two outputs": {"outputs": predicted()["outputs"] * 2},
    "parameters of text": _with(predicted(), "outputs", parameters="x"),
}


@dataclass(frozen=True)
class Mode:
    """One of MODES: which of the answers is hostile, and how."""

    when: str
    answer: Answer


MODES: dict[str, Mode] = {
    **{f"{name}, {when}": Mode(when, answer) for when in (FIRST, LATER) for name, answer in SOCKETS.items()},
    **{f"model: {name}": Mode(FIRST, saying(whole(json.dumps(value).encode()))) for name, value in MODELS.items()},
    **{f"importance: {name}": Mode(LATER, saying(whole(json.dumps(v).encode()))) for name, v in IMPORTANCE.items()},
    **{
        f"header length {length}": Mode(
            LATER,
            saying(whole(json.dumps(predicted()).encode(), more=f"Inference-Header-Content-Length: {length}\r\n")),
        )
        for length in ("-1", "99999999999999999999", "many", "0", "\x1b[2J")
    },
    "sound": Mode(LATER, saying(whole(json.dumps(predicted()).encode()))),
}


def _questions(used: socket.socket) -> Iterator[str]:
    """The path of each request of a connection, whose bodies are dropped."""
    with used.makefile("rb") as stream:
        while first := stream.readline():
            lines = [*iter(stream.readline, b"\r\n")]
            lengths = [int(line.split(b":")[1]) for line in lines if line.lower().startswith(b"content-length:")]
            stream.read(sum(lengths))
            yield first.split(b" ")[1].decode()


@contextmanager
def hostile(mode: Mode) -> Iterator[str]:
    """The URL of a predictor on a server of a mode: sound, but for one of its answers."""
    sound = {URL: about(), f"{URL}/ready": {}, f"{URL}/infer": predicted(), "/v2": {"extensions": []}}
    path_of = {FIRST: URL, LATER: f"{URL}/infer"}

    def treat(used: socket.socket, is_over: threading.Event) -> None:
        for path in _questions(used):
            if path == path_of[mode.when]:
                mode.answer(used, is_over)
                return
            used.sendall(whole(json.dumps(sound.get(path, {})).encode(), "200 OK" if path in sound else "404 None"))

    with listening(treat) as address:
        yield f"{address}{URL}"
