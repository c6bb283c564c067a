"""Commands in processes of their own that need not load the frameworks again: forks of one that has them."""

import atexit
import gc
import json
import os
import runpy
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import numpy as np

PRELOADED = ("numpy", "cv2", "av", "torch", "paddle")  # no module of the kit: a command imports its own


class Forker:
    """Runs Python scripts one after the other, each in a fork of a process that has PRELOADED. Close it at the end."""

    def __init__(self, root: Path, folder: Path) -> None:
        """root: where commands run. folder: for what they print."""
        self._root, self._printed = root, [folder / "stdout", folder / "stderr"]
        self._begin()

    def run(self, words: Sequence[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess:
        """What `subprocess.run` gives for [sys.executable, *words]."""
        try:
            print(json.dumps([words, environment, list(map(str, self._printed))]), file=self._process.stdin, flush=True)
            code = int(self._process.stdout.readline())
        except BaseException:  # as where the time of a test is over: the answer would be taken for that of the next one
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._begin()
            raise
        return subprocess.CompletedProcess(words, code, *(path.read_text() for path in self._printed))

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()

    def _begin(self) -> None:
        words = [sys.executable, "-m", "tests.support.forking"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(words, cwd=self._root, text=True, start_new_session=True, **pipes)


def _serve() -> Sequence[str]:
    """Fork for every line of stdin; returns, in a fork, the words of its command."""
    for name in PRELOADED:
        with suppress(ModuleNotFoundError):  # as where one runs the tests that need no such framework
            import_module(name)
    gc.freeze()  # a collection in a fork would copy the memory of all that is loaded
    for line in sys.stdin:
        words, environment, printed = json.loads(line)
        child = os.fork()
        if not child:
            np.random.seed()  # not the same numbers in each
            os.environ.clear()
            os.environ.update(environment)
            for descriptor, path in enumerate(printed, 1):
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            return words
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    return []


def _run(words: Sequence[str]) -> NoReturn:
    """Run a script, and end as Python does but for the frameworks' own ends, which take a second."""
    sys.argv[:] = words
    sys.path[0] = str(Path(words[0]).resolve().parent)  # not the working directory, as for any script
    code: object = 0
    try:
        runpy.run_path(words[0], run_name="__main__")
    except SystemExit as end:
        code = end.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    if isinstance(code, str):
        print(code, file=sys.stderr)
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(code if isinstance(code, int) else code is not None)


if __name__ == "__main__" and (command := _serve()):
    _run(command)
