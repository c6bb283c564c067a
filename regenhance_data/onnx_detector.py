"""YOLO-style detectors from ONNX files, made differentiable through onnx2torch.

Three layouts of the output are known (cells: those of the grids at strides 8, 16 and 32; C: classes):

| layout | output | boxes | score | input |
| --- | --- | --- | --- | --- |
| yolox | [1, cells, 5 + C] | centre = (xy + cell) · stride, size = exp(wh) · stride | object · class | BGR 0..255 |
| yolov5 | [1, 3 · cells, 5 + C] | centre and size in pixels | object · class | RGB 0..1 |
| yolov8 | [1, 4 + C, cells] | centre and size in pixels | class | RGB 0..1 |

Sources: Megvii YOLOX (yolox/models/yolo_head.py, decode_outputs), Ultralytics YOLOv5 (models/yolo.py) and YOLOv8
(nn/modules/head.py).
"""

import ast
import warnings
from functools import lru_cache
from pathlib import Path

import onnx
import torch
from onnx2torch import convert
from torch.nn import functional

from regenhance_data.cli import InputError
from regenhance_data.detectors import BoxDetector, Dense, DetectorSettings

STRIDES = (8, 16, 32)
PAD = 114.0  # the grey all three families were trained with
FREE_HW = (640, 640)  # where the graph leaves its input size open: what all three families were trained at
INPUT_OF = {"yolox": ("BGR", 255.0), "yolov5": ("RGB", 1.0), "yolov8": ("RGB", 1.0)}
COCO = """person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,stop sign,
parking meter,bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,backpack,umbrella,handbag,tie,suitcase,
frisbee,skis,snowboard,sports ball,kite,baseball bat,baseball glove,skateboard,surfboard,tennis racket,bottle,
wine glass,cup,fork,knife,spoon,bowl,banana,apple,sandwich,orange,broccoli,carrot,hot dog,pizza,donut,cake,chair,
couch,potted plant,bed,dining table,toilet,tv,laptop,mouse,remote,keyboard,cell phone,microwave,oven,toaster,sink,
refrigerator,book,clock,vase,scissors,teddy bear,hair drier,toothbrush"""
COCO_NAMES = tuple(COCO.replace("\n", "").split(","))


