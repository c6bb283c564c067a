"""Predict the importance of pictures with a trained network, and draw it."""

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from regenhance_data.console import progress
from regenhance_data.dataset.label_png import label_png
from regenhance_data.dataset.levels import expected_level
from regenhance_data.grid import MacroblockGrid
from regenhance_data.io.files import atomic_write, write_bytes
from regenhance_data.io.images import encode_jpeg, read_image
from regenhance_data.predictors.paddleseg.batches import prepared_image
from regenhance_data.predictors.paddleseg.config import PredictorConfig
from regenhance_data.predictors.paddleseg.validation import level_probabilities
from regenhance_data.regions.overlay import draw_heatmap, draw_outline
from regenhance_data.regions.selection import select_macroblocks

DRAWN_SCALE = 3  # the size of an HR frame, to see what is in a macroblock
JPEG_QUALITY = 90


def predict(
    model: Any,
    config: PredictorConfig,
    pictures: dict[str, Path],
    save_dir: Path,
    mb_size: int,
    budget: float,
    colours: np.ndarray | None = None,
) -> None:
    """Predict each of the pictures {name: file}.

    Writes pseudo_color_prediction/<name>.png (a label of the likeliest levels), added_prediction/<name>.jpg (importance
    as a heatmap, the macroblocks of `budget` outlined), and predictions.npz: <name> → float32 [rows, cols] in [0, 1].
    colours: uint8 [levels, 3] of the labels.
    """
    model.eval()

    def predictions() -> Iterator[tuple[str, np.ndarray]]:
        for name, path in progress(pictures.items(), "predict", len(pictures)):
            image = read_image(path)
            height, width = image.shape[:2]
            grid = MacroblockGrid(height, width, mb_size)
            prepared = prepared_image(image, config, "val_dataset")
            probabilities = level_probabilities(model, paddle.to_tensor(prepared[None]), config, grid)[0]
            importance = expected_level(probabilities, axis=0).astype(np.float32)
            levels = label_png(probabilities.argmax(0).astype(np.uint8), grid, config.num_classes, colours)
            write_bytes(save_dir / "pseudo_color_prediction" / f"{name}.png", levels)
            large = grid.scaled(DRAWN_SCALE)
            drawn = draw_heatmap(image.repeat(DRAWN_SCALE, 0).repeat(DRAWN_SCALE, 1), importance, large)
            drawn = draw_outline(drawn, select_macroblocks(importance, budget), large)
            write_bytes(save_dir / "added_prediction" / f"{name}.jpg", encode_jpeg(drawn, JPEG_QUALITY))
            yield name, importance

    _write_arrays(save_dir / "predictions.npz", dict(predictions()))


def _write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Like np.savez_compressed, which refuses an array named 'file'."""
    with atomic_write(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
