"""The manifests of the kit: YAML files with a list of clips and defaults for all of them."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from regenhance_data.errors import InputError
from regenhance_data.io.files import read_yaml

# of the keys that a clip may have; not each manifest takes each key
TYPES: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("id", "video", "detector", "scene", "licence", "source"), str),
    **dict.fromkeys(("scale", "height", "every", "max_frames", "jpeg_quality"), int),
    **dict.fromkeys(("fps", "max_box_area"), (int, float)),
    **{"classes": list, "keep_hr": bool},
}
_WORDS: dict[object, str] = {str: "a text", list: "a list", bool: "true or false"}


def read_entries(path: Path) -> tuple[Any, list[Any]]:
    """(the defaults, the entries of the clips) of a manifest, unchecked. InputError for one without clips, and with
    another key than `defaults` and `clips`.
    """
    content = read_yaml(path)
    refuse_unknown(path, "the manifest", content, ("clips", "defaults"))
    entries = content.get("clips")
    if not isinstance(entries, list) or not entries:
        raise InputError(f"{path}: has no list of clips; write 'clips:' with '- video: FILE' for each")
    return content.get("defaults") or {}, entries


def refuse_unknown(path: Path, where: str, entry: Mapping[Any, Any], known: Iterable[str]) -> None:
    """InputError where an entry has a key that is not known. where: the entry, as messages call it."""
    unknown = [str(key) for key in entry if key not in known]
    if unknown:
        raise InputError(
            f"{path}: {where} has the unknown key {unknown[0]!r:.80}; expected: {', '.join(sorted(known))}"
        )


def refuse_other_types(path: Path, where: str, entry: Mapping[str, Any]) -> None:
    """InputError where the value of a key is of another type than that key has in all manifests."""
    for key, value in entry.items():
        kind = TYPES[key]
        if isinstance(value, bool) != (kind is bool) or not isinstance(value, kind):
            expected = _WORDS.get(kind, "a number")
            raise InputError(f"{path}: {where} has {key} {value!r:.80}, expected {expected}")
