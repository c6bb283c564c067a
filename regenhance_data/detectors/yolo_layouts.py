"""The table of YOLO output layouts (cells: those of the grids at strides 8, 16 and 32; C: classes).

| layout | output | boxes | score | input |
| --- | --- | --- | --- | --- |
| yolox | [N, cells, 5 + C] | centre = (xy + cell) · stride, size = exp(wh) · stride | object · class | BGR 0..255 |
| yolox_decoded | [N, cells, 5 + C] | centre and size in pixels | object · class | BGR 0..255 |
| yolov5 | [N, 3 · cells, 5 + C] | centre and size in pixels | object · class | RGB 0..1 |
| yolov8 | [N, 4 + C, cells] | centre and size in pixels | class | RGB 0..1 |

Sources: Megvii YOLOX (yolox/models/yolo_head.py, decode_outputs; decoded with --decode_in_inference), Ultralytics
YOLOv5 (models/yolo.py) and YOLOv8 (nn/modules/head.py).
"""

from dataclasses import dataclass

STRIDES = (8, 16, 32)


@dataclass(frozen=True)
class Layout:
    """A row of the table above. anchors: boxes per cell; white: the input's value of a white pixel; has_object: an
    object score precedes the class scores; boxes_last: boxes are the last axis; in_pixels: boxes are decoded.
    """

    channel_order: str
    white: float
    anchors: int = 1
    has_object: bool = True
    boxes_last: bool = False
    in_pixels: bool = True


LAYOUTS = {
    "yolox": Layout("BGR", 255, in_pixels=False),
    "yolox_decoded": Layout("BGR", 255),
    "yolov5": Layout("RGB", 1, anchors=3),
    "yolov8": Layout("RGB", 1, has_object=False, boxes_last=True),
}
