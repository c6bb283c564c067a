"""detections.jsonl: a line of JSON for each frame."""

import os
from pathlib import Path

from deploy.online.sinks.frame import FrameResult
from regenhance_data.io.leftovers import name_file

LINES = "detections.jsonl"
_BLOCK = 1 << 16


class JsonLines:
    """The lines of a run in `folder`, whole at any time: each is written by one call.

    append: go on after the lines of an earlier run, of which a killed one may have left a torn last line, which is cut
    off. Else they are replaced.
    """

    def __init__(self, folder: Path, append: bool = False) -> None:
        self._path = folder / LINES
        self._file = self._path.open("ab", buffering=0)  # also after a log rotation that empties the file
        self._file.truncate(_end_of_lines(self._path) if append else 0)

    def take(self, result: FrameResult) -> bytes:
        return result.json + b"\n"

    def write(self, line: bytes) -> None:
        end = os.fstat(self._file.fileno()).st_size
        try:
            rest = line
            while rest:  # once, unless the disk is nearly full
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            self._file.truncate(end)
            name_file(error, self._path)
            raise

    def finish(self) -> list[Path]:
        return [self._path]

    def close(self) -> None:
        self._file.close()


def _end_of_lines(path: Path) -> int:
    """The length of a file without what follows its last line."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        while end:
            begin = max(end - _BLOCK, 0)
            file.seek(begin)
            found = file.read(end - begin).rfind(b"\n")
            if found >= 0:
                return begin + found + 1
            end = begin
    return 0