class OnnxDetector(BoxDetector):
    """A YOLO-style detector from an ONNX file; its layout, and which sizes and batches it can do, is found out by
    running it. InputError for a file that is missing, no ONNX, or no detector of a layout above.
    """

    def __init__(self, path: Path, settings: DetectorSettings) -> None:
        super().__init__(settings)
        model = _loaded(path)
        self._network = _converted(model, path).to(self.device).to(memory_format=torch.channels_last)
        own_hw = settings.input_size or _static_hw(model) or FREE_HW
        generator = torch.Generator().manual_seed(0)
        pair = torch.rand(2, 3, *own_hw, generator=generator).to(self.device)
        # onnx2torch's own indexing, of no use to who runs a command
        warnings.filterwarnings("ignore", "Using a non-tuple sequence for multidimensional indexing")
        # A graph with its batch or its size baked in fails at another, or puts out other numbers.
        with torch.inference_mode():
            first, second = (self._attempt(frame[None]) for frame in pair)
            both = self._attempt(pair)
            probe_hw = own_hw[0] + 32, own_hw[1] + 64
            probe = self._attempt(torch.rand(1, 3, *probe_hw, generator=generator).to(self.device))

        if first is None or second is None:
            raise InputError(f"{path}: is no detector: it gives no three-dimensional output for {_input(own_hw)}")
        self._layout = _recognised(first, own_hw, settings.layout, path)
        order, white = INPUT_OF[self._layout]
        self._is_bgr = (settings.channel_order or order) == "BGR"
        self._gain = (settings.pixel_range or white) / 255
        singly = torch.cat([first, second])
        self._batches = both is not None and both.shape == singly.shape and torch.allclose(both, singly, atol=1e-3)
        any_size = settings.input_size is None and probe is not None and _fits(self._layout, probe, probe_hw)
        self._fixed_hw = None if any_size else own_hw
        classes = _classes(self._layout, first)
        if classes.min() < 0 or classes.max() > 1:
            raise InputError(f"{path}: its class scores leave 0..1; export the detector with its sigmoid")
        self.class_names = _class_names(model, classes.shape[-1])

    def dense(self, frames: torch.Tensor, proposals: None = None) -> Dense:
        height, width = frames.shape[-2:]
        if self._fixed_hw is None:
            target_hw = -(-height // 32) * 32, -(-width // 32) * 32
            ratio = 1.0
        else:
            target_hw = self._fixed_hw
            ratio = min(target_hw[0] / height, target_hw[1] / width)
        inner_hw = round(height * ratio), round(width * ratio)
        if inner_hw != (height, width):
            frames = functional.interpolate(frames, inner_hw, mode="bilinear", align_corners=False)
        frames = functional.pad(frames, (0, target_hw[1] - inner_hw[1], 0, target_hw[0] - inner_hw[0]), value=PAD)
        if self._is_bgr:
            frames = frames.flip(1)
        frames = frames * self._gain if self._gain != 1 else frames
        raw = self._run(frames) if self._batches else torch.cat([self._run(frame[None]) for frame in frames])
        boxes = _boxes(self._layout, raw.detach(), target_hw)
        boxes = boxes * boxes.new_tensor([width / inner_hw[1], height / inner_hw[0]] * 2)
        scores, labels = _classes(self._layout, raw).max(-1)
        if self._layout != "yolov8":
            scores = scores * raw[..., 4]
        return Dense(boxes, scores, labels)

    def _run(self, frames: torch.Tensor) -> torch.Tensor:
        """The first output of rank 3."""
        output = self._network(frames)
        outputs = [output] if isinstance(output, torch.Tensor) else output
        return next(o for o in outputs if o.ndim == 3)

    def _attempt(self, frames: torch.Tensor) -> torch.Tensor | None:
        try:
            return self._run(frames)
        except (RuntimeError, ValueError, IndexError, TypeError, AssertionError, NotImplementedError, StopIteration):
            return None


def _loaded(path: Path) -> onnx.ModelProto:
    if not path.is_file():
        raise InputError(f"{path}: no such file; give --detector onnx:PATH a detector's ONNX file")
    try:
        return onnx.load(path)
    except Exception as error:  # protobuf's and onnx's own, and whatever a broken file brings about
        raise InputError(f"{path}: is no ONNX file ({' '.join(str(error).split())[:80]})") from None


def _converted(model: onnx.ModelProto, path: Path) -> torch.nn.Module:
    try:
        network = convert(model)
    except Exception as error:  # onnx2torch raises many kinds
        reason = " ".join(str(error).split())[:100]
        kind = type(error).__name__
        raise InputError(f"{path}: onnx2torch cannot make it differentiable ({kind}: {reason})") from None
    return network.eval().requires_grad_(False)


def _static_hw(model: onnx.ModelProto) -> tuple[int, int] | None:
    """(height, width) of the input where the graph fixes them."""
    weights = {tensor.name for tensor in model.graph.initializer}
    for value in model.graph.input:
        dims = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        if value.name not in weights and len(dims) == 4 and min(dims[2:]) > 0:
            return dims[2], dims[3]
    return None


def _cells(hw: tuple[int, int]) -> int:
    return sum((hw[0] // stride) * (hw[1] // stride) for stride in STRIDES)


def _fits(layout: str, output: torch.Tensor, hw: tuple[int, int]) -> bool:
    """Whether the network's output at an input of `hw` has the shape of the layout."""
    _, rows, cols = output.shape
    if layout == "yolov8":
        return cols == _cells(hw) and rows > 4
    return rows == _cells(hw) * (3 if layout == "yolov5" else 1) and cols > 5


def _input(hw: tuple[int, int]) -> str:
    return f"an input of 1x3x{hw[0]}x{hw[1]}"


def _recognised(output: torch.Tensor, hw: tuple[int, int], layout: str | None, path: Path) -> str:
    candidates = [layout] if layout else list(INPUT_OF)
    for candidate in candidates:
        if _fits(candidate, output, hw):
            return candidate
    raise InputError(
        f"{path}: is no detector of layout {', '.join(candidates)}: it puts out {list(output.shape)} for {_input(hw)}; "
        "export the detector alone, without NMS"
    )


def _classes(layout: str, raw: torch.Tensor) -> torch.Tensor:
    """The class scores [N, A, C] in the network's output."""
    return raw[:, 4:].transpose(1, 2) if layout == "yolov8" else raw[..., 5:]


def _boxes(layout: str, raw: torch.Tensor, hw: tuple[int, int]) -> torch.Tensor:
    """The boxes [N, A, 4] (x1, y1, x2, y2 in pixels of the network's input) in its output."""
    if layout == "yolov8":
        raw = raw.transpose(1, 2)
    centre, size = raw[..., :2], raw[..., 2:4]
    if layout == "yolox":
        cells, strides = _yolox_grid(hw, raw.device)
        centre, size = (centre + cells) * strides, size.exp() * strides
    return torch.cat([centre - size / 2, centre + size / 2], dim=-1)


@lru_cache(maxsize=4)
def _yolox_grid(hw: tuple[int, int], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """The column and row [A, 2] and the stride [A, 1] of each cell."""
    cells, strides = [], []
    for stride in STRIDES:
        rows, cols = torch.meshgrid(torch.arange(hw[0] // stride), torch.arange(hw[1] // stride), indexing="ij")
        cells.append(torch.stack([cols, rows], dim=-1).reshape(-1, 2))
        strides.append(torch.full((rows.numel(), 1), stride))
    return torch.cat(cells).to(device), torch.cat(strides).to(device)


def _class_names(model: onnx.ModelProto, count: int) -> tuple[str, ...]:
    """From the metadata that Ultralytics writes ("{0: 'person', ...}"), else COCO's for 80 classes, else numbers."""
    for entry in model.metadata_props:
        if entry.key == "names":
            try:
                names = ast.literal_eval(entry.value)
                return tuple(str(names[number]) for number in range(count))
            except (ValueError, SyntaxError, LookupError, TypeError, MemoryError, RecursionError):
                break
    return COCO_NAMES if count == len(COCO_NAMES) else tuple(f"class_{number}" for number in range(count))
