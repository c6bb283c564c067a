"""TorchScript files, read safely: such a file is a program."""

import re
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch

from regenhance_data.errors import InputError, one_line
from regenhance_data.io.torch_weights import SPARE_BYTES, default_device, is_inflated

# What a script can do beyond tensors; no model needs it, and some of it runs when a file is opened. `~` matches what
# may stand between two words. Of the libraries under `ops` only known ones are allowed, since others can do anything
# (torchvision's ops.image.write_file writes files); `torch` or `ops` without a dot after it may get another name.
_FORBIDDEN = r"""
    \b (?: torch | ops ~ \. ~ \w+ ) ~ \. ~ (?: save | load | from_file ) \b
  | \b torch ~ \. ~ classes \b
  | (?: (?<! [\w.] ) | \b torch ~ \. ~ ) ops ~ \.
    ~ (?! (?: aten | prim | prims | torchvision | quantized ) \b ) \w+ ~ \.
  | (?: [=(,\[{] | \belse\b ) ~ (?: torch | (?: torch ~ \. ~ )? ops (?: ~ \. ~ \w+ )? ) \b (?! ~ \. )
"""
_OUTSIDE = re.compile(_FORBIDDEN.replace("~", r"(?:[\s\\]|\#.*\n)*").encode(), re.VERBOSE)


def load_script(path: Path, extra: dict[str, Any] | None = None) -> Any:
    """The module in a TorchScript file, on this machine's device; `extra` files are filled in.

    InputError for a file that is none, that is damaged, or whose code does more than work on tensors.
    """
    for text in _code(path):
        if found := _OUTSIDE.search(text):
            called = "".join(found.group().decode(errors="replace").split())[:80]
            raise InputError(f"{path}: its code calls {called}, which no model needs")
    try:
        with warnings.catch_warnings(action="ignore"):  # users cannot act on TorchScript's deprecation
            return torch.jit.load(path, default_device(), extra)
    except Exception as error:  # PyTorch raises many kinds for a broken archive
        raise InputError(f"{path}: PyTorch cannot load this TorchScript file ({one_line(error)})") from None


def _code(path: Path) -> list[bytes]:
    """The source files in the archive. InputError where a byte of it was changed, on which PyTorch crashes."""
    damaged: str | None = None
    try:
        with zipfile.ZipFile(path) as archive:
            if is_inflated(archive, path):
                raise ValueError
            damaged = archive.testzip()
            files = [file for file in archive.infolist() if file.filename.endswith(".py")]
            if any(file.file_size > SPARE_BYTES for file in files):
                raise ValueError
            code = [] if damaged else [archive.read(file) for file in files]
    except (zipfile.BadZipFile, OSError, RuntimeError, ValueError, NotImplementedError, EOFError, zlib.error):
        code = []
    if damaged:
        raise InputError(f"{path}: is damaged in {damaged[:80]!r}; export or copy it again")
    if not code:
        raise InputError(f"{path}: is not a TorchScript file; make one with torch.jit.script or torch.jit.trace")
    return code
