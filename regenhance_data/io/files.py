"""Files: atomic writes, locks, hashes, and JSON and YAML that is not trusted."""

import errno
import fcntl
import hashlib
import json
import os
import platform
import re
import shlex
import stat
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from functools import wraps
from pathlib import Path
from textwrap import shorten
from typing import Any

import yaml

from regenhance_data.errors import InputError, one_line, redacted
from regenhance_data.io.leftovers import UNFINISHED, name_file, owner, remove_abandoned_once, temporary_folder

_MOST_NAMED = 12
_MOST_OF_A_COMMAND, _SHOWN_OF_A_COMMAND = 4096, 240  # of the one that holds a lock
MOST_YAML_BYTES, MOST_JSON_BYTES = 4 << 20, 64 << 20  # seconds to read each, and a GB of memory
_MOST_BITS = 1023  # of an integer: Python refuses to print one of thousands of digits, and no float holds more
_MOST_DEPTH = 100  # of lists and mappings in each other
# PyYAML constructs numbers, dates and keys with Python's own functions, and does not catch their exceptions.
_BROKEN_YAML = (
    *(yaml.YAMLError, ValueError, LookupError, TypeError),
    *(AttributeError, ArithmeticError, RecursionError),
)
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the one in C is several times as fast


def digest(value: Any) -> str:
    """A short hash of a plain value (one that JSON can hold), equal for equal values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` to write to; renamed to `path` on success, removed on any error.

    Its name starts with a dot (readers of a dataset skip it) and keeps the suffix (encoders need it). A process that is
    killed leaves it; the next one that writes to the folder removes it. An OSError names `path`.
    """
    temporary = path.with_name(f"{UNFINISHED}{owner()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned_once(path.parent)
        yield temporary
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            name_file(error, path, str(temporary))
        raise


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """As `atomic_write`, a temporary folder to write files to, where there is no `path` yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with temporary_folder(path.parent) as made:
        unfinished = made / path.name
        unfinished.mkdir()
        try:
            yield unfinished
        except OSError as error:
            name_file(error, path, error.filename)
            raise
        unfinished.rename(path)


def refuse_unwritable(folder: Path, flag: str) -> None:
    """InputError, before anything slow begins, where no file can be written to `folder`, which may not exist yet.

    flag: the one that named it.
    """
    nearest = next((path for path in (folder, *folder.parents) if path.exists()), Path())
    try:
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise InputError(f"{flag} {folder}: cannot be written to ({reason}); give another folder") from None


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path` until the end of the block; its folder is created if needed, and removed if it stays
    empty.

    InputError, with the name of the holder, where another process holds it, and where it is a link: one in a downloaded
    dataset could overwrite another file. The kernel releases the lock however the process ends.
    """
    made = [folder for folder in path.parents if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        try:
            number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
            file = os.fdopen(number, "r+", encoding="utf-8", errors="backslashreplace")  # file names may be no text
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            raise InputError(f"{path}: is a link, not a lock file of this kit; remove it") from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = shorten(file.read(_MOST_OF_A_COMMAND), _SHOWN_OF_A_COMMAND, placeholder=" …") or "of another user"
            file.close()
            message = f"{path.parent}: another run is working there ({holder}); wait for it, or stop it"
            raise InputError(message) from None
        # the previous holder may have removed it since it was opened
        if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
            break
        file.close()
    try:
        try:
            file.truncate(0)
            file.write(f"process {os.getpid()} on {platform.node()}: {redacted(shlex.join(sys.argv))}")
            file.flush()
        except OSError as error:
            name_file(error, path)
            raise
        yield
    finally:
        path.unlink(missing_ok=True)
        file.close()
        with suppress(OSError):  # there are results in it
            for folder in made:
                folder.rmdir()


def alone(command: str, flag: str = "save_dir") -> Callable[[Callable[[Any], None]], Callable[[Any], None]]:
    """Of the `main(args)` of a `command`: while it runs, no other run of the command writes to the folder that --`flag`
    names, if any.

    InputError, before anything else, where another one does and where no file can be written there.
    """

    def decorate(main: Callable[[Any], None]) -> Callable[[Any], None]:
        @wraps(main)
        def run(args: Any) -> None:
            folder = getattr(args, flag)
            if folder is None:
                main(args)
                return
            refuse_unwritable(folder, f"--{flag}")
            with locked(folder / f".{command}.lock"):
                main(args)

        return run

    return decorate


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` atomically."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


def write_new(path: Path, content: bytes) -> None:
    """Write `content` to `path` directly: for files in a folder that is renamed once it is complete."""
    try:
        path.write_bytes(content)
    except OSError as error:
        name_file(error, path)
        raise


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 to `path` atomically."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON to `path`. ValueError for NaN, which JSON does not have."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_bytes(path: Path, most_bytes: int) -> bytes:
    """The bytes of a file. InputError where it is missing, larger, or no regular file: a device may never end."""
    refusal = InputError(f"{path}: is not a regular file; give the name of one")
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode):
                raise refusal
            if about.st_size > most_bytes:
                raise InputError(
                    f"{path}: has more than {most_bytes >> 20} MB, which no such file needs; make it again"
                )
            return file.read(about.st_size)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise refusal from None
    except ValueError as error:  # a null character
        raise InputError(f"{path!r:.200}: is no file name ({one_line(error)})") from None


def _open_at_once(name: str, flags: int) -> int:
    return os.open(name, flags | os.O_NONBLOCK)  # a pipe may never begin


def parse_json(text: str | bytes) -> Any:
    """The value of JSON text that is not trusted; its integers are those that a float can hold. ValueError for a text
    that is no JSON.
    """
    try:
        return json.loads(text, parse_int=_integer)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _integer(text: str) -> int:
    value = int(text) if len(text) <= _MOST_BITS else 0
    if len(text) > _MOST_BITS or value.bit_length() > _MOST_BITS:
        raise ValueError("it has a number of hundreds of digits")
    return value


def read_json(path: Path, most_bytes: int = MOST_JSON_BYTES) -> Any:
    """The value in a JSON file, as in `parse_json`. InputError when it is missing, broken or too large."""
    try:
        return parse_json(read_bytes(path, most_bytes).decode())
    except ValueError as error:
        raise InputError(f"{path}: not readable as JSON ({one_line(error)})") from None


class _Integers:
    """Of a loader: integers have at most _MOST_BITS."""

    def construct_yaml_int(self, node: Any) -> int:
        value: int = super().construct_yaml_int(node)  # type: ignore[misc]
        if value.bit_length() > _MOST_BITS:
            raise yaml.YAMLError(
                f"line {node.start_mark.line + 1} has a number of hundreds of digits; put it in quotes"
            )
        return value


class _Reader(_Integers, _SafeLoader):
    """The usual one."""


class _SlowReader(_Integers, yaml.SafeLoader):
    """For file names that are no text, whose escapes the one in C refuses."""


_Reader.add_constructor("tag:yaml.org,2002:int", _Reader.construct_yaml_int)
_SlowReader.add_constructor("tag:yaml.org,2002:int", _SlowReader.construct_yaml_int)  # type: ignore[type-var]


def _refuse_odd(text: str, reader: Any, takes_aliases: bool) -> None:
    """YAMLError for what a few lines of YAML can do: values that contain themselves, or more than fit in memory; and
    for a key that a mapping has twice, of which the loader would take the last one.
    """
    around: list[_Collection] = []
    for event in yaml.parse(text, reader):
        if isinstance(event, yaml.AliasEvent) and not takes_aliases:
            raise yaml.YAMLError("it has an alias (*name); write the value instead")
        if isinstance(event, yaml.CollectionEndEvent):
            around.pop()
        elif around and isinstance(event, yaml.NodeEvent):
            around[-1].add(event)
        if isinstance(event, yaml.CollectionStartEvent):
            around.append(_Collection(isinstance(event, yaml.MappingStartEvent)))
        if len(around) > _MOST_DEPTH:
            raise yaml.YAMLError("it is nested too deeply")


class _Collection:
    """What is read of a list or a mapping."""

    def __init__(self, is_mapping: bool) -> None:
        self._keys: set[tuple[str, str]] = set()  # type and text
        self._is_mapping = self._is_key = is_mapping

    def add(self, event: Any) -> None:
        """The event that begins its next key or value."""
        if self._is_key and isinstance(event, yaml.ScalarEvent):
            kind = event.tag or yaml.SafeLoader("").resolve(yaml.ScalarNode, event.value, event.implicit)
            if (kind, event.value) in self._keys and kind != "tag:yaml.org,2002:merge":
                mark: Any = event.start_mark
                where = f"line {mark.line + 1}"
                raise yaml.YAMLError(f"{where} has the key {event.value!r:.80} for the second time; remove one")
            self._keys.add((kind, event.value))
        self._is_key = self._is_mapping and not self._is_key


class _Writer(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def read_yaml(path: Path, most_values: int = 0, most_bytes: int = MOST_YAML_BYTES) -> dict[str, Any]:
    """The mapping in a YAML file, read with the safe loader. InputError when it is missing, too large or not a mapping,
    and where a mapping in it has a key twice.

    Its integers are those that a float can hold. most_values: aliases are replaced by copies of what they stand for, if
    there are no more values than this then; without it they are refused.
    """
    content = read_bytes(path, most_bytes)
    try:
        text = content.decode()
        reader = _SlowReader if _SURROGATE.search(text) else _Reader
        _refuse_odd(text, reader, takes_aliases=bool(most_values))
        value = yaml.load(text, reader)
        if most_values:
            value = _without_aliases(value, iter(range(most_values)))
    except _BROKEN_YAML as error:
        raise InputError(f"{path}: not readable as YAML ({_said(error)})") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected a YAML mapping, found {type(value).__name__}")
    return value


def _said(error: Exception) -> str:
    """Where YAML is wrong, without the line itself, in which there may be a password."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem and error.problem_mark:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    return one_line(error)


def _without_aliases(value: Any, left: Iterator[int]) -> Any:
    """A copy in which no list and no mapping occurs twice. ValueError where `left` ends before its values do."""
    if next(left, None) is None:
        raise ValueError("its aliases (*name) stand for too many values; write the values instead")
    if isinstance(value, dict):
        return {key: _without_aliases(inner, left) for key, inner in value.items()}
    return [_without_aliases(inner, left) for inner in value] if isinstance(value, list) else value


def write_yaml(path: Path, value: dict[str, Any]) -> None:
    """Write a mapping as YAML in the order of its keys."""
    write_text(path, yaml.dump(value, Dumper=_Writer, sort_keys=False, allow_unicode=True))


def refuse_missing(path: Path, what: str = "file") -> None:
    """InputError, before anything slow begins, where a path that a user gave does not exist."""
    if not path.exists():
        raise InputError(f"{path}: no such {what}{others_like(path)}")


def refuse_overwriting(inputs: Iterable[Path], results: Iterable[Path]) -> None:
    """InputError, before anything is written, where a command's result would take the place of one of its inputs."""
    places = {path.resolve() for path in results}
    for path in inputs:
        with suppress(OSError, RuntimeError, ValueError):  # a link to itself, a null character: no file
            if path.resolve() in places:
                raise InputError(
                    f"{path}: would be overwritten, or removed as an earlier result; give another --save_dir"
                )


def others_like(path: Path) -> str:
    """For an error about a file that is missing: "; FOLDER has A, B" of the files of its kind there, the most alike
    first; "" where there is none.
    """
    try:
        names = sorted(file.name for file in path.parent.iterdir() if path.suffix and file.suffix == path.suffix)
    except OSError:
        return ""
    alike = get_close_matches(path.name, names, n=_MOST_NAMED, cutoff=0)
    return f"; {path.parent} has {', '.join(alike)}" + (" …" if len(names) > len(alike) else "") if alike else ""


def sha256(path: Path) -> str:
    """The SHA-256 of a file's content, in hex. InputError for what is no regular file."""
    if path.exists() and not path.is_file():
        raise InputError(f"{path}: is not a regular file; give the name of one")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
