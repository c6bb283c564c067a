"""ONNX files of deploy/export_onnx.py, read without trusting them."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import onnx

from deploy.contract import INPUT, OUTPUT, is_described
from regenhance_data import KIT
from regenhance_data.errors import InputError
from regenhance_data.io.files import others_like
from regenhance_data.io.onnx_files import Demand, control_flow, demand_of, read_model


def shape_of(value: onnx.ValueInfoProto) -> list[int]:
    """The sizes of a tensor; 0 for a size that is not fixed."""
    return [dim.dim_value for dim in value.type.tensor_type.shape.dim]


def metadata_of(model: onnx.ModelProto) -> dict[str, str]:
    """What a file says of itself."""
    return {entry.key: entry.value for entry in model.metadata_props}


def refuse_overwriting_others(path: Path) -> None:
    """InputError where an export would take the place of a file that this kit has not exported."""
    is_ours = not path.exists()
    with suppress(InputError):  # it is no ONNX file
        is_ours = is_ours or metadata_of(read_model(path)[1]).get("kit") == KIT
    if not is_ours:
        raise InputError(f"{path}: is no export of this kit, and would be overwritten; give another --save_dir")


@dataclass(frozen=True)
class OnnxPredictor:
    """A predictor's file. content: its bytes. model: parsed. metadata: what the export wrote.

    is_moderate: memory and time of a run are known and moderate. batch: frames that the graph takes at once, 0 for any
    number. input_hw: (height, width) of a frame.
    """

    path: Path
    content: bytes
    model: onnx.ModelProto
    metadata: dict[str, str]
    is_moderate: bool

    @property
    def batch(self) -> int:
        return shape_of(self.model.graph.input[0])[0]

    @property
    def input_hw(self) -> tuple[int, int]:
        _, height, width, _ = shape_of(self.model.graph.input[0])
        return height, width


def read_onnx(path: Path) -> OnnxPredictor:
    """Read a predictor's ONNX file. InputError for a file that is not a predictor of this kit."""
    if not path.is_file():
        raise InputError(f"{path}: no such predictor{others_like(path)}; make one with deploy/export_onnx.py")
    content, model = read_model(path)
    metadata = metadata_of(model)
    ports = [(value.name, value.type.tensor_type.elem_type) for value in (*model.graph.input, *model.graph.output)]
    shape = shape_of(model.graph.input[0]) if model.graph.input else []
    if (
        ports != [(INPUT, onnx.TensorProto.UINT8), (OUTPUT, onnx.TensorProto.FLOAT)]
        or len(shape) != 4
        or shape[0] < 0
        or min(shape[1:]) < 1
        or shape[3] != 3
        or not is_described(metadata)
    ):
        raise InputError(f"{path}: is not a predictor of this kit; make one with deploy/export_onnx.py")
    return OnnxPredictor(path, content, model, metadata, _checked_demand(path, model).is_known)


def _checked_demand(path: Path, model: onnx.ModelProto) -> Demand:
    """What running it takes. InputError for a graph that is broken, may run for ever or asks for too much."""
    flow = control_flow(model)
    if flow:
        raise InputError(f"{path}: has {flow}, which no predictor has, since it may run for ever; export it again")
    if model.graph.sparse_initializer:
        raise InputError(f"{path}: has sparse weights, which no predictor has; export it again")
    demand = demand_of(model)
    if demand.problem:
        raise InputError(f"{path}: {demand.problem}, more than any predictor; export it again")
    return demand
