"""Every stage against what may happen to it: kills, signals, a second writer, full disks, folders that are read-only,
little memory; and the client of a served predictor against hostile servers.

A round does one of these to a stage, lets it go on, and compares what it leaves with an unbroken run. At the end, a
table; exit code 1 where anything was lost, or a command crashed, hung, left a process or printed a traceback.

python tests/torture.py --minutes 10
python tests/torture.py --minutes 5 --kinds kill signal --works train export
python tests/torture.py --only 123        # that round again, with what its commands said
"""

import argparse
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

sys.path[:1] = [str(Path(__file__).resolve().parents[1])]  # not tests/, whose folders are named like packages

from deploy.backends.http_server import LIMIT_S
from regenhance_data.dataset.importance_file import read_importance
from tests.support.files import content
from tests.support.hostile_server import MODES, SOUND, hostile
from tests.support.works import PATIENCE_S, WORKS, Ended, Running, Unbroken, strike

DONE = ("rounds", "kills", "signals", "second writers", "full disks", "read-only folders", "low memory", "servers")
WRONG = ("tracebacks", "crashes", "hangs", "orphans", "lost")
SERVERS_AT_ONCE = 4  # of a round: most of their time, commands wait for them
_BLOCK = 4096
_TOLD = 12  # lines of each command of a round in which something was wrong
# "$@": a command, in a folder $room of $kb KB, from which what it leaves comes back
_IN_ROOM = """mkdir "$room" && mount -t tmpfs -o size="$kb"k none "$room" && cp -a . "$room" || exit 99
place=$PWD; cd "$room"; "$@"; code=$?; find "$place" -mindepth 1 -delete; cp -a . "$place"; exit $code"""
_READ_ONLY = 'mount --bind . . && mount -o remount,bind,ro "$PWD" && cd "$PWD" && exec "$@" || exit 99'


def within(script: str, **values: object) -> list[object]:
    """What runs a command in a shell script with mounts of its own, which end with it."""
    return ["env", *(f"{name}={value}" for name, value in values.items()), "unshare", "-m", "sh", "-c", script, "sh"]


CAN_MOUNT = not subprocess.run(
    [str(word) for word in within("mount -t tmpfs none /mnt")], stderr=subprocess.DEVNULL, check=False
).returncode


