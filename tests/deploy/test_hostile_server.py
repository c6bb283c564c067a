"""Servers that hold, flood or mislead their client: one line, within its own deadline."""

import gzip
import socket
import time
from contextlib import suppress

import numpy as np
import pytest

from deploy.backends import http_server
from deploy.backends.registry import load_predictor
from regenhance_data import cli
from regenhance_data.errors import InputError
from tests.support.hostile_server import MODES, OK, SOUND, answering, dripping, flood, hostile, saying


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda used, is_over: is_over.wait(), "no server answers (not within 0.5 s)"),
        (dripping(b"HTTP/1.1 200 OK\r\nA: "), "no server answers (not within 0.5 s)"),
        (dripping(OK + b"Content-Length: 1000000\r\n\r\n"), "no server answers (not within 0.5 s)"),
        (dripping(OK + b"Transfer-Encoding: chunked\r\n\r\n"), "no server answers (not within 0.5 s)"),
        (flood, "its answer is longer than 4096 KB"),
        (saying(OK + b"Content-Length: 6000000000\r\n\r\n" + bytes(2**23)), "its answer is longer than 4096 KB"),
        (
            saying(OK + b"Content-Encoding: gzip\r\nContent-Length: 20\r\n\r\n" + gzip.compress(b"")),
            "sends compressed answers",
        ),
        (
            saying(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"),
            "sends to another address (302)",
        ),
        (
            saying(b"HTTP/1.1 503 Busy\r\nConnection: close\r\nRetry-After: 100000\r\nContent-Length: 0\r\n\r\n"),
            "the server has no such model; it answers 503, look at its log",
        ),
        (
            saying(b"HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"),
            "the server refuses it (401); passwords and tokens are not supported",
        ),
        (saying(OK + b"Content-Length: 9\r\n\r\n{}"), "no server answers (IncompleteRead"),
        (saying(b"\x1b[31mno HTTP\r\n\r\n"), "no server answers ("),
    ],
    ids=["silent", "head", "body", "chunks", "flood", "6GB", "gzip", "redirect", "retry", "password", "cut", "no_HTTP"],
)
def test_a_server_cannot_hold_flood_or_mislead_its_client(monkeypatch, capsys, answer, said):
    monkeypatch.setattr(http_server, "LIMIT_S", 0.5 if "within" in said else 20.0)
    monkeypatch.setattr(http_server, "_PAUSES_S", (0.0,))
    with answering(answer) as address, pytest.raises(InputError) as refusal:
        load_predictor(f"{address}/v2/models/one")
    assert str(refusal.value).startswith(address)
    assert said in str(refusal.value)
    with pytest.raises(SystemExit):
        cli.fail("x.py", str(refusal.value))
    assert capsys.readouterr().err.rstrip("\n").isprintable()


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_whatever_a_server_answers_is_one_line_or_its_importance(monkeypatch, mode):
    """In one process, with a shorter deadline; `make torture` has the commands."""
    monkeypatch.setattr(http_server, "LIMIT_S", 0.3)
    monkeypatch.setattr(http_server, "_PAUSES_S", (0.0,))
    with hostile(MODES[mode]) as address, suppress(InputError):
        predictor = load_predictor(address)
        found = predictor.predict(np.zeros((1, *predictor.input_hw, 3), np.uint8))
        assert np.all(found == SOUND)


def test_nothing_is_sent_after_a_look_up_that_took_all_of_the_time(monkeypatch):
    look_up = socket.getaddrinfo
    monkeypatch.setattr(http_server, "LIMIT_S", 0.2)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *about: time.sleep(0.3) or look_up(*about))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        server = http_server.HttpServer(f"http://127.0.0.1:{listener.getsockname()[1]}")
        with pytest.raises(InputError, match=r"no server answers \(not within 0.2 s\)"):
            server.request("GET", "/", 100)
        with listener.accept()[0] as used:
            assert used.recv(100) == b""
