"""A mosquitto of its own on a free port, and what it is sent."""

import getpass
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")


def free_port() -> int:
    with socket.socket() as some:
        some.bind(("127.0.0.1", 0))
        return some.getsockname()[1]


@contextmanager
def mosquitto(folder: Path, port: int, user: str = "", password: str = "") -> Iterator[None]:
    """A broker on this port of the loopback until the end of the block; with a user, for nobody else."""
    lines = [f"listener {port} 127.0.0.1", f"allow_anonymous {'false' if user else 'true'}"]
    if user:
        subprocess.run(["mosquitto_passwd", "-b", "-c", str(folder / "passwords"), user, password], check=True)
        lines.append(f"user {getpass.getuser()}")  # else it drops its rights, and cannot read the file
        lines.append(f"password_file {folder / 'passwords'}")
    config = folder / "mosquitto.conf"
    config.write_text("\n".join(lines) + "\n")
    with subprocess.Popen([str(MOSQUITTO), "-c", str(config)], stderr=subprocess.DEVNULL) as process:
        try:
            _wait_for(port)
            yield
        finally:
            process.terminate()


@contextmanager
def deaf_broker() -> Iterator[int]:
    """The port of a broker that accepts everybody, and confirms nothing."""

    def serve(connection: socket.socket) -> None:
        with suppress(OSError), connection:
            while received := connection.recv(4096):
                if received[0] >> 4 == 1:  # CONNECT
                    connection.sendall(b"\x20\x02\x00\x00")

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def _wait_for(port: int) -> None:
    for _ in range(200):
        with socket.socket() as some:
            if some.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError("mosquitto does not answer")


class Subscriber:
    """Receives all messages of a topic: (topic, content), in order."""

    def __init__(self, port: int, topic: str, user: str | None = None, password: str | None = None) -> None:
        from paho.mqtt import client as paho

        self.received: list[tuple[str, bytes]] = []
        self._is_ready = False
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        self._client.username_pw_set(user, password)
        self._client.on_connect = lambda client, *_: client.subscribe(topic, qos=1)
        self._client.on_subscribe = lambda *_: setattr(self, "_is_ready", True)
        self._client.on_message = lambda _, __, message: self.received.append((message.topic, message.payload))
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def __enter__(self) -> "Subscriber":
        until(lambda: self._is_ready)
        return self

    def wait_for(self, text: str) -> None:
        """Wait for a message that contains a text."""
        until(lambda: any(text.encode() in content for _, content in self.received))

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def until(is_so: Callable[[], bool], seconds: float = 30) -> None:
    """Wait for something to become so."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it did not become so"
        time.sleep(0.02)
