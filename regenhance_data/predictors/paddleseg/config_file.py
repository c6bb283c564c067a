"""A PaddleSeg YAML with its _base_ files, read without Paddle."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from regenhance_data.defaults import MOST_MB_SIZE
from regenhance_data.errors import InputError, one_line
from regenhance_data.io.files import others_like, read_yaml

CONFIGS = Path("paddleseg_configs")
MOST_BYTES, MOST_BASES, MOST_VALUES = 1 << 20, 50, 10_000


def read_config(path: Path) -> dict[str, Any]:
    """The config, merged with its bases as PaddleSeg merges them. InputError where a file is missing or broken."""
    if path.suffix not in (".yml", ".yaml"):
        raise InputError(f"{path}: a config is a .yml file, like paddleseg_configs/pp_mobileseg_tiny.yml")
    return _read_with_bases(path, (), {})


def _read_with_bases(path: Path, children: tuple[Path, ...], known: dict[Path, dict[str, Any]]) -> dict[str, Any]:
    """`children`: the files that led here, resolved. `known`: the files that have been merged, so each is read once."""
    try:
        place = path.resolve()
        is_missing = not path.exists()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links; a null character
        raise InputError(f"{path}: cannot be read ({one_line(error)})") from None
    if is_missing:
        raise InputError(f"{path}: no such file{others_like(path) or others_like(CONFIGS / path.name)}")
    if place in children:
        raise InputError(f"{path}: is its own _base_; remove one of them")
    if len(children) == MOST_BASES:
        raise InputError(f"{path}: is the _base_ of a _base_ more than {MOST_BASES} times; write one config")
    if place in known:
        return known[place]
    config = read_yaml(path, MOST_VALUES, MOST_BYTES)
    _locate_weights(config.get("model"), path.parent)
    bases = config.pop("_base_", [])
    bases = [bases] if isinstance(bases, str) else bases
    if not isinstance(bases, list) or not all(isinstance(base, str) for base in bases):
        raise InputError(f"{path}: _base_ is {bases!r}, expected a file name or a list of them")
    for base in bases:
        config = _merged(config, _read_with_bases(path.parent / base, (*children, place), known), path)
    known[place] = config
    return config


def _locate_weights(model: Any, folder: Path) -> None:
    """Make `pretrained` of the model, or of a part of it, a path beside the config, where that is a file; else it stays
    a path from here, as in PaddleSeg.
    """
    parts = [model, *model.values()] if isinstance(model, dict) else []
    for part in parts:
        source = part.get("pretrained") if isinstance(part, dict) else None
        if isinstance(source, str) and "://" not in source and _is_file(folder / source):
            part["pretrained"] = str(folder / source)


def _is_file(path: Path) -> bool:
    with suppress(OSError, ValueError):  # a name that no file can have
        return path.is_file()
    return False


def _merged(config: dict[str, Any], base: dict[str, Any], path: Path) -> dict[str, Any]:
    """`base` with the entries of `config`, mappings entry by entry; `_inherited_: False` drops those of the base."""
    if not config.get("_inherited_", True):
        return {key: value for key, value in config.items() if key != "_inherited_"}
    merged = dict(base)
    for key, value in config.items():
        if isinstance(value, dict) and key in base:
            if not isinstance(base[key], dict):
                raise InputError(f"{path}: {key} is a mapping, in its _base_ it is not")
            value = _merged(value, base[key], path)
        merged[key] = value
    return merged


def pretrained_sources(path: Path) -> dict[str, str]:
    """{part of the model, '' for all of it: the URL or path of the weights that a training of it begins with} of a
    config. InputError where a file is missing or broken.
    """
    model = read_config(path).get("model")
    parts = {"": model, **model} if isinstance(model, dict) else {}
    named = {part: some.get("pretrained") for part, some in parts.items() if isinstance(some, dict)}
    return {part: source for part, source in named.items() if isinstance(source, str) and source}


def value_in_opts(opts: Sequence[str] | None, key: str) -> str | None:
    """The value that --opts gives to a config entry; None where it gives none."""
    pairs = [opt.partition("=") for opt in opts or ()]
    return next((value for name, _, value in reversed(pairs) if name == key), None)


def names_pretrained(opts: Sequence[str] | None) -> bool:
    """Whether --opts names pretrained weights."""
    return any("pretrained=" in opt for opt in opts or ())


def shrink_of(input_scale: float, flag: str = "--input_scale") -> int:
    """The whole number that the flag's value is one over. InputError where it is none."""
    shrink = round(1 / input_scale) if 1 / MOST_MB_SIZE <= input_scale <= 1 else 0
    if not shrink or abs(input_scale * shrink - 1) > 0.01:
        raise InputError(f"{flag} {input_scale:g}: expected 1, 0.5, 0.25 or another 1 over a whole number")
    return shrink
