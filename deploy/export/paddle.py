"""PaddleSeg networks: their ONNX, and the importance that Paddle itself computes."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from deploy.export.graph import Normalisation
from deploy.export.matrices import pooling_matrix
from regenhance_data import console
from regenhance_data.dataset.levels import expected_level
from regenhance_data.errors import InputError, one_line
from regenhance_data.grid import MacroblockGrid
from regenhance_data.io.leftovers import temporary_folder

if TYPE_CHECKING:
    from regenhance_data.predictors.paddleseg.config import PredictorConfig


def normalisation(config: "PredictorConfig") -> Normalisation:
    """The normalisation of the config's val_dataset. InputError for any other transform."""
    steps = config.transforms("val_dataset").transforms
    if len(steps) != 1 or type(steps[0]).__name__ != "Normalize":
        names = ", ".join(type(step).__name__ for step in steps) or "nothing"
        raise InputError(f"{config.path}: val_dataset transforms are {names}; an export takes one Normalize alone")
    return Normalisation(*(np.broadcast_to(v, 3).tolist() for v in (steps[0].mean, steps[0].std)))


def built_network(config: "PredictorConfig", weights: Path | None) -> Any:
    """The config's network with the weights of a .pdparams file; None: random ones, the same at every call."""
    import paddle

    from regenhance_data.predictors.paddleseg.checkpoints import load_trained_weights

    paddle.seed(0)  # exports of random weights in different precisions are of one network
    model = config.build("model")
    if weights:
        load_trained_weights(model, weights)
    return model


def paddle_network_onnx(model: Any, batch_size: int | None, input_hw: tuple[int, int]) -> onnx.ModelProto:
    """The network alone, [N, 3, H, W] → logits [N, K, H, W]; batch_size None leaves N open.

    InputError where it does not take frames of this size, or Paddle2ONNX cannot convert it.
    """
    # Paddle2ONNX folds constants with Polygraphy, which would install packages with pip.
    os.environ["POLYGRAPHY_AUTOINSTALL_DEPS"] = "0"
    import paddle2onnx

    from regenhance_data.predictors.paddleseg.inference_model import GRAPH, PARAMETERS, save_graph

    with temporary_folder() as folder, _others_write_to(folder):
        graph, weights, made = (f"{folder}/{name}" for name in (GRAPH, PARAMETERS, "network.onnx"))
        try:
            with console.quiet_unless_it_fails(), _exact_adaptive_pooling():
                save_graph(model, folder, [batch_size, 3, *input_hw])
                paddle2onnx.export(graph, weights, made, opset_version=17)
        except (OSError, InputError):
            raise
        except Exception as error:  # Paddle's and Paddle2ONNX's own errors have no base in common
            reason = one_line(error, from_end=True)
            raise InputError(f"Paddle2ONNX cannot convert this network ({reason}); its output is above") from None
        return onnx.load(made)


@contextmanager
def _others_write_to(folder: Path) -> Iterator[None]:
    """Let Paddle2ONNX make its own temporary files in `folder`, so that none of them outlives it."""
    from paddle2onnx import convert

    before, tempfile.tempdir, convert.PADDLE2ONNX_EXPORT_TEMP_DIR = tempfile.tempdir, str(folder), None
    try:
        yield
    finally:
        tempfile.tempdir = before


@contextmanager
def _exact_adaptive_pooling() -> Iterator[None]:
    """Adaptive average pooling as two matrix products.

    ONNX has no such operator. Paddle2ONNX uses windows of one size instead, which is wrong wherever the bins do not
    divide the size: with the pyramids of MobileSeg and PP-LiteSeg, importance was off by 0.02.
    """
    import paddle
    import paddle.nn.functional as F

    real = F.adaptive_avg_pool2d

    def pooled(x: Any, output_size: Any, data_format: str = "NCHW", name: str | None = None) -> Any:
        if data_format != "NCHW":
            return real(x, output_size, data_format, name)
        rows, cols = (output_size, output_size) if isinstance(output_size, int) else output_size
        height, width = x.shape[2:]
        down = paddle.to_tensor(pooling_matrix(height, rows or height), dtype=x.dtype)
        across = paddle.to_tensor(pooling_matrix(width, cols or width), dtype=x.dtype)
        return paddle.matmul(paddle.matmul(down, x), across, transpose_y=True)

    F.adaptive_avg_pool2d = pooled
    try:
        yield
    finally:
        F.adaptive_avg_pool2d = real


@contextmanager
def _recorded_interpolations() -> Iterator[list[tuple[Any, Any, dict[str, Any]]]]:
    """(input, output, keywords) of every F.interpolate that runs inside, in order."""
    import paddle.nn.functional as F

    real, calls = F.interpolate, []

    def recording(x: Any, *args: Any, **keywords: Any) -> Any:
        output = real(x, *args, **keywords)
        calls.append((x, output, keywords))
        return output

    F.interpolate = recording
    try:
        yield calls
    finally:
        F.interpolate = real


def paddle_importance(
    model: Any, config: "PredictorConfig", frames: np.ndarray, grid: MacroblockGrid
) -> dict[str, np.ndarray]:
    """The importance that Paddle computes, by head: uint8 RGB [n, H, W, 3] → float [n, rows, cols] each.

    The macroblock head's reference is computed without its matrices: the expected level of the network's
    low-resolution logits, upsampled to the full frame by Paddle, averaged over each macroblock. It is empty for a
    network that does not end in an upsampling. Both are the same for a network that outputs macroblocks. InputError
    for a network on another grid.
    """
    import paddle
    import paddle.nn.functional as F

    from regenhance_data.predictors.paddleseg.batches import prepared_image
    from regenhance_data.predictors.paddleseg.validation import refuse_another_grid

    def level_of(logits: Any) -> np.ndarray:
        return expected_level(F.softmax(logits, axis=1).numpy())

    model.eval()
    blocks, pixels = [], []
    for frame in frames:
        image = prepared_image(frame, config, "val_dataset")
        height, width = image.shape[1:]
        seen = MacroblockGrid(height, width, grid.mb_size // config.shrink)
        with paddle.no_grad(), _recorded_interpolations() as calls:
            logits = model(paddle.to_tensor(image[None]))[0]
        with paddle.no_grad():
            level = level_of(logits)[0]
            if level.shape == grid.shape:
                pixels.append(level)
                blocks.append(level)
                continue
            refuse_another_grid(config.path, level.shape, image.shape[1:], grid)
            pixels.append(seen.mean(level))
            if calls and calls[-1][1] is logits:
                low, _, keywords = calls[-1]
                align = keywords.get("align_corners", False)
                low_level = paddle.to_tensor(level_of(low)[:, None])
                full = F.interpolate(low_level, image.shape[1:], mode="bilinear", align_corners=align)
                blocks.append(seen.mean(full[0, 0].numpy()))
    return {"macroblock": np.array(blocks), "pixels": np.stack(pixels)}
