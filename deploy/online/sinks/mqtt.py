"""Results as MQTT messages, by paho-mqtt (EPL-2.0 or BSD-3-Clause, the extra `online`)."""

import threading
from pathlib import Path
from typing import Any

from deploy.online.sinks.addresses import CAMERA, Broker
from deploy.online.sinks.frame import FrameResult

MOST_UNCONFIRMED = 20  # messages on their way at a time
ANSWER_S, KEEPALIVE_S = 5.0, 15
CONFIRMS_S, LAST_CONFIRMED_S = 5.0, 1.5  # the wait for a confirmation: in a run, at its end


class Mqtt:
    """A message for each frame, the line of detections.jsonl, delivered at least once (QoS 1)."""

    def __init__(self, broker: Broker) -> None:
        from paho.mqtt import client as paho

        self._broker, self.shown = broker, broker.shown
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2, reconnect_on_failure=False)
        self._client.username_pw_set(broker.user, broker.password)
        self._client.connect_timeout = ANSWER_S
        if broker.is_encrypted:
            self._client.tls_set()
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_publish = self._on_publish
        self._changed = threading.Condition()
        self._is_connected, self._refused = False, ""
        self.unconfirmed = 0  # they are sent again after a new connection

    def take(self, result: FrameResult) -> tuple[str, bytes]:
        return self._broker.topic.replace(CAMERA, result.listing.camera), result.json

    def write(self, item: tuple[str, bytes]) -> None:
        topic, line = item
        if not self._is_connected:
            self._connect()
        with self._changed:
            self._changed.wait_for(lambda: not self._is_connected or self.unconfirmed < MOST_UNCONFIRMED, CONFIRMS_S)
            if not self._is_connected:
                raise ConnectionError(self._refused)
            if self.unconfirmed >= MOST_UNCONFIRMED:
                raise TimeoutError(f"confirms no message for {CONFIRMS_S:g} s")
            self.unconfirmed += 1
        self._client.publish(topic, line, qos=1)

    def _connect(self) -> None:
        self._refused = ""
        self._client.connect(self._broker.host, self._broker.port, KEEPALIVE_S)
        self._client.loop_start()
        with self._changed:
            self._changed.wait_for(lambda: self._is_connected or bool(self._refused), ANSWER_S)
            if not self._is_connected:
                raise ConnectionError(self._refused or f"no answer for {ANSWER_S:.0f} s")

    def _on_connect(self, client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        with self._changed:
            self._is_connected, self._refused = not reason.is_failure, str(reason) if reason.is_failure else ""
            self._changed.notify_all()

    def _on_disconnect(self, client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        with self._changed:
            self._is_connected, self._refused = False, self._refused or "the connection is lost"
            self._changed.notify_all()

    def _on_publish(self, client: Any, data: Any, message: int, reason: Any, properties: Any) -> None:
        with self._changed:
            self.unconfirmed -= 1
            self._changed.notify_all()

    def finish(self) -> list[Path]:
        with self._changed:
            self._changed.wait_for(lambda: not self._is_connected or not self.unconfirmed, LAST_CONFIRMED_S)
        return []

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
        self._is_connected = False
