"""Addresses of brokers and stream servers, read from flags; their credentials are shown nowhere."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote, urlsplit

from regenhance_data.errors import InputError

CAMERA = "{camera}"  # in an address: the id of the camera
MQTT_PORTS = {"mqtt": 1883, "mqtts": 8883}
PASSWORD_VARIABLE = "MQTT_PASSWORD"


@dataclass(frozen=True)
class Broker:
    """An MQTT broker and the topic of a camera's messages, with {camera} for its id."""

    host: str
    port: int
    topic: str
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    is_encrypted: bool = False

    @property
    def shown(self) -> str:
        """As messages give it: without user and password."""
        return f"MQTT broker {self.host}:{self.port}"


def read_broker(address: str, environment: Mapping[str, str]) -> Broker:
    """The broker of mqtt[s]://[USER[:PASSWORD]@]HOST[:PORT]/TOPIC; the password may be in MQTT_PASSWORD instead.

    InputError, which does not quote it, for anything else.
    """
    parts = _parts(address, "--mqtt", MQTT_PORTS, "mqtt://HOST/TOPIC")
    topic = unquote(parts.path[1:])
    if not topic or re.search(r"[#+\0]", topic):
        raise InputError(f"--mqtt {topic!r}: expected a topic after the host, without # and +")
    user = unquote(parts.username) if parts.username else None
    password = unquote(parts.password) if parts.password else environment.get(PASSWORD_VARIABLE)
    if password and not user:
        raise InputError(
            f"--mqtt: {PASSWORD_VARIABLE} is set, but the address has no user; write USER@ before its host"
        )
    port = parts.port or MQTT_PORTS[parts.scheme]
    return Broker(str(parts.hostname), port, topic, user, password, parts.scheme == "mqtts")


def read_push(address: str, several: bool) -> str:
    """The address of rtsp[s]://[USER:PASSWORD@]HOST[:PORT]/PATH, with {camera} for a camera's id in it.

    InputError, which does not quote it, for anything else, and where `several` cameras would have one address.
    """
    parts = _parts(address, "--push", ("rtsp", "rtsps"), "rtsp://HOST/PATH/{camera}")
    if several and CAMERA not in parts.path:
        raise InputError(f"--push: all cameras would have one address; write {CAMERA} in its path")
    return address


def _parts(address: str, flag: str, schemes: Mapping[str, int] | tuple[str, ...], expected: str) -> SplitResult:
    try:
        parts = urlsplit(address)
        is_whole = parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        parts, is_whole = None, False
    if parts is not None and parts.scheme not in schemes:
        raise InputError(
            f"{flag}: begins with none of {', '.join(f'{scheme}://' for scheme in schemes)}; write {expected}"
        )
    if parts is None or not is_whole:  # no URL with a user in the message, which hides those
        raise InputError(
            f"{flag}: has no host, or no port that is a number; write {expected}, with USER:PASSWORD@ before the host "
            "and :PORT after it; / and @ of a password are %2F and %40"
        )
    return parts
