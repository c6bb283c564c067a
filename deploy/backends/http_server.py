"""HTTP with a server that is not trusted: one deadline for a request, a limit for its answer, no redirects."""

import http.client
import socket
import ssl
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from deploy.backends.base import Pool
from regenhance_data.errors import InputError, one_line

LIMIT_S = 60.0  # of a request, with all attempts
_CONNECT_LIMIT_S = 5.0
# Before further attempts, for a server that is restarting. When it says itself to come back may be in a day.
_PAUSES_S = (0.0, 0.4, 0.8)
_BUSY = (502, 503, 504)


@dataclass(frozen=True)
class Answer:
    """headers: by name, in lower case."""

    status: int
    data: bytes
    headers: dict[str, str]


class HttpServer:
    """Requests to one server, from any number of threads; connections are kept. `origin`: http://HOST:PORT, or https.

    A request may be sent several times, so it must change nothing on the server.
    """

    def __init__(self, origin: str) -> None:
        self._origin = origin
        try:
            parts = urlsplit(origin)
            self._place = parts.hostname or "", parts.port
        except ValueError as error:
            raise InputError(f"{origin}: is no address ({one_line(error)}); give http://HOST:PORT") from None
        self._context = ssl.create_default_context() if parts.scheme == "https" else None
        self._connections: Pool[http.client.HTTPConnection] = Pool()

    def request(
        self, method: str, path: str, most_bytes: int, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> Answer:
        """The answer. InputError where it is not there LIMIT_S later, or is longer than `most_bytes`."""
        ends_s = time.monotonic() + LIMIT_S
        question = method, quote(path, safe="/%:@!$&'()*+,;=~-._"), body, headers or {}
        with self._connections.leased(self._connection) as connection:
            for pause_s in (*_PAUSES_S, None):
                answer, problem = None, ""
                try:
                    answer = self._exchange(connection, ends_s, most_bytes, *question)
                except (OSError, http.client.HTTPException, ValueError) as error:  # of a host's name, of negative sizes
                    connection.close()  # the next attempt opens it anew
                    problem = one_line(error)
                is_late = time.monotonic() + (pause_s or 0) >= ends_s
                if answer and (answer.status not in _BUSY or pause_s is None or is_late):
                    return answer
                if pause_s is None or is_late:
                    break
                time.sleep(pause_s)
        why = f"not within {LIMIT_S:g} s" if is_late else problem
        raise InputError(f"{self._origin}: no server answers ({why}); start it, or fix the URL")

    def _connection(self) -> http.client.HTTPConnection:
        if self._context:
            return http.client.HTTPSConnection(*self._place, timeout=_CONNECT_LIMIT_S, context=self._context)
        return http.client.HTTPConnection(*self._place, timeout=_CONNECT_LIMIT_S)

    def _exchange(
        self,
        connection: http.client.HTTPConnection,
        ends_s: float,
        most_bytes: int,
        method: str,
        path: str,
        body: bytes,
        headers: dict[str, str],
    ) -> Answer:
        """One attempt."""
        if connection.sock is None:
            connection.timeout = min(_CONNECT_LIMIT_S, max(ends_s - time.monotonic(), 0.001))
            connection.connect()
        left_s = ends_s - time.monotonic()
        if left_s <= 0:  # a look-up of a name has no limit of its own
            raise TimeoutError
        connection.sock.settimeout(left_s)  # of each read: a server may send a byte now and then
        timer = threading.Timer(left_s, _end, [connection.sock])
        timer.daemon = True
        timer.start()
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            if 300 <= response.status < 400:
                raise InputError(f"{self._origin}: sends to another address ({response.status}); give that one")
            data = response.read(most_bytes + 1)
            if time.monotonic() >= ends_s:  # the connection was ended, perhaps within the headers
                raise TimeoutError
            if response.getheader("Content-Encoding", "identity") != "identity":
                raise InputError(f"{self._origin}: sends compressed answers, which nothing asks for; turn that off")
            if len(data) > most_bytes:
                raise InputError(
                    f"{self._origin}: its answer is longer than {most_bytes >> 10} KB, more than one of a predictor"
                )
            if response.length:
                raise http.client.IncompleteRead(data, response.length)
        finally:
            timer.cancel()
        if not response.isclosed():
            connection.close()
        return Answer(response.status, data, {name.lower(): value for name, value in response.getheaders()})


def _end(used: socket.socket) -> None:
    with suppress(OSError):
        socket.socket.shutdown(used, socket.SHUT_RDWR)  # of TLS too: it waits for nothing
