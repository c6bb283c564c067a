"""Predict the importance of pictures with a trained network, and draw it."""

import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from regenhance_data import __version__
from regenhance_data.console import progress
from regenhance_data.dataset.label_png import label_png
from regenhance_data.dataset.levels import expected_level
from regenhance_data.grid import MacroblockGrid
from regenhance_data.io.files import atomic_write, digest, sha256, write_bytes
from regenhance_data.io.images import encode_jpeg, read_image
from regenhance_data.io.journal import go_on, journal
from regenhance_data.predictors.paddleseg.batches import prepared_image
from regenhance_data.predictors.paddleseg.config import PredictorConfig
from regenhance_data.predictors.paddleseg.validation import level_probabilities
from regenhance_data.regions.overlay import draw_heatmap, draw_outline
from regenhance_data.regions.selection import select_macroblocks

DRAWN_SCALE = 3  # the size of an HR frame, to see what is in a macroblock
JPEG_QUALITY = 90


def predict(
    model: Any,
    weights: Path,
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
    weights: the file that `model` has them from. colours: uint8 [levels, 3] of the labels. What an interrupted run with
    the same weights and settings wrote is kept. InputError where another run writes to `save_dir`.
    """
    model.eval()
    folders = (save_dir / "pseudo_color_prediction", save_dir / "added_prediction")

    def predictions(missing: Sequence[str]) -> Iterator[np.ndarray]:
        for name in progress(missing, "predict", len(missing), "picture"):
            image = read_image(pictures[name])
            height, width = image.shape[:2]
            grid = MacroblockGrid(height, width, mb_size)
            prepared = prepared_image(image, config, "val_dataset")
            probabilities = level_probabilities(model, paddle.to_tensor(prepared[None]), config, grid)[0]
            importance = expected_level(probabilities, axis=0).astype(np.float32)
            levels = label_png(probabilities.argmax(0).astype(np.uint8), grid, config.num_classes, colours)
            write_bytes(folders[0] / f"{name}.png", levels)
            large = grid.scaled(DRAWN_SCALE)
            drawn = draw_heatmap(image.repeat(DRAWN_SCALE, 0).repeat(DRAWN_SCALE, 1), importance, large)
            drawn = draw_outline(drawn, select_macroblocks(importance, budget), large)
            write_bytes(folders[1] / f"{name}.jpg", encode_jpeg(drawn, JPEG_QUALITY))
            yield importance

    given = [mb_size, budget, None if colours is None else colours.tolist(), config.shrink, paddle.get_device()]
    same = digest([__version__, sha256(weights), repr(config.seg.dic), given])
    items = {_key(name, path): name for name, path in pictures.items()}
    with journal(save_dir, "predict", same, _to_json, _from_json) as kept:
        for key, name in items.items():
            if not ((folders[0] / f"{name}.png").is_file() and (folders[1] / f"{name}.jpg").is_file()):
                kept.known.pop(key, None)
        found = go_on(kept, items, predictions, "picture")
        _write_arrays(save_dir / "predictions.npz", {name: found[key] for key, name in items.items()})


def _key(name: str, path: Path) -> str:
    """The name of a picture in the journal; that of a picture that has changed is another."""
    about = path.stat()
    return f"{name} {about.st_size} {about.st_mtime_ns}"


def _to_json(importance: np.ndarray) -> Any:
    return [importance.shape, importance.tobytes().hex()]


def _from_json(value: Any) -> np.ndarray:
    shape, content = value
    return np.frombuffer(bytes.fromhex(content), np.float32).reshape(shape)


def _write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Like np.savez_compressed, which refuses an array named 'file'."""
    with atomic_write(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
