"""Which folder holds the HR frames."""

from regenhance_data.dataset.folder import HR_FOLDERS, Dataset
from regenhance_data.errors import InputError


def hr_folder(dataset: Dataset, wanted: str | None = None) -> str:
    """The folder of clear frames: the wanted one, else hr_images where there is one, else sr_images."""
    if wanted not in HR_FOLDERS:
        wanted = next((name for name in HR_FOLDERS if (dataset.root / name).is_dir()), "sr_images")
    if not (dataset.root / wanted).is_dir():
        how = "tools/extract.py --keep_hr" if wanted == "hr_images" else "tools/super_resolve.py --data"
        raise InputError(f"{dataset.root / wanted}: no such folder; make it with {how}")
    return wanted


def recorded_hr_folder(dataset: Dataset) -> str | None:
    """The folder that the importance files were made from, None where dataset.yaml does not say."""
    recorded = dataset.info.get("importance")
    return recorded.get("clear") if isinstance(recorded, dict) else None
