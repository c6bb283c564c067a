"""New files of a part of the dataset (sr_images, importance), made beside the old ones, which stay until all are there.

    sr_images/.new/       the new files, as in sr_images/, and plan.json: what dataset.yaml will record
    sr_images/.ready/     the same, once all are made; they replace the old files one after the other

One rename decides which files count. The next run finishes a replacement that was killed, so at any moment either the
old files are complete or the new ones.

The frames of a clip are made in origin_images/.new/ too: LR frames in origin_images/.new/origin_images/, HR frames in
origin_images/.new/hr_images/. tools/extract.py renames these folders when the clip is complete.
"""

import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from regenhance_data.errors import InputError
from regenhance_data.io.files import read_json, write_json
from regenhance_data.io.leftovers import remove_unfinished

_NEW, _READY, _PLAN = ".new", ".ready", "plan.json"


def staging_folder(part: str) -> str:
    """Where the new files of a part are made, relative to the dataset folder."""
    return f"{part}/{_NEW}"


def stage(root: Path, part: str, record: Mapping[str, Any]) -> None:
    """Begin to make new files of a part, or go on with those of an earlier run for the same `record`: the keys and
    plain values to set in dataset.yaml at the end. Files for another record are removed.
    """
    folder = root / staging_folder(part)
    earlier = None
    with suppress(InputError):
        earlier = read_json(folder / _PLAN)
    if earlier != record:
        discard_staged(root, part)
        write_json(folder / _PLAN, dict(record))
    for path in (folder, *folder.iterdir()):
        remove_unfinished(path)


def discard_staged(root: Path, part: str) -> None:
    """Remove what an earlier run left unfinished."""
    shutil.rmtree(root / staging_folder(part), ignore_errors=True)


def publish(root: Path, part: str, save: Callable[..., None]) -> None:
    """Replace the old files of a part by the new ones, all of which are made. `save` sets keys of dataset.yaml."""
    os.replace(root / part / _NEW, root / part / _READY)
    finish_publishing(root, part, save)


def finish_publishing(root: Path, part: str, save: Callable[..., None]) -> None:
    """Finish what `publish` began before its process was killed, if there is such."""
    folder = root / part / _READY
    if not folder.is_dir():
        return
    if not any(folder.iterdir()):  # killed between the last two removals
        folder.rmdir()
        return
    record = read_json(folder / _PLAN)
    if not isinstance(record, dict):
        raise InputError(f"{folder}: is not what this kit writes; remove it")
    for path in sorted(folder.iterdir()):
        if path.name != _PLAN:
            replace_folder(path, root / part / path.name)
    save(**record)
    shutil.rmtree(folder)


def replace_folder(path: Path, target: Path) -> None:
    """Move a folder or file to the place of another, as `remove_folder` removes that."""
    remove_folder(target)
    os.replace(path, target)


def remove_folder(path: Path) -> None:
    """Remove a folder with all that is in it, if it is there; of a link to another disk, the link alone."""
    if path.is_symlink():
        path.unlink()
    elif path.is_dir():
        shutil.rmtree(path)