def room_kb(folder: Path) -> int:
    """KB that a folder takes in blocks."""
    paths = list(folder.rglob("*"))
    return sum(-(-path.stat().st_size // _BLOCK) if path.is_file() else 1 for path in paths) * _BLOCK >> 10


@dataclass
class Round:
    """One thing that happens to a stage, `work`, in a place of its own; what was done and what was wrong."""

    kind: str
    work: str
    rng: random.Random
    unbroken: Unbroken
    place: Path
    count: Counter[str] = field(default_factory=lambda: Counter({"rounds": 1}))
    problems: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    @property
    def usual_s(self) -> float:
        return self.unbroken.seconds[self.work]

    @property
    def limit_s(self) -> float:
        return PATIENCE_S + 6 * self.usual_s  # other rounds have the cores too

    def start(self, *within: object) -> Running:
        work = WORKS[self.work]
        return Running([*work.words, *work.goes_on(self.place)], self.place, within)

    def wrong(self, what: str, why: str) -> None:
        self.count[what] += 1
        self.problems.append(f"{what}: {why}")

    def judge(self, ended: Ended, *codes: int) -> None:
        """Note what is wrong with the end of a command that may have one of these exit codes."""
        self.said.append(f"exit {ended.code} after {ended.seconds:.1f} s\n{ended.said}")
        *_, last = ended.said.strip().splitlines() or [""]
        if "Traceback (most recent" in ended.said:
            self.wrong("tracebacks", last)
        elif ended.code is None:
            self.wrong("hangs", f"{ended.seconds:.0f} s")
        elif ended.code not in codes:
            self.wrong("crashes", f"exit {ended.code}: {last}")
        elif ended.code == 2 and not (": error: " in last and ended.said.count(": error: ") == 1):
            self.wrong("tracebacks", f"other words than one line: {last}")
        elif not all(line.isprintable() for line in ended.said.replace("\r", "\n").split("\n")):
            self.wrong("tracebacks", f"unprintable: {ended.said!r:.200}")
        if ended.orphans:
            self.wrong("orphans", f"{ended.orphans} after exit {ended.code}")

    def finish(self) -> None:
        """Let the stage go on until it is done, and compare."""
        self.judge(self.start().end(self.limit_s), 0)
        self.compare()

    def compare(self) -> None:
        lost = [*self.unbroken.lost(self.work, self.place)]
        if lost:
            more = f" and {len(lost) - 3} more" if len(lost) > 3 else ""
            self.wrong("lost", "; ".join(lost[:3]) + more)


def kill(one: Round) -> None:
    for _ in range(one.rng.randint(1, 3)):
        running = one.start()
        is_hit = strike(running, one.usual_s, one.rng, signal.SIGKILL)
        one.count["kills"] += is_hit
        one.judge(running.end(one.limit_s), 0, *([-signal.SIGKILL] if is_hit else []))
        if not is_hit:
            break
    one.finish()


def signals(one: Round) -> None:
    for _ in range(one.rng.randint(1, 2)):
        number, running = one.rng.choice((signal.SIGINT, signal.SIGTERM)), one.start()
        is_hit = strike(running, one.usual_s, one.rng, number)
        one.count["signals"] += is_hit
        ended = running.end(PATIENCE_S if is_hit else one.limit_s)
        # Python itself has the signals' defaults before any line of the command, and when the command is done
        is_outside = not ended.said or not any(one.unbroken.lost(one.work, one.place))
        may_end = (128 + number, *([-number] if is_outside else [])) if is_hit else ()
        one.judge(ended, 0, *may_end)
        if not is_hit:
            break
    one.finish()


_SECOND = ("another run is working there", "contains an earlier training")  # why a second run is refused


def writers(one: Round) -> None:
    one.count["second writers"] += 1
    running = [one.start()]
    time.sleep(one.rng.uniform(0, 0.7 * one.usual_s))
    running.append(one.start())
    ends = [each.end(2 * one.limit_s) for each in running]
    for ended in ends:
        one.judge(ended, 0, 2)
        if ended.code == 2 and not any(why in ended.said for why in _SECOND):
            one.wrong("crashes", f"refused for another reason: {ended.said.strip()}")
    if all(ended.code for ended in ends):
        one.wrong("lost", "neither of two runs ended well")
    one.compare()


def disk(one: Round) -> None:
    """A file system with room for a part of what the stage makes, or a limit for each file."""
    one.count["full disks"] += 1
    before, after = room_kb(one.unbroken.before(one.work)), room_kb(one.unbroken.after(one.work))
    if CAN_MOUNT and one.rng.random() < 0.7:
        kb = before + 8 + int(one.rng.uniform(0, 1.1) * (after - before))
        running = one.start(*within(_IN_ROOM, room=f"{one.place}-room", kb=kb))
    else:
        running = one.start("prlimit", f"--fsize={int(2 ** one.rng.uniform(11, 17))}")
    one.judge(running.end(one.limit_s), 0, 2)
    one.finish()


def read_only(one: Round) -> None:
    if not CAN_MOUNT and os.geteuid() == 0:  # whom modes do not hold
        return
    one.count["read-only folders"] += 1
    if CAN_MOUNT:
        running = one.start(*within(_READ_ONLY))
    else:
        one.place.chmod(0o555)
        running = one.start()
    one.judge(running.end(one.limit_s), 2)
    one.place.chmod(0o755)
    if content(one.place) != content(one.unbroken.before(one.work)):
        one.wrong("lost", "a read-only folder was changed")
    one.finish()


def memory(one: Round) -> None:
    one.count["low memory"] += 1
    one.judge(one.start("prlimit", f"--as={int(one.rng.uniform(0.2, 3) * 2**30)}").end(one.limit_s), 0, 2)
    one.finish()


def servers(one: Round, first: int) -> None:
    names = [*MODES]
    with ExitStack() as opened:
        running = {}
        for name in (names[(first + step) % len(names)] for step in range(SERVERS_AT_ONCE)):
            url = opened.enter_context(hostile(MODES[name]))
            place = one.place / f"{len(running)}"
            (place / "inputs").mkdir(parents=True)
            shutil.copy(one.unbroken.before("extract") / "inputs/a.mp4", place / "inputs")
            words = ("deploy/trt_infer.py", "--model", url, "--video", "inputs/a.mp4", "--max_frames", 2)
            within = "prlimit", f"--data={2**30}"
            running[name] = Running((*words, "--no_overlay", "--save_dir", "maps"), place, within)
        for name, each in running.items():
            one.count["servers"] += 1
            known = len(one.problems)
            ended = each.end(LIMIT_S + PATIENCE_S)
            one.judge(ended, 0, 2)
            if ended.code == 0 and not np.all(read_importance(each.place / "maps/importance.npz")[0] == SOUND):
                one.wrong("lost", "importance that the server did not give")
            one.problems[known:] = [f"{name}: {problem}" for problem in one.problems[known:]]


KINDS: dict[str, Callable[..., None]] = {
    "kill": kill,
    "signal": signals,
    "server": servers,
    "disk": disk,
    "writers": writers,
    "read_only": read_only,
    "memory": memory,
}


def happen(number: int, args: argparse.Namespace, unbroken: Unbroken, sandbox: Path) -> Round:
    """The round of a number: kinds follow each other, and of each kind the stages and the servers."""
    time_of_kind, place_of_kind = divmod(number, len(args.kinds))
    kind, work = args.kinds[place_of_kind], args.works[time_of_kind % len(args.works)]
    place = sandbox / f"{number}" / "place"
    one = Round(kind, work, random.Random(f"{args.seed}-{number}"), unbroken, place)
    if kind == "server":
        place.mkdir(parents=True)
        one.work = "trt_infer"
        servers(one, time_of_kind * SERVERS_AT_ONCE)
    else:
        shutil.copytree(unbroken.before(work), place)
        KINDS[kind](one)
    return one


def torture(args: argparse.Namespace, sandbox: Path) -> Counter[str]:
    """Rounds until the time is over, or those that were asked for; the sum of what they counted."""
    last = max(args.works, key=[*WORKS].index)
    unbroken = Unbroken(sandbox / "unbroken", last)
    print(f"unbroken: {', '.join(f'{name} {seconds:.1f} s' for name, seconds in unbroken.seconds.items())}", flush=True)
    until, total, lock = time.monotonic() + 60 * args.minutes, Counter[str](), threading.Lock()
    few = range(args.rounds) if args.rounds is not None else itertools.count()
    numbers = iter([args.only] if args.only is not None else few)

    def work_through() -> None:
        while args.only is not None or args.rounds is not None or time.monotonic() < until:
            with lock:
                if (number := next(numbers, None)) is None:
                    return
            began = time.monotonic()
            one = happen(number, args, unbroken, sandbox)
            done = ", ".join(f"{n} {what}" for what, n in one.count.items() if what in DONE[1:])
            verdict = "; ".join(one.problems) or "held"
            with lock:
                total.update(one.count)
                print(f"{number:5d} {one.kind:9s} {one.work:16s} {time.monotonic() - began:5.1f} s  {done}: {verdict}")
                if one.problems:
                    flags = f"--seed {args.seed} --kinds {' '.join(args.kinds)} --works {' '.join(args.works)}"
                    print(f"      again: python tests/torture.py {flags} --only {number}")
                    print(*(f"      | {line}" for said in one.said for line in said.splitlines()[-_TOLD:]), sep="\n")
                if args.only is not None:
                    print(*one.said, sep="\n")
                sys.stdout.flush()
            shutil.rmtree(sandbox / f"{number}", ignore_errors=True)

    with ThreadPoolExecutor(args.workers) as pool:
        for worker in [pool.submit(work_through) for _ in range(args.workers)]:
            worker.result()
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="after which no round begins")
    parser.add_argument("--rounds", type=int, help="so many instead")
    parser.add_argument("--only", type=int, help="this round alone")
    parser.add_argument("--seed", type=int, default=0, help="the same seed draws the same moments and limits")
    parser.add_argument("--kinds", nargs="+", choices=[*KINDS], default=[*KINDS])
    parser.add_argument("--works", nargs="+", choices=[*WORKS], default=[*WORKS], help="stages")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="rounds at once")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="torture-") as sandbox:
        total = torture(args, Path(sandbox))
    print("", *(f"{what:20s} {total[what]:6d}" for what in (*DONE, *WRONG)), sep="\n")
    raise SystemExit(any(total[what] for what in WRONG))


if __name__ == "__main__":
    main()
