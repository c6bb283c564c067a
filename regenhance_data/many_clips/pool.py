"""The pool: the frames and labels of many clips in one dataset, and its lists, to train on some of the clips."""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from regenhance_data.dataset.folder import IMPORTANCE, LABELS, LR_FRAMES, Dataset
from regenhance_data.dataset.records import DatasetRecord
from regenhance_data.errors import InputError
from regenhance_data.io.files import refuse_missing, write_text


def make_pool(folder: Path, datasets: Mapping[str, Path]) -> None:
    """Put the LR frames and labels of the datasets, one a clip, into one dataset, without a second copy where the disk
    allows it; with their true importance, which ranks the validation frames. The labels stay as they are: each clip's
    levels are of its own normaliser.

    InputError where the clips' levels or macroblocks differ.
    """
    records = [Dataset.open(root).record for root in datasets.values()]
    first: DatasetRecord = records[0]
    for root, record in zip(datasets.values(), records, strict=True):
        if (record.levels, record.mb_size) != (first.levels, first.mb_size):
            raise InputError(f"{root}: has other levels or macroblocks than the other clips; make its labels again")
    shutil.rmtree(folder, ignore_errors=True)
    for root in datasets.values():
        for part in (LR_FRAMES, LABELS, IMPORTANCE):
            shutil.copytree(root / part, folder / part, copy_function=_link_or_copy, dirs_exist_ok=True)
    Dataset(folder).save(scale=first.scale, mb_size=first.mb_size, levels=first.levels)


def read_list(data: Path, name: str) -> list[str]:
    """The lines of a list of a dataset. InputError where it is missing."""
    refuse_missing(data / f"{name}.txt", "list of frames")
    return (data / f"{name}.txt").read_text(encoding="utf-8").splitlines()


def write_list(folder: Path, name: str, lines: Sequence[str]) -> None:
    """Write the list `name` of a pool, of lines of its datasets."""
    write_text(folder / f"{name}.txt", "".join(f"{line}\n" for line in lines))


def spread(lines: Sequence[str], count: int) -> list[str]:
    """`count` of the lines, evenly spread; all where there are not more."""
    return list(lines) if count >= len(lines) else [lines[i * len(lines) // count] for i in range(count)]


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except FileExistsError:  # a copy would go through the link into another dataset
        raise
    except OSError:  # another disk
        shutil.copyfile(source, target)
