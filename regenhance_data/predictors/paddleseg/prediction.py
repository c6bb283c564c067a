"""What a trained predictor says of pictures: levels, a drawing of them, and the numbers."""

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from regenhance_data.console import progress
from regenhance_data.dataset.label_png import label_png
from regenhance_data.dataset.levels import expected_level
from regenhance_data.errors import InputError
from regenhance_data.grid import MacroblockGrid
from regenhance_data.io.files import write_bytes, written_whole
from regenhance_data.io.images import encode_jpeg, read_image
from regenhance_data.predictors.paddleseg.batches import prepared_image
from regenhance_data.predictors.paddleseg.config import PredictorConfig
from regenhance_data.predictors.paddleseg.validation import predict_levels
from regenhance_data.regions.overlay import draw_heatmap, draw_outline
from regenhance_data.regions.selection import select_macroblocks

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
DRAWN_SCALE = 3  # as large as a clear frame, so that an eye can tell what is in a macroblock
JPEG_QUALITY = 90


def pictures_at(path: Path, besides: Path) -> dict[str, Path]:
    """{name without suffix: file} of the picture at `path`, or of those in that folder and below, by name.

    What is in the folder `besides` does not count. InputError where there is none, two of one name, or a name that no
    archive can have.
    """
    if path.is_file():
        return {path.stem: path}
    found: dict[str, Path] = {}
    for file in sorted(path.rglob("*")):
        is_drawn = besides.resolve() in file.resolve().parents
        if file.suffix.lower() in PICTURES and not file.name.startswith(".") and not is_drawn:
            name = file.relative_to(path).with_suffix("").as_posix()
            if not name.isprintable():
                raise InputError(f"{name.encode(errors='backslashreplace')!r}: is no name in UTF-8; give it another")
            if name in found:
                raise InputError(f"{file}: there is {found[name].name} as well; give one of them another name")
            found[name] = file
    if not found:
        raise InputError(f"{path}: no picture there; give --image_path a picture or a folder of them")
    return found


def predict(model: Any, config: PredictorConfig, image_path: Path, save_dir: Path, mb_size: int, budget: float) -> int:
    """Predict each picture at `image_path`; returns how many there were.

    Writes pseudo_color_prediction/<name>.png (a label of the likeliest levels), added_prediction/<name>.jpg (importance
    as heat, the macroblocks of `budget` outlined), and predictions.npz: <name> → float32 [rows, cols] in [0, 1].
    """
    if save_dir.resolve() == image_path.resolve():
        raise InputError(f"{save_dir}: has the pictures; give --save_dir another folder for what is drawn of them")
    pictures = pictures_at(image_path, save_dir)
    model.eval()

    def predictions() -> Iterator[tuple[str, np.ndarray]]:
        for name, path in progress(pictures.items(), "predict", len(pictures)):
            image = read_image(path)
            height, width = image.shape[:2]
            grid = MacroblockGrid(height, width, mb_size)
            prepared = prepared_image(image, config, "val_dataset")
            shares = predict_levels(model, paddle.to_tensor(prepared[None]), config, grid)[0]
            importance = expected_level(shares, axis=0).astype(np.float32)
            levels = label_png(shares.argmax(0).astype(np.uint8), grid, config.num_classes)
            write_bytes(save_dir / "pseudo_color_prediction" / f"{name}.png", levels)
            large = grid.scaled(DRAWN_SCALE)
            drawn = draw_heatmap(image.repeat(DRAWN_SCALE, 0).repeat(DRAWN_SCALE, 1), importance, large)
            drawn = draw_outline(drawn, select_macroblocks(importance, budget), large)
            write_bytes(save_dir / "added_prediction" / f"{name}.jpg", encode_jpeg(drawn, JPEG_QUALITY))
            yield name, importance

    found = dict(predictions())
    _write_arrays(save_dir / "predictions.npz", found)
    return len(found)


def _write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """As np.savez_compressed does, which cannot have an array named 'file'."""
    with written_whole(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
