"""Every stage as a command with small inputs, run until it ends or is ended, and what an unbroken run of it leaves.

The commands run in a folder, their place, which has `inputs/` and what the stages before have made.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from fnmatch import fnmatch
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from regenhance_data.errors import InputError
from tests.support.detectors import write_detector
from tests.support.files import ROOT, content, encode, noise
from tests.support.predictors import write_predictor

Words = Sequence[object]
HEIGHT, WIDTH = 32, 48  # of LR frames
PATIENCE_S = 30.0  # for a process to end beyond the time that it needs
CHILDREN_S = 5.0  # for children to end after their parent
_MARK = "KIT_TORTURE_PLACE"
_CONFIG = ROOT / "paddleseg_configs/mb_nano.yml"
_DETECTOR = ("--detector", "onnx:inputs/detector.onnx")
_ITERS = 6


class Work(NamedTuple):
    """words: the command. goes_on: what to add to it in a place where it was interrupted. free: patterns of the files
    that need not be equal to those of an unbroken run, for which `problem` looks instead, given the place and that of
    the unbroken run; None where all is well.
    """

    words: Words
    goes_on: Callable[[Path], Words] = lambda place: ()
    free: tuple[str, ...] = ()
    problem: Callable[[Path, Path], str | None] = lambda place, whole: None


def _checkpoint(place: Path) -> Words:
    """The flags with which a training goes on from its last checkpoint."""
    from regenhance_data.predictors.paddleseg.checkpoints import complete_checkpoints

    found = complete_checkpoints(place / "trained")
    if found and found[-1].name != f"iter_{_ITERS}":  # from which nothing is left to do
        return "--resume_model", found[-1].relative_to(place)
    return ("--overwrite",) if (place / "trained").exists() else ()


def _weights_problem(place: Path, whole: Path) -> str | None:
    """Weights are equal up to what sums in another order leave."""
    from regenhance_data.predictors.paddleseg.checkpoints import read_paddle_state

    name = f"trained/iter_{_ITERS}/model.pdparams"
    made, wanted = (read_paddle_state(folder / name) for folder in (place, whole))
    for tensor, value in wanted.items():
        if isinstance(value, np.ndarray) and not np.allclose(made[tensor], value, atol=1e-4):
            return f"{name}: {tensor} differs by {np.abs(made[tensor] - value).max():.2g}"
    return None


def lines_problem(text: bytes) -> str | None:
    """What is wrong with the lines of runs that were appended to one file, each of which counts its frames from 0."""
    try:
        frames = [json.loads(line)["frame"] for line in text.splitlines()]
    except ValueError as error:
        return f"a line is not whole ({error})"
    begins = [at for at, frame in enumerate(frames) if frame == 0] + [len(frames)]
    broken = [at for at, to in pairwise(begins) if frames[at:to] != list(range(to - at))]
    return f"a line is missing after {broken[0]}" if broken or begins[0] else None


def _detections_problem(place: Path, whole: Path) -> str | None:
    """The lines of runs that were ended, and then all those of the last."""
    made, wanted = ((folder / "run/detections.jsonl").read_bytes() for folder in (place, whole))
    return lines_problem(made) or (None if made.endswith(wanted) else "the last run has other lines")


WORKS = {  # each after those that make its inputs
    "extract": Work(
        ("tools/extract.py", "--data", "data", "--height", HEIGHT, "--video", "inputs/a.mp4", "inputs/b.mp4"),
    ),
    "trt_infer": Work(
        ("deploy/trt_infer.py", "--model", "inputs/predictor.onnx", "--video", "inputs/a.mp4", "--save_dir", "maps"),
    ),
    "run_cameras": Work(
        (
            *("deploy/run_cameras.py", "--video", "inputs/a.mp4", "--predictor", "inputs/predictor.onnx"),
            *("--mode", "none", *_DETECTOR, "--save_dir", "run", "--files", "jsonl", "--append"),
        ),
        free=("run/*",),
        problem=_detections_problem,
    ),
    "super_resolve": Work(
        ("tools/super_resolve.py", "--data", "data", "--model", "bicubic", "--scale", 2, "--workers", 2)
    ),
    "make_importance": Work(
        ("tools/make_importance.py", "--data", "data", "--workers", 2, *_DETECTOR, "--score_threshold", 0.01),
    ),
    "make_seg_dataset": Work(("tools/make_seg_dataset.py", "--data", "data", "--gap", 2)),
    "train": Work(
        (
            *("regenhance_data/predictors/paddleseg/command.py", "train", "--config", _CONFIG, "--iters", _ITERS),
            *("--save_interval", 1, "--batch_size", 2, "--dataset_root", "data", "--save_dir", "trained"),
        ),
        goes_on=_checkpoint,
        free=("trained/*",),
        problem=_weights_problem,
    ),
    "export": Work(
        (
            *("deploy/export_onnx.py", "--config", _CONFIG, "--model_path", "trained/best_model/model.pdparams"),
            *("--dataset_root", "data", "--save_dir", "exported"),
        )
    ),
    "evaluate": Work(
        (
            *("tools/evaluate.py", "--data", "data", "--budgets", 0.2, "--model", "inputs/predictor.onnx"),
            *("--save_dir", "evaluated"),
        )
    ),
}


class Ended(NamedTuple):
    """code: as subprocess has it, None for a process that had to be killed for it did not end. orphans: how many
    processes it left. said: what it wrote to stderr.
    """

    code: int | None
    said: str
    orphans: int
    seconds: float


def orphans(mark: str) -> list[int]:
    """The processes of a command that was started with a mark in its environment, and what these started."""
    wanted, found = f"{_MARK}={mark}".encode(), []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            is_there = b"\nState:\tZ" not in (folder / "status").read_bytes()
            if is_there and wanted in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


def ended_orphans(mark: str) -> int:
    """How many processes of a command are still there after their parents, a while later; they are killed."""
    until = time.monotonic() + CHILDREN_S
    while (left := orphans(mark)) and time.monotonic() < until:
        time.sleep(0.05)
    for process in left:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    return len(left)


class Running:
    """A command in its place. `within`: words of a program that runs it, as prlimit is."""

    def __init__(self, words: Words, place: Path, within: Words = ()) -> None:
        script, *others = words
        command = [*within, sys.executable, ROOT / str(script), *others]
        self._mark = f"{place} {time.monotonic_ns()}"  # two commands may work in a place
        environment = {**os.environ, _MARK: self._mark, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
        self.place, self._began = place, time.monotonic()
        self._log = place.with_name(f"{place.name}-{time.monotonic_ns()}.log")
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [str(word) for word in command],
                cwd=place,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
            )

    def end(self, limit_s: float) -> Ended:
        """Wait for its end, then for that of its children."""
        try:
            code = self.process.wait(limit_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            code = None
        seconds = time.monotonic() - self._began
        left = ended_orphans(self._mark)
        said = self._log.read_text(errors="replace")
        self._log.unlink()
        return Ended(code, said, left, seconds)


def states(root: Path) -> dict[Path, tuple[int, int]]:
    """Every file of a folder, its size and when it changed; but for locks."""
    found = {}
    for folder, _, names in os.walk(root):  # which takes folders that vanish while it looks for empty
        for path in (Path(folder, name) for name in names):
            with suppress(FileNotFoundError):
                found[path] = path.stat().st_size, path.stat().st_mtime_ns
    return {path: state for path, state in found.items() if not path.match(".*lock")}


def strike(running: Running, usual_s: float, moments: random.Random, number: int) -> bool:
    """Send a signal to a command at a random moment, half of the time after the first file that it makes or changes:
    what is before it can lose nothing. False where it was done before.
    """
    before, began = states(running.place), time.monotonic()
    if moments.random() < 0.5:
        time.sleep(moments.uniform(0, usual_s))
    else:
        while running.process.poll() is None and states(running.place) == before:
            time.sleep(0.001)
        time.sleep(moments.uniform(0, max(0.8 * usual_s - (time.monotonic() - began), 0.2)))
    if running.process.poll() is not None:
        return False
    if number == signal.SIGINT:  # Ctrl-C goes to the children too
        os.killpg(running.process.pid, number)
    else:
        running.process.send_signal(number)
    return True


def write_inputs(place: Path) -> None:
    """The videos, the detector and the predictor of the stages."""
    folder = place / "inputs"
    folder.mkdir(parents=True)
    frames = noise(40, 2 * HEIGHT, 2 * WIDTH)
    for number, frame in enumerate(frames):
        frame[24:32, 2 * number : 2 * number + 8] = (230, 20, 20)  # what the detector looks for
    encode(folder / "a.mp4", frames)
    encode(folder / "b.mp4", frames[::-1][:25])
    write_detector(folder / "detector.onnx", "yolox", (2 * HEIGHT, 2 * WIDTH))
    write_predictor(folder / "predictor.onnx", (HEIGHT, WIDTH))


class Unbroken:
    """The stages run one after the other: the place before and after each, to copy and to compare with, and how long
    it took.
    """

    def __init__(self, folder: Path, last: str) -> None:
        write_inputs(folder / "0")
        self._places, self.seconds = [folder / "0"], {}
        for name in [*WORKS][: [*WORKS].index(last) + 1]:
            place = shutil.copytree(self._places[-1], folder / str(len(self._places)))
            ended = Running(WORKS[name].words, place).end(600)
            if ended.code != 0:
                raise SystemExit(f"an unbroken run of {name} ends with {ended.code}: {ended.said}")
            self._places.append(place)
            self.seconds[name] = ended.seconds

    def before(self, name: str) -> Path:
        return self._places[[*WORKS].index(name)]

    def after(self, name: str) -> Path:
        return self._places[[*WORKS].index(name) + 1]

    def lost(self, name: str, place: Path) -> Iterator[str]:
        """What is not in a place as it is after the unbroken run."""
        work, whole = WORKS[name], self.after(name)
        made, wanted = content(place), content(whole)
        for path in sorted(made.keys() | wanted.keys()):
            if made.get(path) != wanted.get(path) and not any(fnmatch(path, pattern) for pattern in work.free):
                how = "left" if path not in wanted else "other" if path in made else "missing"
                yield f"{path} is {how}"
        try:
            if problem := work.problem(place, whole):
                yield problem
        except (OSError, InputError) as error:
            yield str(error)
