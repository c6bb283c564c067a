"""What a file is, by its first bytes: for errors about a file of another kind than the wanted one."""

import re
from pathlib import Path

_FIRST_BYTES = 1024
_KINDS = (
    (
        rb"\x80.\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19|PK\x03\x04.{26}[^/]{1,200}/(data\.pkl|version|\.format)",
        "a PyTorch file",
    ),
    (rb"PK\x03\x04.{26}[^/]{1,200}\.npy", "a .npz file of NumPy"),
    (rb"PK\x03\x04", "a zip archive"),
    (rb"\x08[\x01-\x20][\x12\x1a\x22\x2a\x32\x3a\x42]", "an ONNX file"),  # its ir_version, then its next field
    (rb".{8}\{\s*\"", "a safetensors file"),
    (rb"\x93NUMPY", "a .npy file of NumPy"),
    (rb"\x89PNG|\xff\xd8\xff|BM.{4}\0{4}|RIFF.{4}WEBP", "a picture"),
    (rb".{4}ftyp|\x1aE\xdf\xa3|RIFF.{4}AVI ", "a video"),
    (rb"\x1f\x8b", "a gzip archive"),
    (rb"\x89HDF", "an HDF5 file"),
    (rb"version https://git-lfs", "a pointer of Git LFS, not the file itself"),
    (rb"(?i)\s*<(!doctype|html)", "a web page"),
)


def kind_of_content(path: Path) -> str:
    """What a file is, such as "an ONNX file" or "a text"; "" where its first bytes do not say."""
    with path.open("rb") as file:
        first = file.read(_FIRST_BYTES)
    if not first:
        return "an empty file"
    for pattern, kind in _KINDS:
        if re.match(pattern, first, re.DOTALL):
            return kind
    is_text = not re.search(rb"[\x00-\x08\x0e-\x1a\x7f]", first) and first[:3].isascii()
    return "a text" if is_text and "\ufffd" not in first[:-3].decode(errors="replace") else ""
