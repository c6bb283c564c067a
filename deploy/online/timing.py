"""How fast the loop runs with each of several plans, measured in turn: whole runs, and stage by stage."""

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from math import ceil
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

from deploy.online.cameras import Camera, CameraFrame, rounds
from deploy.online.loop import STAGES
from deploy.online.plan import Plan
from deploy.online.strategies import KnownFrame
from deploy.online.trials import Engines
from regenhance_data.console import progress
from regenhance_data.errors import InputError
from regenhance_data.io.video import VideoWriter

K = TypeVar("K")
TURNS = 3
_WARM_ROUNDS = 4  # until all stages of a run are busy
_TIMED_FRAMES, _LEAST_ROUNDS = 12, 4  # of all cameras together, after that
_STEPS = 4  # frames of a turn whose stages are measured one after the other
_VIDEO_FRAMES, _VIDEO_RATE = 120, 25.0


@dataclass(frozen=True)
class Timing:
    """What each turn measured. fps: frames a second of all cameras together, with decoding, searched or not. ms: of
    each stage for a frame that is searched, alone on the machine.
    """

    fps: tuple[float, ...]
    ms: Mapping[str, tuple[float, ...]]


def spread(turns: Sequence[float]) -> tuple[float, float, float]:
    """(least, median, greatest)."""
    return min(turns), float(np.median(turns)), max(turns)


def measured(
    runs: Mapping[K, tuple[Engines, Plan]], clips: Sequence[Sequence[KnownFrame]], cameras: int, turns: int = TURNS
) -> dict[K, Timing]:
    """The timing of each plan with its engines, in turns, so that a slow phase of the machine meets all of them.

    Whole runs are of as many cameras, which play videos of the clips again and again.
    """
    frames = [frame for clip in clips for frame in clip]
    steps = {key: _stepped(*run, frames) for key, run in runs.items()}
    fps: dict[K, list[float]] = {key: [] for key in runs}
    ms: dict[K, list[dict[str, float]]] = {key: [] for key in runs}
    with tempfile.TemporaryDirectory() as folder:
        videos = [_video(Path(folder) / f"{number}.mp4", clip) for number, clip in enumerate(clips[:cameras])]
        sources = [Camera(f"camera {number}", str(videos[number % len(videos)])) for number in range(cameras)]
        keys = list(runs)
        order = [key for turn in range(turns) for key in (*keys[turn:], *keys[:turn])]
        for key in progress(order, "time", unit="run"):
            fps[key].append(_run_fps(*runs[key], sources))
            ms[key].append(next(steps[key]))
    return {
        key: Timing(tuple(fps[key]), {stage: tuple(one[stage] for one in ms[key]) for stage in STAGES}) for key in runs
    }


def _run_fps(engines: Engines, plan: Plan, cameras: Sequence[Camera]) -> float:
    size_hw = engines.grid.height, engines.grid.width
    running = engines.loop(plan).run(_endless(cameras, size_hw, plan.detect_every))
    for _ in islice(running, _WARM_ROUNDS):
        pass
    count = max(ceil(_TIMED_FRAMES / len(cameras)), _LEAST_ROUNDS)
    started = time.perf_counter()
    for _ in islice(running, count):
        pass
    return count * len(cameras) * plan.detect_every / (time.perf_counter() - started)


def _endless(cameras: Sequence[Camera], size_hw: tuple[int, int], every: int) -> Iterator[list[CameraFrame]]:
    failed: dict[str, InputError] = {}
    while not failed:
        yield from rounds(cameras, size_hw, every, None, failed)
    raise next(iter(failed.values()))


def _stepped(engines: Engines, plan: Plan, frames: Sequence[KnownFrame]) -> Iterator[dict[str, float]]:
    """Again and again, the mean milliseconds of each stage for the next frames."""
    loop, number = engines.loop(plan), 0
    while True:
        spent = dict.fromkeys(STAGES, 0.0)
        for _ in range(_STEPS):
            for stage, ms in loop.step([frames[number % len(frames)]]).ms.items():
                spent[stage] += ms / _STEPS
            number += 1
        yield spent


def _video(path: Path, frames: Sequence[KnownFrame]) -> Path:
    """The LR frames as a video, forwards and backwards, of even sides, as H.264 has them."""
    there_and_back = [*frames, *frames[-2:0:-1]]
    with VideoWriter(path, _VIDEO_RATE) as video:
        for number in range(_VIDEO_FRAMES):
            lr = there_and_back[number % len(there_and_back)].lr
            height, width = lr.shape[:2]
            video.write(np.asarray(cv2.copyMakeBorder(lr, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)))
    return path
