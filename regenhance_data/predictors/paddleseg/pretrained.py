"""Pretrained weights of a backbone: downloaded once, read without running code, loaded where they fit."""

import hashlib
import http.client
import lzma
import os
import re
import sys
import tarfile
import urllib.error
import urllib.request
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
from tqdm import tqdm

from regenhance_data.console import tell
from regenhance_data.errors import InputError, one_line
from regenhance_data.io.files import atomic_write, sha256
from regenhance_data.predictors.paddleseg.checkpoints import read_paddle_state

WEIGHTS_SUFFIX = ".pdparams"
GENERAL_WEIGHTS = Path(__file__).resolve().parents[3] / "paddleseg_configs/weights"
_CHUNK_BYTES = 1 << 20
_MOST_BYTES = 2 << 30  # ten times the largest backbone that PaddleSeg has
# raised for server errors, truncated archives and bad URLs; urllib's own errors are OSErrors
_BROKEN = (OSError, EOFError, ValueError, tarfile.TarError, zlib.error, lzma.LZMAError, http.client.HTTPException)


class OtherNetworkError(InputError):
    """Weights of a network that is not the model."""


def cache_folder() -> Path:
    """The folder of downloaded weights: $XDG_CACHE_HOME/regenhance, by default under ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "regenhance"


def load_pretrained(model: Any, part: str, source: str, all_but: str | None = None) -> int:
    """Load the weights at `source` (URL or path; .pdparams, or a .tar.gz that holds one) into a part of `model`.

    A URL begins with https:// and may end with #sha256=HEX, which what it serves must have.
    part: an attribute of the model like 'backbone', '' for all of it. Tensors without weights of the same name and
    shape stay as they are: the file of a backbone has a head for other classes. Returns the number of loaded tensors.
    InputError where none fits, or the weights cannot be downloaded or read. all_but: the begin of names; a tensor with
    another name must be on both sides and have one shape, else OtherNetworkError.
    """
    module = getattr(model, part, None) if part else model
    if module is None:
        raise InputError(f"{source}: are pretrained weights of {part}, which this network does not have")
    path = _downloaded(source) if "://" in source else Path(source)
    if path.is_dir():
        raise InputError(f"{path}: is a folder; give the {WEIGHTS_SUFFIX} file in it, or start with --no_pretrained")
    if not path.is_file():
        raise InputError(
            f"{path}: no such pretrained weights, neither from here nor beside the config; start without them: "
            "--no_pretrained"
        )
    state = read_paddle_state(path)
    fitting = {}
    for name, tensor in module.state_dict().items():
        value = state.get(name)
        if isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.shape == tuple(tensor.shape):
            if not np.isfinite(value).all():
                raise InputError(f"{source}: {name} has NaN or infinite values; start without it: --no_pretrained")
            fitting[name] = value.astype(np.float32)
    apart = (module.state_dict().keys() | state.keys()) - fitting.keys()
    if all_but and not all(name.startswith(all_but) for name in apart):
        raise OtherNetworkError(
            f"{source}: are weights of another network or grid; begin without them: --no_pretrained"
        )
    if not fitting:
        raise InputError(f"{source}: no pretrained weight fits this network; leave them out with --no_pretrained")
    module.set_state_dict(fitting)
    return len(fitting)


def _downloaded(url: str) -> Path:
    """The .pdparams of a URL, from the cache if it has been downloaded, and its checksum compared, before."""
    if not url.startswith("https://"):
        raise InputError(f"{url}: pretrained weights come from https:// or a file")
    address, _, fragment = url.partition("#")
    expected = fragment.removeprefix("sha256=").lower()
    if fragment and not re.fullmatch(r"sha256=[0-9a-fA-F]{64}", fragment):
        raise InputError(f"{url}: after #, give sha256= and 64 hexadecimal digits")
    path = cache_folder() / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}{WEIGHTS_SUFFIX}"
    if path.is_file():
        return path
    try:
        with atomic_write(path) as weights:
            download = weights.with_name(weights.name + ".download")
            try:
                _download(address, download)
                found = sha256(download)
                if expected not in ("", found):
                    raise ValueError(f"its sha256 is {found}, not the one that is given")
                _take_weights(download, weights)
                read_paddle_state(weights)  # only a valid file is kept
            finally:
                download.unlink(missing_ok=True)
    except InputError as error:
        raise InputError(f"{url}: {str(error).partition(': ')[2]}; start without it: --no_pretrained") from None
    except _BROKEN as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else one_line(error)
        raise InputError(
            f"{url}: pretrained weights cannot be downloaded ({reason}); start without them: --no_pretrained"
        ) from None
    if not expected:
        tell(f"{url}: no checksum is given; to accept only this file, end the address with #sha256={found}")
    return path


def _download(url: str, path: Path) -> None:
    with urllib.request.urlopen(url, timeout=30) as answer, path.open("wb") as file:
        if not answer.url.startswith("https://"):
            raise ValueError(f"it leads to {answer.url}, which is not https://")
        size = int(answer.headers.get("Content-Length") or 0)
        is_shown = sys.stderr.isatty()
        with tqdm(
            desc="pretrained weights", total=size or None, unit="B", unit_scale=True, disable=not is_shown
        ) as bar:
            while chunk := answer.read(_CHUNK_BYTES):
                _write_bounded(file, chunk)
                bar.update(len(chunk))
    if size and path.stat().st_size != size:
        raise ValueError("the download is incomplete")


def _write_bounded(file: IO[bytes], chunk: bytes) -> None:
    file.write(chunk)
    if file.tell() > _MOST_BYTES:
        raise ValueError(f"more than {_MOST_BYTES >> 30} GB")


def _take_weights(download: Path, weights: Path) -> None:
    if not tarfile.is_tarfile(download):
        os.replace(download, weights)
        return
    with tarfile.open(download) as archive:
        member = next((m for m in archive if m.isfile() and m.name.endswith(WEIGHTS_SUFFIX)), None)
        content: IO[bytes] | None = archive.extractfile(member) if member else None
        if content is None:
            raise ValueError(f"holds no {WEIGHTS_SUFFIX}")
        with weights.open("wb") as file:
            while chunk := content.read(_CHUNK_BYTES):
                _write_bounded(file, chunk)
