"""Command-line flags for sinks and metrics."""

import argparse
import os
from importlib.util import find_spec

from deploy.online.sinks.addresses import PASSWORD_VARIABLE, read_broker, read_push
from deploy.online.sinks.settings import FILES, Wanted
from regenhance_data.errors import InputError


def add_sink_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags that `wanted_from` reads."""
    add = parser.add_argument_group("sinks").add_argument
    add("--files", nargs="*", choices=FILES, help="what is written to --save_dir (default: all)")
    add("--no_video", action="store_true", help="write no annotated videos")
    add("--append", action="store_true", help="keep the lines of an earlier run in detections.jsonl, and go on after")
    add("--push", metavar="ADDRESS", help="push the annotated video: rtsp://HOST/PATH/{camera}")
    help_mqtt = f"a message for each frame: mqtt[s]://[USER@]HOST[:PORT]/TOPIC; {PASSWORD_VARIABLE} has the password"
    add("--mqtt", metavar="ADDRESS", help=help_mqtt)
    add("--metrics_port", type=int, help="serve /metrics for Prometheus and /healthz there; 0: a free port")
    add("--metrics_host", default="127.0.0.1", help="on this address of the machine; :: or 0.0.0.0: on all")


def wanted_from(args: argparse.Namespace, several: bool) -> Wanted:
    """The sinks that the flags ask for. several: whether there are, or may be, several cameras. InputError for what
    cannot be.
    """
    asked = FILES if args.files is None else args.files
    files = [name for name in FILES if name in asked and not (args.no_video and name == "video")]
    if args.append and "jsonl" not in files:
        raise InputError("--append goes on with detections.jsonl; add jsonl to --files")
    push = None if args.push is None else read_push(args.push, several)
    broker = None if args.mqtt is None else read_broker(args.mqtt, os.environ)
    if broker and find_spec("paho") is None:
        raise InputError('--mqtt: paho-mqtt is not installed; pip install "regenhance-kit[online]"')
    wanted = Wanted(files, bool(args.files), args.append, push, broker)
    if args.metrics_port is not None and not 0 <= args.metrics_port < 1 << 16:
        raise InputError(f"--metrics_port {args.metrics_port}: expected a port, from 0 to 65535")
    if args.compare and not wanted.has_pictures:
        raise InputError("--compare shows two frames in a video; omit --no_video")
    return wanted
