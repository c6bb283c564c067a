"""What tells whether a picture has changed, without reading all of it."""

from pathlib import Path

from regenhance_data.io.files import sha256

_PIXELS_AT = 33  # where in a PNG its second chunk begins
_END_BYTES = 64  # of a PNG without words or times, they hold its pixels' checksum


def picture_mark(path: Path) -> str:
    """What tells one content of a picture from another.

    Of a PNG that is nothing but pixels, as this kit writes them, the end alone is read: it holds a checksum of all
    pixels (zlib's Adler-32). Other writers put words or times before the pixels, and perhaps behind them: like files of
    other formats, theirs are hashed whole.
    """
    with path.open("rb") as file:
        head = file.read(_PIXELS_AT + 8)
        file.seek(max(path.stat().st_size - _END_BYTES, 0))
        end = file.read()
    is_plain = head.startswith(b"\x89PNG") and head.endswith(b"IDAT") and end.endswith(b"IEND\xaeB`\x82")
    return end.hex() if is_plain else sha256(path)
