"""What a network's file is: with the files beside it that have its weights, as ONNX has them."""

import hashlib
from pathlib import Path

from regenhance_data.io.files import sha256


def network_files(path: Path) -> list[Path]:
    """A network's file, and those beside it that have its weights."""
    if path.suffix.lower() != ".onnx":
        return [path]
    from regenhance_data.io.onnx_files import files_beside  # imports onnx

    return [path, *files_beside(path)]


def network_sha256(path: Path) -> str:
    """`sha256` of a network's file; where its weights are beside it, that of the hashes of all its `network_files`."""
    hashes = [sha256(one) for one in network_files(path)]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()
