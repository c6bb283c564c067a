"""A map as a predictor: a graph that gives the same importance for every frame."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from deploy.contract import DYNAMIC, FLAT, INPUT, OUTPUT
from deploy.export.frames import compared_frames
from deploy.export.parity import described, write_compared
from regenhance_data.dataset.folder import Dataset
from regenhance_data.defaults import LEVELS
from regenhance_data.errors import InputError
from regenhance_data.grid import MacroblockGrid
from regenhance_data.importance.static_map import STATIC, static_maps


def export_static_map(dataset: Dataset, clip: str, path: Path) -> None:
    """Write the static map of a clip, divided by its greatest value, as a predictor of its frames (see
    `write_compared`). InputError where no training frame has importance, and where it is 0 in all of them.
    """
    maps = static_maps(dataset, [clip])
    if not maps:
        of_clip = f" of the clip {clip}, or of one of its size," if clip else ""
        raise InputError(
            f"{dataset.root}: no training frame{of_clip} has importance, of which the static map is the mean; run "
            "tools/make_importance.py and tools/make_seg_dataset.py"
        )
    grid, most = dataset.grid(clip), maps[clip].max()
    if not most > 0:
        raise InputError(
            f"{dataset.root}: importance of the clip {clip} is 0 in every training frame, so its static map chooses "
            f"nothing; give another --clip, or --flat {grid.height} {grid.width} for a map that says so"
        )
    importance = (maps[clip] / most).astype(np.float32)
    about = {**described(STATIC, "macroblock", dataset.levels, grid, dataset), "weights": "static map"}
    _write(path, importance, grid, about, compared_frames(dataset, (grid.height, grid.width)))


def export_flat_map(hw: tuple[int, int], scale: int, path: Path) -> None:
    """Write a predictor to which all macroblocks of LR frames of a size (height, width) are alike: what was found last
    says alone what is enhanced.
    """
    grid = MacroblockGrid(*hw)
    about = {**described("flat", "macroblock", LEVELS, grid, None), "scale": scale, "weights": FLAT}
    _write(path, np.zeros(grid.shape, np.float32), grid, about, compared_frames(None, hw))


def _write(path: Path, importance: np.ndarray, grid: MacroblockGrid, about: dict[str, Any], frames: np.ndarray) -> None:
    reference = np.repeat(importance[None], len(frames), 0)
    graph = _graph(importance, grid)
    helper.set_model_props(graph, {key: str(value) for key, value in about.items()})
    write_compared(path, graph, about, frames, {"macroblock": reference, "pixels": reference}, "the map")


def _graph(importance: np.ndarray, grid: MacroblockGrid) -> onnx.ModelProto:
    """uint8 [N, H, W, 3] → the importance [rows, cols], N times; of the frames only the number is read."""
    constants = {"map": importance[None], "first": np.array([0]), "shape": np.array(importance.shape)}
    nodes = [
        helper.make_node("Cast", [INPUT], ["floats"], to=TensorProto.FLOAT),  # TensorRT reads uint8 no other way
        helper.make_node("Shape", ["floats"], ["sizes"]),
        helper.make_node("Gather", ["sizes", "first"], ["count"]),
        helper.make_node("Concat", ["count", "shape"], ["all"], axis=0),
        helper.make_node("Expand", ["map", "all"], [OUTPUT]),
    ]
    whole = helper.make_graph(
        nodes,
        "static_map",
        [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, [DYNAMIC, grid.height, grid.width, 3])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [DYNAMIC, *importance.shape])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(whole, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
