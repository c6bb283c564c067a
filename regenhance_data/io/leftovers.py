"""What a killed process leaves: unfinished files and temporary folders, named after their process, and removed by the
next one that works in their place.
"""

import hashlib
import os
import platform
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from regenhance_data import KIT

UNFINISHED = ".writing-"  # the prefix of a file name until the file is complete
_OLD_S = 24 * 3600


@cache
def _machine() -> str:
    """A short hash of this machine, since its start, and of its numbering of processes, which containers have for
    themselves.
    """
    known = [platform.node()]
    with suppress(OSError):  # not on Linux
        known += [Path("/proc/sys/kernel/random/boot_id").read_text(), str(os.stat("/proc/self/ns/pid").st_ino)]
    return hashlib.sha256(" ".join(known).encode()).hexdigest()[:8]


def owner() -> str:
    """What the names of this process's unfinished files and folders contain."""
    return f"{os.getpid()}.{_machine()}"


def _is_abandoned(path: Path, prefix: str) -> bool:
    """Whether the process that `path` is named after (`prefix`PID[.MACHINE]-…) has ended.

    Processes of another machine or container cannot be looked up: theirs are abandoned when they are a day old.
    """
    named = re.match(re.escape(prefix) + r"(\d{1,9})(?:\.([0-9a-f]{8}))?-", path.name)
    if named is None:
        return False
    if named[2] not in (None, _machine()):
        return time.time() - path.stat(follow_symlinks=False).st_mtime > _OLD_S
    try:
        os.kill(int(named[1]), 0)
    except ProcessLookupError:
        return True
    except OSError:  # it is another user's
        return False
    return False


def remove_abandoned(folder: Path, prefix: str = UNFINISHED) -> None:
    """Remove the unfinished files and temporary folders that killed processes left in a folder."""
    with suppress(OSError):  # it is not there yet, or not ours
        for entry in os.scandir(folder):
            with suppress(OSError):
                if entry.name.startswith(prefix) and _is_abandoned(Path(entry.path), prefix):
                    _remove(Path(entry.path))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


_looked_at: set[Path] = set()  # folders that this process has looked through: one with many frames takes a while


def remove_abandoned_once(folder: Path, prefix: str = UNFINISHED) -> None:
    """`remove_abandoned`, the first time that this process comes to a folder."""
    key = folder.absolute() / prefix
    if key not in _looked_at:
        _looked_at.add(key)
        remove_abandoned(folder, prefix)


@contextmanager
def temporary_folder(within: Path | None = None) -> Iterator[Path]:
    """A new folder, removed at the end of the block: in the system's temporary directory, or in `within`.

    A process that is killed leaves it; the next one that makes such a folder there removes it. An OSError that names no
    file names the folder.
    """
    parent, prefix = (Path(tempfile.gettempdir()), f"{KIT}-") if within is None else (within, UNFINISHED)
    remove_abandoned_once(parent, prefix)
    with tempfile.TemporaryDirectory(dir=parent, prefix=f"{prefix}{owner()}-", ignore_cleanup_errors=True) as folder:
        try:
            yield Path(folder)
        except OSError as error:
            name_file(error, Path(folder))
            raise


def remove_unfinished(folder: Path) -> None:
    """Remove the unfinished files and folders of a killed run from a folder that no other process writes to."""
    for path in folder.glob(f"{UNFINISHED}*"):
        _remove(path)


def name_file(error: OSError, path: Path, *instead_of: str) -> None:
    """Let an error of a write, which names no file or one of `instead_of`, name `path`."""
    if error.filename not in (None, *instead_of):
        return
    try:
        error.filename = str(path)
    except AttributeError:  # PyAV's exceptions are immutable
        raise OSError(error.errno, error.strerror, str(path)) from None
