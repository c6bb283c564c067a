"""What a running loop tells Prometheus, by prometheus-client (Apache-2.0 and BSD-2-Clause, the extra `online`)."""

import errno
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from deploy.online.loop import Round
from deploy.online.sinks.threads import SinkThread
from deploy.online.watch import Recall
from regenhance_data.errors import InputError

MOST_S, MOST_PERIODS = 10.0, 2.5  # without a round: seconds, and periods of the fastest camera
_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)  # seconds
STATES = ("enhanced", "kept", "upsampled")  # of a macroblock in a frame


class Metrics:
    """Counts the rounds of a run for Prometheus; `sinks`, `live`, `budget`, `recalls` and `rate` are read when it asks.

    sinks: those that are running. budget: what rounds spend now. live: of each live camera, how many frames were
    "dropped" before a round, and its "reconnects". recalls: that of the predictor on each camera that is watched. rate:
    how many rounds a second its cameras have frames for.
    InputError where prometheus-client is not installed.
    """

    def __init__(self) -> None:
        try:
            import prometheus_client as prometheus
        except ImportError:
            raise InputError(
                '--metrics_port: prometheus-client is not installed; pip install "regenhance-kit[online]"'
            ) from None
        prometheus.disable_created_metrics()
        self.sinks: Callable[[], Sequence[SinkThread]] = list
        self.live: Callable[[], Mapping[str, Mapping[str, int]]] = dict
        self.budget: Callable[[], float] | None = None
        self.recalls: Callable[[], Mapping[str, Recall]] = dict
        self.rate: Callable[[], float] = lambda: float("inf")
        self._last_s: float | None = None
        self._registry = registry = prometheus.CollectorRegistry()
        prometheus.ProcessCollector(registry=registry)
        registry.register(self)

        def counter(name: str, about: str, *labels: str) -> Any:
            return prometheus.Counter(f"regenhance_{name}", about, labels, registry=registry)

        def histogram(name: str, about: str, *labels: str) -> Any:
            return prometheus.Histogram(f"regenhance_{name}", about, labels, registry=registry, buckets=_BUCKETS)

        self._rounds = counter("rounds", "Rounds that are done")
        self._frames = counter("frames", "Frames that are done", "camera")
        self._found = counter("detections", "Boxes that were found", "camera")
        self._macroblocks = counter("macroblocks", "Macroblocks: enhanced anew, kept or upsampled", "camera", "state")
        self._stages = histogram("stage_seconds", "Time of a stage for one round", "stage")
        self._ages = histogram("frame_age_seconds", "From a live frame's capture to its detections", "camera")

    def add(self, one: Round) -> None:
        """One more round, after all of its stages."""
        self._last_s = time.monotonic()
        self._rounds.inc()
        for stage, ms in one.ms.items():
            self._stages.labels(stage).observe(ms / 1e3)
        for item in one.done:
            camera, enhanced, kept = item.frame.camera, int(item.selected.sum()), int(item.cached.sum())
            self._frames.labels(camera).inc()
            self._found.labels(camera).inc(len(getattr(item.found, "boxes", ())))
            counts = enhanced, kept, item.selected.size - enhanced - kept
            for state, count in zip(STATES, counts, strict=True):
                self._macroblocks.labels(camera, state).inc(count)
            if item.frame.captured_s is not None:
                self._ages.labels(camera).observe(one.found_s - item.frame.captured_s)

    def wsgi_app(self) -> Any:
        """The WSGI application that answers with all of them."""
        from prometheus_client import make_wsgi_app

        return make_wsgi_app(self._registry)

    def problem(self) -> str:
        """Why the loop is not well; "" where it is: rounds advance, as fast as cameras have frames."""
        if self._last_s is None:
            return "no round yet: cameras connect, or models load"
        idle_s = time.monotonic() - self._last_s
        most_s = max(MOST_S, MOST_PERIODS / self.rate())
        return "" if idle_s < most_s else f"no round for {idle_s:.0f} s"

    def collect(self) -> Iterator[Any]:
        """What others count, for Prometheus."""
        from prometheus_client import metrics_core as core

        for key, about in (("dropped", "Frames of a live camera that no round took"), ("reconnects", "Reconnections")):
            family = core.CounterMetricFamily(f"regenhance_camera_{key}", about, labels=["camera"])
            for camera, counts in self.live().items():
                family.add_metric([camera], counts[key])
            yield family
        if self.budget is not None:
            yield core.GaugeMetricFamily("regenhance_budget", "Share of the macroblocks enhanced anew", self.budget())
        about = "Share of the truly most important macroblocks that the predictor finds"
        recall = core.GaugeMetricFamily("regenhance_predictor_recall", about, labels=["camera"])
        for camera, found in self.recalls().items():
            recall.add_metric([camera], found.mean)
        yield recall
        labels = ["sink", "camera"]
        written = core.CounterMetricFamily("regenhance_sink_written", "Frames that a sink took", labels=labels)
        dropped = core.CounterMetricFamily("regenhance_sink_dropped", "Frames that a sink left out", labels=labels)
        is_up = core.GaugeMetricFamily("regenhance_sink_up", "Whether a sink works", labels=labels)
        for one in self.sinks():
            for family, value in ((written, one.written), (dropped, one.dropped), (is_up, one.is_up)):
                family.add_metric([one.kind, one.camera], value)
        yield from (written, dropped, is_up)


def serve(metrics: Metrics, host: str, port: int) -> int:
    """Serve /metrics and /healthz over HTTP until the process ends; the port, another one than 0.

    /healthz answers 200 while rounds advance, else 503 and why. InputError where the port is taken, or the host is not
    one of this machine.
    """
    exported = metrics.wsgi_app()

    def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/metrics":
            return exported(environ, start)
        status, text = "404 Not Found", "there are /metrics and /healthz"
        if environ["PATH_INFO"] == "/healthz":
            problem = metrics.problem()
            status = "503 Service Unavailable" if problem else "200 OK"
            text = problem or "rounds advance"
        start(status, [("Content-Type", "text/plain; charset=utf-8")])
        return [f"{text}\n".encode()]

    _Server.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        server = make_server(host, port, answer, _Server, _Handler)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise InputError(f"--metrics_port {port}: another program has it; give another port") from None
        raise InputError(f"--metrics_host {host}, --metrics_port {port}: {error.strerror}; give others") from None
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server.server_port


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True  # a client that waits keeps nothing running

    def server_bind(self) -> None:
        """As HTTPServer does, which also asks the network for the host's name."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no error."""


class _Handler(WSGIRequestHandler):
    timeout = 10  # of a client that sends nothing

    def log_message(self, format: str, *args: Any) -> None:
        """A line for each request would fill the log."""
