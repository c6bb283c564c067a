"""What is done already of work that takes long, in a file until all of it is: an interrupted or killed run goes on.

The first line of the file identifies the inputs of the work. Each further line holds the key of one item, what was made
of it, and a digest; a line that was not written to its end, or was changed, is dropped.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar

from regenhance_data.console import tell
from regenhance_data.errors import resumable
from regenhance_data.io.files import digest, parse_json, write_text
from regenhance_data.io.leftovers import name_file

Item = TypeVar("Item")
Value = TypeVar("Value")


class Journal(Generic[Value]):
    """The values in the file `path`, of work on these `inputs` (a digest); those of other inputs are dropped.

    to_json, from_json: a value as one that JSON can hold, and back.
    """

    def __init__(
        self, path: Path, inputs: str, to_json: Callable[[Value], Any], from_json: Callable[[Any], Value]
    ) -> None:
        self._path, self._inputs, self._to_json = path, inputs, to_json
        self._lines = _read(path, inputs)
        if not self._lines:
            self.remove()
        self.known = {key: from_json(value) for key, (value, _) in self._lines.items()}
        self._is_started = False

    def add(self, key: str, value: Value) -> None:
        """Keep the value of one more item."""
        if not self._is_started:  # anew, so that no torn line stays within the file
            lines = [json.dumps({"inputs": self._inputs}), *(line for _, line in self._lines.values())]
            write_text(self._path, "".join(f"{line}\n" for line in lines))
            self._is_started = True
        self.known[key] = value
        plain = self._to_json(value)
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps([key, plain, digest([self._inputs, key, plain])]) + "\n")
        except OSError as error:
            name_file(error, self._path)
            raise

    def remove(self) -> None:
        """Remove the file: the work is complete."""
        self._path.unlink(missing_ok=True)


@contextmanager
def journal(
    folder: Path, command: str, inputs: str, to_json: Callable[[Value], Any], from_json: Callable[[Any], Value]
) -> Iterator[Journal[Value]]:
    """The journal of a command, in the folder of its results, where the command is `alone`. At the end of the block the
    work is complete and the journal is removed.
    """
    kept = Journal(folder / f".{command}.jsonl", inputs, to_json, from_json)
    yield kept
    kept.remove()


def go_on(
    kept: Journal[Value] | None,
    items: Mapping[str, Item],
    make: Callable[[Sequence[Item]], Iterable[Value]],
    unit: str = "frame",
) -> dict[str, Value]:
    """The value of each of the `items`: the `kept` one, or the one that is made now, and kept.

    make: yields the values of the items that it is given, in their order. What is kept is printed, also by the
    KeyboardInterrupt of an interrupted run. Without `kept`, nothing is.
    """
    known = {key: kept.known[key] for key in items if kept and key in kept.known}
    missing = [key for key in items if key not in known]
    if known:
        tell(f"kept {len(known)} of {len(items)} {unit}s of an interrupted run")
    try:
        for key, value in zip(missing, make([items[key] for key in missing]), strict=True):
            known[key] = value
            if kept:
                kept.add(key, value)
    except KeyboardInterrupt:
        if kept is None:
            raise
        raise resumable(f"kept {len(known)} of {len(items)} {unit}s") from None
    return {key: known[key] for key in items}


def _read(path: Path, inputs: str) -> dict[str, tuple[Any, str]]:
    """The value of each item in the file, and its line; {} where there is no file, or one of other inputs."""
    try:
        first, *lines = path.read_bytes().splitlines() or [b""]
    except FileNotFoundError:
        return {}
    if _value(first) != {"inputs": inputs}:
        return {}
    found: dict[str, tuple[Any, str]] = {}
    for line in lines:
        match _value(line):
            case [str(key), value, mark] if mark == digest([inputs, key, value]):
                found[key] = value, line.decode()
    return found


def _value(line: bytes) -> Any:
    """What a line holds; None where it is no JSON."""
    try:
        return parse_json(line)
    except ValueError:
        return None
