"""What dataset.yaml records of the labels: their settings and their normaliser."""

from typing import Any

from regenhance_data.dataset.folder import Dataset
from regenhance_data.dataset.levels import Normaliser
from regenhance_data.dataset.split import Ratios
from regenhance_data.errors import InputError


def recorded_settings(dataset: Dataset) -> dict[str, Any]:
    """The settings that the labels were made with, as `make_seg_dataset` takes them; {} where dataset.yaml tells none.

    InputError where they are broken.
    """
    split = dataset.info.get("split")
    if split is None or "normaliser" not in dataset.info:
        return {}
    try:
        ratios = Ratios(**split["ratios"])
    except (KeyError, TypeError):
        raise InputError(f"{dataset.root / 'dataset.yaml'}: split is broken; make the labels again") from None
    return {
        "levels": dataset.levels,
        "normalise": recorded_normaliser(dataset).kind,
        "ratios": ratios,
        "gap": split.get("gap", 0),
        "split_by": split.get("by"),
    }


def recorded_normaliser(dataset: Dataset) -> Normaliser:
    """The normaliser that the labels were made with. InputError where dataset.yaml has none, or a broken one."""
    recorded = dataset.info.get("normaliser")
    try:
        if recorded is not None:
            return Normaliser.from_dict(recorded)
    except (TypeError, ValueError):
        pass
    what = "has no normaliser" if recorded is None else "normaliser is broken"
    raise InputError(f"{dataset.root / 'dataset.yaml'}: {what}; run tools/make_seg_dataset.py again")
