"""The lists of a split, train.txt and others: lines of 'image label', in the forms that PaddleSeg and people write.

Taken are: blanks at the end of a line, blank lines, a byte order mark, tabs and other separators, names with spaces,
absolute paths inside the dataset folder. None may lead out of it; the folders of images and labels may be links to
another disk, and then none may lead out of those.
"""

from pathlib import Path, PurePosixPath

from regenhance_data.errors import InputError

_MAY_BE_LINKS = ("origin_images", "labels")
SEPARATORS = (" ", "\t", "|", ",", ";")  # tried in this order where no config names one


def read_pairs(path: Path, separator: str | None = None) -> list[tuple[str, str]]:
    """The (image, label) pairs of a list in the dataset folder, relative to that folder.

    separator: what PaddleSeg's configs call so. InputError for a missing or broken list, and for a path that leads out
    of the folder.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; make it with tools/make_seg_dataset.py") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not a text file") from None
    root, pairs = path.parent, []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        image, label = _cut(line.strip(), separator, root, where)
        pairs.append((path_inside(image, root, where), path_inside(label, root, where)))
    return pairs


def _cut(line: str, separator: str | None, root: Path, where: str) -> tuple[str, str]:
    """The image and the label of a line. Where blanks may be part of a name, the image is the file that exists."""
    for sign in (separator,) if separator else SEPARATORS:
        parts = [part.strip() for part in line.split(sign)]
        parts = [part for part in parts if part]
        if len(parts) == 2:
            return parts[0], parts[1]
    cuts = [place for place, sign in enumerate(line) if sign == " "] if separator in (None, " ") else []
    for place in cuts:
        image, label = line[:place].strip(), line[place:].strip()
        if _exists(root, image) and _exists(root, label):
            return image, label
    sign = {None: "one space", " ": "one space", "\t": "a tab"}.get(separator, repr(separator))
    raise InputError(f"{where}: expected 'image label' with {sign} between, found {line[:80]!r}")


def _exists(root: Path, name: str) -> bool:
    try:
        return (root / name).is_file()
    except (ValueError, OSError):  # a null character; a name that is too long
        return False


def path_inside(name: str, root: Path, where: str) -> str:
    """A path of an untrusted list, relative to the dataset folder. InputError if it leads out of it."""
    pure = PurePosixPath(name)
    try:
        place, base = (root / name).resolve(), root.resolve()
        if pure.is_absolute():
            roots = [one for one in (root.absolute(), base) if pure.is_relative_to(one)]
            pure = pure.relative_to(roots[0]) if roots else PurePosixPath(place.relative_to(base))
        linked = [(root / folder).resolve() for folder in _MAY_BE_LINKS if folder in pure.parts[:1]]
        leads_out = not any(place.is_relative_to(one) for one in (base, *linked))
    except (ValueError, OSError, RuntimeError):  # a null character; a link to itself
        leads_out = True
    if leads_out or ".." in pure.parts:
        raise InputError(f"{where}: {name[:80]!r} leads out of the dataset folder; list only files inside it")
    return pure.as_posix()
