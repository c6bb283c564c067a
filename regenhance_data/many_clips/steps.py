"""The steps of a benchmark: commands of the kit in processes of their own, none of which is done twice."""

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from regenhance_data import __version__
from regenhance_data.console import tell
from regenhance_data.errors import InputError, resumable
from regenhance_data.io.files import digest, read_json, refuse_missing, sha256, write_json
from regenhance_data.io.networks import network_files
from regenhance_data.parallel.commands import program_of, wait_for

LEDGER = "steps.json"
_LOCKED, _TRIES, _WAIT_S = "another run is working there", 8, 1.0  # a command that a killed run left ends within 4 s

Execute = Callable[[Sequence[str], Path], None]  # (words, log to append to); InputError where the command fails


@dataclass(frozen=True)
class Step:
    """A command of the kit. what: for people. words: the script, relative to the kit, or paddleseg, and its flags.
    makes: a file or folder that is there once it is done, unlike that of any other step. files: given ones that it
    reads. after: the steps whose results it takes. content: identifies what else it depends on.
    """

    what: str
    words: tuple[str, ...]
    makes: Path
    files: tuple[Path, ...] = ()
    after: tuple["Step", ...] = ()
    content: str = ""

    @cached_property
    def key(self) -> str:
        """Identifies everything that the result depends on. InputError where a file is missing."""
        for path in self.files:
            refuse_missing(path)
        read = [one for path in self.files for one in network_files(path)]
        files = list(map(content_of, read))
        return digest([__version__, self.words, self.content, files, [step.key for step in self.after]])


def content_of(path: Path) -> str:
    """The sha256 of a file, computed once as long as it does not change."""
    return _sha256(path, path.stat().st_mtime_ns)


@cache
def _sha256(path: Path, changed_ns: int) -> str:
    return sha256(path)


class Ledger:
    """Which steps are done, in `folder`/steps.json: a killed benchmark goes on behind the last one."""

    def __init__(self, folder: Path, execute: Execute) -> None:
        self._folder, self._execute = folder, execute
        self._path = folder / LEDGER
        done = read_json(self._path) if self._path.exists() else {}
        if not isinstance(done, dict):
            raise InputError(f"{self._path}: holds no steps of a benchmark; remove it, or give another folder")
        self._done: dict[str, Any] = done
        self._failed: dict[str, str] = {}  # key of a step, of several clips perhaps: why

    def has(self, step: Step) -> bool:
        """Whether a step is done with the same inputs."""
        return step.makes.exists() and self._done.get(str(step.makes)) == step.key

    def run(self, clip: str, steps: Sequence[Step]) -> None:
        """Run the steps of a clip that are not done. InputError where one fails, with what it said."""
        for step in steps:
            if self.has(step):
                continue
            if step.key in self._failed:
                raise InputError(self._failed[step.key])
            tell(f"{clip}: {step.what}")
            self._done.pop(str(step.makes), None)
            write_json(self._path, self._done)
            try:
                self._execute(step.words, self._folder / "logs" / f"{clip}.txt")
            except InputError as error:
                self._failed[step.key] = f"{step.what}: {error}"
                raise InputError(self._failed[step.key]) from None
            except KeyboardInterrupt:
                raise resumable(f"{len(self._done)} steps are done") from None
            self._done[str(step.makes)] = step.key
            write_json(self._path, self._done)


def run_command(root: Path, words: Sequence[str], log: Path) -> None:
    """Run one command of the kit, whose scripts are in `root`, in a process of its own; what it says goes to `log`.

    InputError, in one line, where it fails.
    """
    program = program_of(root, words)
    log.parent.mkdir(parents=True, exist_ok=True)
    for _ in range(_TRIES):
        begin = log.stat().st_size if log.exists() else 0
        code = _logged(program, log)
        said = log.read_bytes()[begin:].decode(errors="replace").splitlines()
        errors = [line.partition(" error: ")[2] for line in said if " error: " in line]
        if not code:
            return
        if not errors or _LOCKED not in errors[-1]:
            break
        time.sleep(_WAIT_S)
    raise InputError(errors[-1] if errors else f"ended with exit code {code}; {log} has what it said")


def _logged(program: Sequence[str], log: Path) -> int:
    with log.open("ab") as file:
        file.write(f"\n$ {' '.join(program)}\n".encode(errors="backslashreplace"))
        file.flush()
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        return wait_for(program, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=environment)
