"""AccModel as ONNX."""

from pathlib import Path
from typing import TYPE_CHECKING

import onnx

from deploy.export.frames import compared_frames
from deploy.export.graph import Normalisation, predictor_graph
from deploy.export.parity import described, write_compared
from regenhance_data.dataset.folder import Dataset
from regenhance_data.grid import MacroblockGrid

if TYPE_CHECKING:
    from regenhance_data.predictors.accmodel.network import AccModel


def export_accmodel(model: "AccModel", dataset: Dataset, path: Path, weights: Path | None = None) -> None:
    """Write AccModel as a predictor for the dataset's frame size, compared with PyTorch (see `write_compared`).

    weights: file of its trained weights; None: random ones.
    """
    from regenhance_data.predictors.accmodel.network import MEAN, STD, accmodel_onnx
    from regenhance_data.predictors.accmodel.settings import NAME

    frames = compared_frames(dataset, None)
    height, width = frames.shape[1:3]
    grid = MacroblockGrid(height, width, model.mb_size)
    importance = model.importance(frames)
    about = described(NAME, "macroblock", 2, grid, dataset, weights=weights)
    network = onnx.load_model_from_string(accmodel_onnx(model.network, (height, width)))
    graph = predictor_graph(network, Normalisation([MEAN] * 3, [STD] * 3), "macroblock", grid, about)
    reference = {"macroblock": importance, "pixels": importance}
    write_compared(path, graph, about, frames, reference, "PyTorch")
