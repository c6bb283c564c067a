"""The table of output layouts of detectors in files. A new layout is one row here, its recogniser in recognition.py and
its decoder in decoding.py; docs/detectors.md shows the table to users.

cells: those of the grids at the strides of the network (STRIDES); C: classes; K: any number of boxes.
"""

from dataclasses import dataclass

# of the grids whose cells are the rows of an output, in this order; P2 and P6 networks have one grid more
STRIDES = ((8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32), (16, 32))
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean and standard deviation of RGB 0..1
_NONE = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Layout:
    """A row of the table.

    words: what the `read as` line calls it. output: its shape. pixels: the input's channel order, the value of a white
    pixel, mean and standard deviation of RGB 0..1. same_rows: a row of the output is the same cell in every frame;
    elsewhere a detection is followed by its overlap.
    """

    name: str
    words: str
    output: str
    channel_order: str = "RGB"
    white: float = 1.0
    mean_std: tuple[tuple[float, ...], tuple[float, ...]] = _NONE
    same_rows: bool = True


_ROWS = (
    Layout("yolox", "YOLOX", "[N, cells, 5 + C], xy from the cell and log sizes", "BGR", 255),
    Layout("yolox_decoded", "YOLOX, decoded", "[N, cells, 5 + C], xywh in pixels", "BGR", 255),
    Layout("yolov5", "YOLOv5 or YOLOv7", "[N, 3 · cells, 5 + C], xywh in pixels"),
    Layout("yolov5_seg", "YOLOv5 with masks", "[N, 3 · cells, 5 + C + P] and masks [N, P, h, w]"),
    Layout("yolov5_maps", "YOLOv5 or YOLOv7, raw maps", "[N, 3, h, w, 5 + C] or [N, 3 · (5 + C), h, w] a stride"),
    Layout("yolov6", "YOLOv6", "[N, cells, 5 + C], object scores all 1"),
    Layout("yolov8", "YOLOv8 or YOLO11", "[N, 4 + C, cells], xywh in pixels"),
    Layout("yolov8_transposed", "YOLOv8 or YOLO11, transposed", "[N, cells, 4 + C], xywh in pixels"),
    Layout("yolov8_obb", "YOLOv8 or YOLO11 with rotated boxes", "[N, 4 + C + 1, cells], the angle last"),
    Layout("yolov8_seg", "YOLOv8 or YOLO11 with masks", "[N, 4 + C + P, cells] and masks [N, P, h, w]"),
    Layout("yolov8_pose", "YOLOv8 or YOLO11 with keypoints", "[N, 4 + C + keypoints, cells]"),
    Layout(
        "yolov8_maps", "YOLOv8 or YOLO11, raw maps", "[N, 64, h, w] and [N, C, h, w], or [N, 64 + C, h, w], a stride"
    ),
    Layout("corners", "corners, score, label", "[N, cells, 6]: x1, y1, x2, y2, score, label"),
    Layout("corners_scores", "corners and scores", "[N, cells, 4 + C]: x1, y1, x2, y2, class scores"),
    Layout("end_to_end", "end-to-end YOLO", "[N, K, 6]: x1, y1, x2, y2, score, label, and more", same_rows=False),
    Layout("rtdetr", "RT-DETR of Ultralytics", "[N, K, 4 + C], xywh as shares of the input", same_rows=False),
    Layout(
        "rtdetr_labels",
        "RT-DETR of Ultralytics with labels",
        "[N, K, 6]: xywh as shares of the input, score, label",
        same_rows=False,
    ),
    Layout("detr", "DETR-like", "labels [N, K], boxes [N, K, 4] in corners, scores [N, K]", same_rows=False),
    Layout("boxes_scores", "boxes and scores", "boxes [N, K, 4] in corners, scores [N, K, C]"),
    Layout(
        "ultraface",
        "SSD or UltraFace",
        "boxes [N, K, 4] as shares of the input, scores [N, K, 1 + C] that sum to 1, the first of nothing",
        mean_std=((127 / 255,) * 3, (128 / 255,) * 3),
    ),
    Layout(
        "nanodet",
        "NanoDet",
        "[N, cells, C] and [N, cells, 4 · bins] a stride, or [N, cells, C + 4 · bins]",
        "BGR",
        mean_std=IMAGENET,
    ),
    Layout("fastestdet", "FastestDet", "[N, 5 + C, h, w], one map", "BGR"),
    Layout("final", "final detections", "dicts of boxes, labels and scores, after NMS", same_rows=False),
    Layout("segmentation", "segmentation", "[N, C, h, w], logits or probabilities", mean_std=IMAGENET),
)
LAYOUTS = {layout.name: layout for layout in _ROWS}
