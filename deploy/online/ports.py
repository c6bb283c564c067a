"""Ports of this machine on which streams are awaited: each is one camera's."""

import errno
import socket
import sys
from contextlib import ExitStack
from urllib.parse import urlsplit

from regenhance_data.errors import InputError, redacted

LISTENS = "?listen"  # at the end of a URL: somebody pushes the stream to it
_PORTS = {"rtsp": 554, "rtsps": 322, "rtmp": 1935, "http": 80, "https": 443}


def port_of(source: str) -> int:
    """The port of a URL, that of its kind where it names none."""
    url = urlsplit(source)
    return url.port or _PORTS[url.scheme.lower()]


def refuse_unusable(source: str) -> None:
    """InputError where nobody can listen at the host and port of a URL; FFmpeg has no words for it."""
    shown, port = redacted(source), port_of(source)
    try:
        family, kind, _, _, address = socket.getaddrinfo(urlsplit(source).hostname, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as tried:
            tried.setsockopt(
                socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
            )  # as FFmpeg: connections that ended do not count
            tried.bind(address)
    except socket.gaierror:
        return  # reported as an unknown host
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise taken(source) from None
        if error.errno == errno.EADDRNOTAVAIL:
            raise InputError(
                f"{shown}: is not an address of this machine; to listen on all that it has, write 0.0.0.0"
            ) from None
        raise InputError(f"{shown}: port {port} cannot be used ({error.strerror}); give one above 1023") from None


def taken(source: str) -> InputError:
    """What is wrong where another camera or program has the port."""
    return InputError(f"{redacted(source)}: port {port_of(source)} is taken; end what listens there, or give another")


class ListeningPort:
    """The port of a URL, kept from all other cameras on this machine, also while it is not listened on.

    with ListeningPort(source) as port:
        port.problem()      # None: it is kept, or this is no URL that listens
    """

    def __init__(self, source: str) -> None:
        self._source, self._is_kept = source, not source.endswith(LISTENS) or sys.platform != "linux"
        self._kept = ExitStack()

    def __enter__(self) -> "ListeningPort":
        return self

    def __exit__(self, *error: object) -> None:
        self._kept.close()

    def problem(self) -> InputError | None:
        """Keep it, if it is not kept yet; why that cannot be."""
        if not self._is_kept:
            # a name that goes with the process, where a port would: a second listener could have the port of a
            # connection that was accepted
            name = socket.socket(socket.AF_UNIX)
            try:
                name.bind(f"\0regenhance listens on port {port_of(self._source)}")
            except OSError:
                name.close()
                return taken(self._source)
            self._kept.enter_context(name)
            self._is_kept = True
        return None
