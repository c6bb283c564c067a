"""Predictors as deploy/export_onnx.py writes them, whose importance is known without running them."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from deploy.artifacts.engine import Sidecar, sidecar_path
from deploy.export.graph import Normalisation, predictor_graph
from deploy.serving.triton import ANY
from regenhance_data.grid import MacroblockGrid
from regenhance_data.io.files import sha256, write_json
from tests.support.detectors import save_onnx

HEIGHT, WIDTH = 40, 52
GRID = MacroblockGrid(HEIGHT, WIDTH)
NORMALISATION = Normalisation([0.5, 0.4, 0.3], [0.5, 0.6, 0.7])


def write_predictor(path: Path, hw: tuple[int, int], scale: int = 2) -> Path:
    """A predictor whose importance is the brightness of the macroblock."""
    nodes = [
        helper.make_node("Cast", ["frames"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats"], ["grey"], axes=[3], keepdims=0),
        helper.make_node("Unsqueeze", ["grey", "one"], ["channel"]),
        helper.make_node("AveragePool", ["channel"], ["means"], kernel_shape=[16, 16], strides=[16, 16], ceil_mode=1),
        helper.make_node("Squeeze", ["means", "one"], ["bytes"]),
        helper.make_node("Div", ["bytes", "white"], ["importance"]),
    ]
    frames = helper.make_tensor_value_info("frames", TensorProto.UINT8, (1, *hw, 3))
    importance = helper.make_tensor_value_info("importance", TensorProto.FLOAT, (1, -(-hw[0] // 16), -(-hw[1] // 16)))
    metadata = {"kit": "regenhance-kit", "head": "macroblock", "mb_size": "16", "scale": str(scale), "levels": "10"}
    metadata["precision"] = "fp32"
    constants = {"one": np.array([1]), "white": np.array(255, np.float32)}
    save_onnx(path, nodes, constants, frames, importance, metadata)
    return path


def red_network(height, width, upsamples=True):
    """Two levels at a quarter of the size: the logits are 0 and the mean red of 4x4 pixels."""
    low = [1, 2, height // 4, width // 4]
    weight = np.zeros((2, 3, 4, 4), np.float32)
    weight[1, 0] = 1 / 16
    nodes = [helper.make_node("Conv", ["x", "w"], ["low"], strides=[4, 4])]
    if upsamples:
        size = np.array([1, 2, height, width])
        nodes.append(helper.make_node("Resize", ["low", "", "", "size"], ["y"], mode="linear"))
        constants = [onnx.numpy_helper.from_array(weight, "w"), onnx.numpy_helper.from_array(size, "size")]
        out = [1, 2, height, width]
    else:
        nodes.append(helper.make_node("Relu", ["low"], ["y"]))
        constants, out = [onnx.numpy_helper.from_array(weight, "w")], low
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, height, width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, out)],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def metadata_of(name: str, head: str, grid: MacroblockGrid) -> dict[str, str]:
    """What the export writes into a predictor."""
    said = {"kit": "regenhance-kit", "model": name, "head": head, "levels": 2, "mb_size": grid.mb_size, "scale": 3}
    said |= {"input_height": grid.height, "input_width": grid.width, "precision": "fp32"}
    return {key: str(value) for key, value in said.items()}


def write_red_predictor(
    path: Path, batch: int = 1, head: str = "macroblock", hw: tuple[int, int] = (HEIGHT, WIDTH)
) -> Path:
    """A predictor of two levels by the mean red; `batch`: ANY for a dynamic one."""
    grid = MacroblockGrid(*hw)
    made = red_network(*hw)
    for port in (*made.graph.input, *made.graph.output):
        first = port.type.tensor_type.shape.dim[0]
        if batch == ANY:
            first.dim_param = "N"
        else:
            first.dim_value = batch
    model = predictor_graph(made, NORMALISATION, head, grid, metadata_of(path.stem, head, grid))
    onnx.save(model, str(path))
    return path


def write_engine(path: Path, **changes: object) -> Path:
    path.write_bytes(b"an engine")
    metadata = metadata_of(path.stem, "macroblock", GRID)
    about = Sidecar("0", sha256(path), "11.4", "a GPU", "fp32", 1, 4, 16, [HEIGHT, WIDTH], metadata)
    write_json(sidecar_path(path), {**asdict(about), **changes})
    return path
