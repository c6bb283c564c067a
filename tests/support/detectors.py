"""Detectors as small ONNX graphs that find coloured 8×8 squares: their right output is known without running them.
torchvision's models with random weights whose scores vary; the finite difference that a gradient is compared with.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from regenhance_data.detectors.layouts import LAYOUTS

STRIDES = (8, 16, 32)
RED, BLUE = (255, 0, 0), (0, 0, 255)
NAMES = ("red", "blue")
SSD, LRASPP = "ssdlite320_mobilenet_v3_large", "lraspp_mobilenet_v3_large"


def write_detector(path: Path, layout: str, hw: tuple[int, int], any_batch: bool = False, names: bool = True) -> Path:
    """Two classes, red and blue squares; each cell's box is two strides wide around the cell's middle.

    A yolox graph runs at any size. The others have the boxes of `hw` baked in, as exported grids have.
    """
    order, white = LAYOUTS[layout].channel_order, LAYOUTS[layout].white
    red, blue = (2, 0) if order == "BGR" else (0, 2)
    # logits 20 · colour − 12: 0.9997 for a full square, 0.05 for the grey of the padding, 0.001 for a quarter square
    weights = np.zeros((3, 3, 1, 1), np.float32)
    weights[0, [red, blue]] = weights[1, red] = weights[2, blue] = 20 / white
    kept_or_one = 0 if any_batch else 1  # 0: the batch of the input, as Reshape has it
    constants = {
        "weights": weights,
        "bias": np.full(3, -12, np.float32),
        "shape3": np.array([kept_or_one, 3, -1]),
        "shape4": np.array([kept_or_one, 4, -1]),
        "box_weights": np.zeros((4, 3, 1, 1), np.float32),
        "box_bias": np.array([0.5, 0.5, np.log(2), np.log(2)], np.float32),
    }
    nodes = []
    for stride in STRIDES:
        pool = {"kernel_shape": [stride, stride], "strides": [stride, stride]}
        nodes += [
            helper.make_node("AveragePool", ["images"], [f"pool{stride}"], **pool),
            helper.make_node("Conv", [f"pool{stride}", "weights", "bias"], [f"logits{stride}"]),
            helper.make_node("Sigmoid", [f"logits{stride}"], [f"map{stride}"]),
            helper.make_node("Reshape", [f"map{stride}", "shape3"], [f"scores{stride}"]),
            helper.make_node("Conv", [f"pool{stride}", "box_weights", "box_bias"], [f"box_map{stride}"]),
            helper.make_node("Reshape", [f"box_map{stride}", "shape4"], [f"raw_boxes{stride}"]),
        ]
    nodes += [
        helper.make_node("Concat", [f"scores{s}" for s in STRIDES], ["scores"], axis=2),
        helper.make_node("Concat", [f"raw_boxes{s}" for s in STRIDES], ["raw_boxes"], axis=2),
    ]
    if layout == "yolox":
        nodes += [helper.make_node("Concat", ["raw_boxes", "scores"], ["both"], axis=1)]
    else:
        constants |= {"boxes": cell_boxes(hw).T[None], "none": np.zeros((1, 4, 1), np.float32)}
        nodes += [
            helper.make_node("Mul", ["raw_boxes", "none"], ["nothing"]),
            helper.make_node("Add", ["nothing", "boxes"], ["pixel_boxes"]),
            helper.make_node("Concat", ["pixel_boxes", "scores"], ["both"], axis=1),
        ]
    if layout == "yolov8":
        constants |= {"kept": np.array([0, 1, 2, 3, 5, 6])}  # it has no object score
        nodes += [helper.make_node("Gather", ["both", "kept"], ["output"], axis=1)]
    elif layout == "yolov5":
        nodes += [
            helper.make_node("Concat", ["both"] * 3, ["anchors"], axis=2),
            helper.make_node("Transpose", ["anchors"], ["output"], perm=[0, 2, 1]),
        ]
    else:
        nodes += [helper.make_node("Transpose", ["both"], ["output"], perm=[0, 2, 1])]
    batch = "batch" if any_batch else 1
    save_graph(path, nodes, constants, (batch, 3, *hw), {"names": str(dict(enumerate(NAMES)))} if names else {})
    return path


def cell_boxes(hw: tuple[int, int]) -> np.ndarray:
    """Centre and size in pixels of each cell's box, float32 [cells, 4]."""
    boxes = [
        (stride * (col + 0.5), stride * (row + 0.5), 2 * stride, 2 * stride)
        for stride in STRIDES
        for row in range(-(-hw[0] // stride))
        for col in range(-(-hw[1] // stride))
    ]
    return np.array(boxes, np.float32)


def save_graph(path: Path, nodes: list, constants: dict[str, np.ndarray], shape: tuple, metadata: dict) -> None:
    """An ONNX file with one float input `images` of `shape` and one output `output`."""
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)
    save_onnx(
        path, nodes, constants, images, helper.make_tensor_value_info("output", TensorProto.FLOAT, None), metadata
    )


def save_onnx(path: Path, nodes: list, constants: dict[str, np.ndarray], given, made, metadata: dict[str, str]) -> None:
    """An ONNX file of the nodes from the input `given` to the output `made`."""
    weights = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "tiny", [given], [made], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    helper.set_model_props(model, metadata)
    onnx.save(model, path)


def squares(height: int, width: int, *places: tuple[int, int, tuple[int, int, int]]) -> np.ndarray:
    """A black frame uint8 [height, width, 3] with 8×8 squares at (x, y) of a colour."""
    frame = np.zeros((height, width, 3), np.uint8)
    for x, y, colour in places:
        frame[y : y + 8, x : x + 8] = colour
    return frame


def own_model(name: str, **options: object):
    """torchvision's model of three classes with random weights, in evaluation mode."""
    import torchvision

    return torchvision.models.get_model(name, weights=None, weights_backbone=None, num_classes=3, **options).eval()


def state_of(name: str) -> dict:
    """A state dict whose activations neither vanish nor explode, and whose scores vary."""
    import torch

    torch.manual_seed(0)
    network = own_model(name)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the statistics of this one batch
    network.train()
    with torch.no_grad():
        features = network.backbone(torch.randn(4, 3, 128, 128))
        if name in (SSD, LRASPP):
            (network.head if name == SSD else network.classifier)(list(features.values()) if name == SSD else features)
        for part, module in network.named_modules():
            if part.endswith(("cls_logits", "cls_score")):
                module.weight.mul_(8)
            if part.endswith("bbox_reg"):
                module.bias.fill_(1.0)  # else most boxes of FCOS are empty
    return network.state_dict()


@contextmanager
def doubles() -> Iterator[None]:
    """Finite differences of deep networks need more digits than float32 has."""
    import torch

    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


def slope_and_gradient(detector, frame: np.ndarray, step: float = 0.1, dtype: str = "float32") -> tuple[float, float]:
    """The slope of Acc along its gradient at a frame uint8 [H, W, 3]: by finite differences, and by the gradient."""
    import torch

    clear = detector.tensor(frame[None]).to(getattr(torch, dtype)).requires_grad_()
    objective = detector.accuracy(clear)
    assert objective.detections > 0
    (gradient,) = torch.autograd.grad(objective.value, clear)
    direction = gradient / gradient.abs().max()
    with torch.no_grad():
        same, more, less = objective.at(torch.cat([clear, clear + step * direction, clear - step * direction]))
    np.testing.assert_allclose(same.cpu(), objective.value.detach().cpu(), rtol=1e-5)
    return float((more - less) / (2 * step)), float((gradient * direction).sum())


def write_segmenter(path: Path, form: str = "logits") -> Path:
    """Classes nothing, red and blue (or, of the form 'one', red alone) of each 4×4 pixels, at any size."""
    weights, bias = 8 * np.eye(3, dtype=np.float32)[[1, 0, 2]][..., None, None], np.array([3, 0, 0], np.float32)
    weights[0] = 0
    if form == "one":
        weights, bias = weights[1:2], np.array([-3], np.float32)
    nodes = [
        helper.make_node("AveragePool", ["images"], ["means"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Conv", ["means", "weights", "bias"], ["output" if form != "probabilities" else "logits"]),
    ]
    nodes += [helper.make_node("Softmax", ["logits"], ["output"], axis=1)] if form == "probabilities" else []
    names = {} if form == "one" else {"names": "{0: 'nothing', 1: 'red', 2: 'blue'}"}
    save_graph(path, nodes, {"weights": weights, "bias": bias}, ("batch", 3, 64, 96), names)
    return path
