"""Write a trained network for Paddle Inference, in the form of PaddleSeg's tools/export.py."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import paddle

from regenhance_data.defaults import MB_SIZE, SCALE
from regenhance_data.errors import InputError
from regenhance_data.io.files import write_yaml
from regenhance_data.io.leftovers import temporary_folder
from regenhance_data.predictors.paddleseg.config import PredictorConfig

OUTPUT_OPS = {"argmax": "int32", "softmax": "float32", "none": "float32"}  # and the dtype of their output
GRAPH, PARAMETERS, DEPLOY = "model.json", "model.pdiparams", "deploy.yaml"


class _Output(paddle.nn.Layer):
    """The first output of a network, followed by the output operator."""

    def __init__(self, model: Any, output_op: str) -> None:
        super().__init__()
        self.model, self._output_op = model, output_op

    def forward(self, x: Any) -> Any:
        logits = self.model(x)[0]
        if self._output_op == "argmax":
            return paddle.argmax(logits, axis=1, dtype="int32")
        return paddle.nn.functional.softmax(logits, axis=1) if self._output_op == "softmax" else logits


def save_graph(model: Any, folder: Path, input_shape: Sequence[int | None], output_op: str = "none") -> None:
    """Write GRAPH and PARAMETERS into `folder`. input_shape: [N, 3, H, W], None for a dynamic dimension.

    InputError where Paddle wrote no whole graph.
    """
    layer = _Output(model, output_op)
    layer.eval()
    spec = paddle.static.InputSpec(list(input_shape), "float32", "x")
    paddle.jit.save(layer, str(folder / "model"), input_spec=[spec])
    try:
        json.loads((folder / GRAPH).read_bytes())
    except ValueError:  # Paddle does not notice it, and Paddle2ONNX ends the process on half a graph
        raise InputError(
            f"{folder / GRAPH}: Paddle wrote no whole graph, most likely for lack of room on the disk or in the quota; "
            "free some space and run this again"
        ) from None


def save_inference_model(
    model: Any,
    config: PredictorConfig,
    save_dir: Path,
    input_shape: Sequence[int | None],
    output_op: str,
    mb_size: int = MB_SIZE,
    scale: int = SCALE,
    weights: str = "trained",
) -> None:
    """Write the network and deploy.yaml into `save_dir`, where PaddleSeg's deploy/python/infer.py reads them.

    argmax: int32 [N, H, W] levels; softmax and none: float32 [N, K, H, W] probabilities and logits. A network on the
    grid has rows and columns instead of H and W. mb_size, scale, weights: for deploy/trt_infer.py of this kit, in a
    mapping that PaddleSeg ignores.
    """
    save_dir.mkdir(parents=True, exist_ok=True)
    with temporary_folder(save_dir) as made:
        save_graph(model, made, input_shape, output_op)
        (save_dir / DEPLOY).unlink(
            missing_ok=True
        )  # written last: where it exists, the files that it names are complete
        for name in (GRAPH, PARAMETERS):
            os.replace(made / name, save_dir / name)
    described = {
        "model": GRAPH,
        "params": PARAMETERS,
        "transforms": config.seg.dic["val_dataset"].get("transforms"),
        "input_shape": list(input_shape),
        "output_op": output_op,
        "output_dtype": OUTPUT_OPS[output_op],
    }
    kit = {"model": config.name, "levels": config.num_classes, "mb_size": mb_size, "scale": scale, "weights": weights}
    write_yaml(save_dir / DEPLOY, {"Deploy": described, "Kit": kit})
