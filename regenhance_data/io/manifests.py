"""The manifests of the kit: YAML files with a list of clips and defaults for all of them."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from regenhance_data.errors import InputError
from regenhance_data.io.files import read_yaml


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
