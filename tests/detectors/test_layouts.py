"""Files of every layout are recognised, find what is there and have the right gradient; contradictions are refused."""

import re

import numpy as np
import onnx
import pytest
import torch
import torchvision
from onnx import TensorProto, helper
from torch import nn

from regenhance_data.detectors.decoding import DECODERS
from regenhance_data.detectors.diagnosis import why_nothing
from regenhance_data.detectors.layouts import LAYOUTS
from regenhance_data.detectors.loading import load_detector
from regenhance_data.detectors.settings import DetectorSettings
from regenhance_data.errors import InputError
from tests.support.detector_files import ANCHORS, HW, Squares, export, with_metadata, write_layout, write_rows
from tests.support.detectors import BLUE, NAMES, RED, slope_and_gradient, squares, write_detector
from tests.support.files import ROOT

CASES = ROOT.parent / "shared" / "cases"
DATA = ROOT.parent / "shared" / "data"
needs_cases = pytest.mark.skipif(not CASES.is_dir(), reason="the shared cases are not here")
needs_data = pytest.mark.skipif(not (DATA / "detectors").is_dir(), reason="the shared detectors are not here")
BUILT_ELSEWHERE = ("yolox", "final", "segmentation", "fastestdet")
MADE = [name for name in LAYOUTS if name not in BUILT_ELSEWHERE]
WITH_NAMES = {"names": dict(enumerate(NAMES))}
FRAME = squares(*HW, (24, 40, RED), (56, 8, BLUE))
DIM = squares(*HW, *((x, y, tuple(np.array(c) * 5 // 8)) for x, y, c in ((24, 40, RED), (56, 8, BLUE))))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("layouts")
    return {layout: write_layout(folder / f"{layout}.onnx", layout) for layout in MADE}


def load(path, **settings):
    return load_detector(DetectorSettings(f"onnx:{path}", **settings))


def found_in(detector, frame=FRAME):
    (found,) = detector.detect(frame[None])
    order = np.argsort(found.boxes[:, 0])
    return found.boxes[order], [detector.class_names[label] for label in found.labels[order]]


@pytest.mark.parametrize("layout", MADE)
def test_a_file_of_each_layout_finds_what_is_there_with_the_gradients_slope(files, layout):
    detector = load(files[layout], anchors=ANCHORS if layout == "yolov5_maps" else None)
    assert detector.settings.read_as.startswith(f"{LAYOUTS[layout].words}: 2 classes (red, blue)")
    boxes, names = found_in(detector)
    assert names == ["red", "blue"]
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    np.testing.assert_allclose(middles, [[28, 44], [60, 12]], atol=0.05)
    slope, gradient = slope_and_gradient(detector, DIM)
    assert slope == pytest.approx(gradient, rel=0.02)


@pytest.mark.parametrize("layout", MADE)
def test_the_flag_takes_every_layout(files, layout):
    anchors = ANCHORS if layout == "yolov5_maps" else None
    assert len(found_in(load(files[layout], layout=layout, anchors=anchors))[1]) == 2


@pytest.mark.parametrize(
    "layout",
    ["yolov8", "yolov6", "end_to_end", "boxes_scores", "yolov8_maps", "yolov8_seg", "rtdetr", "rtdetr_labels"],
)
def test_a_file_without_names_is_read_by_its_values(tmp_path, layout):
    detector = load(write_layout(tmp_path / "d.onnx", layout, metadata={}))
    assert detector.settings.read_as.startswith(f"{LAYOUTS[layout].words}:")
    assert len(found_in(detector)[1]) == 2


@pytest.mark.parametrize("layout", ["end_to_end", "detr", "corners", "rtdetr_labels"])
def test_labels_without_names_are_numbers_whatever_they_are(tmp_path, layout):
    detector = load(write_layout(tmp_path / "d.onnx", layout, metadata={}, first_label=119))
    assert "class names unknown" in detector.settings.read_as
    assert found_in(detector)[1] == ["class_119", "class_120"]
    assert found_in(load(tmp_path / "d.onnx", classes=("0", "120")))[1] == ["class_120"]


def test_labels_beyond_the_names_are_named_by_their_numbers(tmp_path):
    path = write_layout(tmp_path / "d.onnx", "end_to_end", first_label=1)
    assert "--classes leaves out all 1 detections in 1 frames: class_2" in why_nothing(
        DetectorSettings(f"onnx:{path}", classes=("red",)), squares(*HW, (56, 8, BLUE))[None]
    )


class Labelled(nn.Module):
    """The 300 queries of an RT-DETR, with labels or the scores of two classes; corners: instead of centre and size."""

    def __init__(self, labels=True, corners=False):
        super().__init__()
        self.labels, self.corners = labels, corners

    def forward(self, pixels):
        shares = torch.linspace(0.05, 0.6, 300)[:, None].repeat(1, 4) * torch.tensor([1, 1, 0.3, 0.4])
        if self.corners:
            shares = torch.cat([shares[:, :2], shares[:, :2] + 0.1], 1)
        score = torch.linspace(0.9, 0.1, 300)[:, None] * pixels.mean((1, 2, 3)).clamp(0, 1)
        rows = torch.cat([shares, score, score * 0.5], 1)
        labels = torch.zeros(300, 1) + score.round() * 0
        return (torch.cat([rows[:, :5], labels], 1) if self.labels else rows)[None]


@pytest.mark.parametrize("hw", [(64, 96), (192, 320)])  # of the second, grids at strides 16 and 32 have 300 cells too
@pytest.mark.parametrize("names", [1, 2, 80, None])
def test_labels_of_an_rtdetr_are_no_scores_however_many_classes_and_cells_there_are(tmp_path, hw, names):
    path = export(Labelled().eval(), torch.rand(1, 3, *hw), tmp_path / "d.onnx")
    path = with_metadata(path, {"names": {n: f"n{n}" for n in range(names)}} if names else {})
    detector = load(path)
    assert detector.settings.read_as.startswith(f"RT-DETR of Ultralytics with labels: {names or 'class names unknown'}")
    assert not detector.same_rows
    assert set(detector.detect(np.full((1, *hw, 3), 255, np.uint8))[0].labels) == {0}


def test_the_scores_of_two_classes_are_no_labels(tmp_path):
    path = export(Labelled(labels=False).eval(), torch.rand(1, 3, *HW), tmp_path / "d.onnx")
    assert load(path).settings.read_as.startswith("RT-DETR of Ultralytics: 2 classes")


def test_corners_as_shares_are_not_taken_for_centres_unless_the_flag_says_so(tmp_path):
    path = export(Labelled(corners=True).eval(), torch.rand(1, 3, *HW), tmp_path / "d.onnx")
    with pytest.raises(InputError, match="boxes are corners as shares of the input; export it with corners in pixels"):
        load(path)
    assert load(path, layout="rtdetr_labels").settings.read_as.startswith("RT-DETR of Ultralytics with labels")


def test_what_could_be_two_layouts_without_names_says_so(tmp_path):
    detector = load(write_layout(tmp_path / "d.onnx", "yolox_decoded", metadata={}))
    assert "(if it is yolov8_transposed, give --detector_layout yolov8_transposed)" in detector.settings.read_as


def test_every_layout_has_a_decoder_or_is_segmentation():
    assert {*DECODERS, "segmentation"} == {*LAYOUTS}


def test_the_page_has_the_table_of_layouts():
    page = (ROOT / "docs/detectors.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \| .+ \| (RGB|BGR) 0\.\.(\d+).*\|$", page, re.M)
    wanted = [(row.name, row.words, row.output, row.channel_order, f"{row.white:g}") for row in LAYOUTS.values()]
    assert rows == wanted


@pytest.mark.parametrize("layout", ["yolov8", "yolov8_transposed", "yolov5", "boxes_scores", "yolov8_maps"])
def test_names_that_contradict_the_classes_are_refused_and_the_flag_decides(tmp_path, layout):
    path = write_layout(tmp_path / "d.onnx", layout, metadata={"names": {n: f"n{n}" for n in range(7)}})
    with pytest.raises(InputError, match=r"d.onnx: its output .* has \d class.* names 7 \(n0, .*--detector_layout"):
        load(path)
    assert load(path, layout=layout).class_names == ("class_0", "class_1")


def test_an_angle_is_no_score_whatever_the_names_say(tmp_path):
    class Turned(Squares):
        def _yolov8(self, boxes, scores, nothing, maps):
            wide = boxes * boxes.new_tensor([1, 1, 1, 0.5])
            return torch.cat([wide, scores, nothing + np.pi / 2], 2).transpose(1, 2)

    path = export(Turned("yolov8").eval(), torch.rand(1, 3, *HW), tmp_path / "d.onnx")
    detector = load(path)
    assert "rotated" in detector.settings.read_as
    np.testing.assert_allclose(found_in(detector)[0], [[24, 36, 32, 52], [56, 4, 64, 20]], atol=1e-2)


@pytest.mark.parametrize("task", ["", "detect"])
@pytest.mark.parametrize(("more", "names"), [((), 1), ((0.01,), 2), ((0.0,) * 31, 1)])
def test_a_score_more_than_there_are_names_is_no_angle_and_no_mask(tmp_path, more, names, task):
    metadata = {"names": dict(enumerate("abc"[:names])), **({"task": task} if task else {})}
    path = write_rows(tmp_path / "d.onnx", more, metadata)
    with pytest.raises(InputError, match=f"metadata names {names} .*--detector_layout yolov8 takes"):
        load(path)
    assert len(load(path, layout="yolov8").class_names) == 2 + len(more)


@pytest.mark.parametrize("layout", ["yolox_decoded", "yolov6"])
def test_names_that_leave_a_value_over_prove_an_object_score_whatever_the_task(tmp_path, layout):
    detector = load(write_layout(tmp_path / "d.onnx", layout, metadata={**WITH_NAMES, "task": "detect"}))
    assert detector.settings.read_as.startswith(f"{LAYOUTS[layout].words}: 2 classes")
    assert found_in(detector)[1] == ["red", "blue"]


def test_a_detector_by_its_task_has_no_object_score_that_its_names_do_not_prove(tmp_path):
    path = write_layout(tmp_path / "d.onnx", "yolox_decoded", metadata={"names": {0: "red"}, "task": "detect"})
    with pytest.raises(InputError, match="--detector_layout yolov8_transposed"):
        load(path)
    assert len(found_in(load(path, layout="yolox_decoded"))[1]) == 2


class OneToOne(Squares):
    """The best rows of a YOLO26, whose boxes are inside out where a pixel is above `most`."""

    def __init__(self, most=1.0):
        super().__init__("end_to_end")
        self.most = most

    def forward(self, pixels):
        rows = super().forward(pixels)
        inverted = torch.cat([rows[..., 2:4], rows[..., :2] - 1, rows[..., 4:]], 2)
        return torch.where(pixels.amax() > self.most, inverted, rows)


def test_boxes_that_are_inside_out_for_absurd_pixels_are_corners(tmp_path):
    path = export(OneToOne().eval(), torch.rand(1, 3, *HW), tmp_path / "d.onnx")
    detector = load(with_metadata(path, WITH_NAMES))
    assert detector.settings.read_as.startswith("end-to-end YOLO: 2 classes")
    assert found_in(detector)[1] == ["red", "blue"]


def test_end_to_end_in_the_metadata_or_the_flag_says_that_boxes_are_corners(tmp_path):
    path = export(OneToOne(most=-1.0).eval(), torch.rand(1, 3, *HW), tmp_path / "d.onnx")
    with pytest.raises(InputError, match="its boxes are not two corners each; give --detector_layout end_to_end if"):
        load(path)
    assert load(path, layout="end_to_end").settings.read_as.startswith("end-to-end YOLO")
    assert load(with_metadata(path, {"end2end": True})).settings.read_as.startswith("end-to-end YOLO")


@pytest.mark.parametrize(("task", "more"), [("segment", (-0.5,) * 32), ("pose", (40.0,) * 51)])
def test_end_to_end_rows_with_masks_or_keypoints_are_boxes(tmp_path, task, more):
    metadata = {**WITH_NAMES, "task": task, "end2end": True}
    detector = load(write_rows(tmp_path / "d.onnx", more, metadata, "end_to_end"))
    assert detector.settings.read_as.startswith("end-to-end YOLO: 2 classes")
    assert found_in(detector)[1] == ["red", "blue"]


def test_end_to_end_rows_with_an_angle_are_centres_and_sizes(tmp_path):
    class Turned(Squares):
        def _end_to_end(self, boxes, scores, nothing, maps):
            best, label = scores.max(2, keepdim=True)
            return torch.cat([boxes, best, label.float(), nothing], 2)

    path = export(Turned("end_to_end").eval(), torch.rand(1, 3, *HW), tmp_path / "d.onnx")
    detector = load(with_metadata(path, {**WITH_NAMES, "task": "obb", "end2end": True}), layout="end_to_end")
    boxes, names = found_in(detector)
    assert names == ["red", "blue"]
    np.testing.assert_allclose(boxes, [[20, 36, 36, 52], [52, 4, 68, 20]], atol=0.05)


def test_best_rows_that_all_have_the_same_score_are_not_compared_one_by_one(tmp_path):
    class Saturated(Squares):
        def _end_to_end(self, boxes, scores, nothing, maps):
            bright = torch.cat([one.amax(1, keepdim=True).flatten(2) for one in maps], 2).transpose(1, 2)
            return super()._end_to_end(boxes, 1 - (bright - 7.9).clamp(0, 1).expand(-1, -1, 2) * 0.5, nothing, maps)

    path = export(Saturated("end_to_end").eval(), torch.rand(1, 3, *HW), tmp_path / "d.onnx")
    assert load(path).settings.read_as.startswith("end-to-end YOLO")


@pytest.mark.parametrize(
    ("more", "layout"), [((2.0,), "yolov8_obb"), ((-0.5,) * 32, "yolov8_seg"), ((40.0,) * 6, "yolov8_pose")]
)
def test_a_task_that_contradicts_the_values_is_refused_and_the_flag_decides(tmp_path, more, layout):
    names = {"names": dict(enumerate(NAMES))}
    path = write_rows(tmp_path / "d.onnx", more, {**names, "task": "detect"})
    with pytest.raises(InputError, match=f"its task is detect; give --detector_layout {layout}"):
        load(path)
    assert load(path, layout=layout).class_names == NAMES
    assert load(write_rows(tmp_path / "e.onnx", more, names)).settings.read_as.startswith(LAYOUTS[layout].words)


def test_an_angle_that_stays_in_0_to_1_is_known_by_being_far_from_0_everywhere(tmp_path):
    path = write_rows(tmp_path / "d.onnx", (0.7,), {"names": dict(enumerate(NAMES))})
    assert load(path).settings.read_as.startswith(LAYOUTS["yolov8_obb"].words)


def one_to(size, boxes):
    return boxes / boxes.new_tensor([size[1], size[0]] * 2)


OTHERS = {
    "boxes as shares": (
        lambda boxes, scores, nothing, maps: torch.cat([one_to(HW, boxes), scores], 2).transpose(1, 2),
        "YOLOv8 or YOLO11:",
    ),
    "object scores of 1 in a transposed output": (
        lambda boxes, scores, nothing, maps: torch.cat([boxes, nothing + 1, scores], 2).transpose(1, 2),
        "YOLOv6:",
    ),
    "three outputs": (
        lambda boxes, scores, nothing, maps: (
            torch.cat([boxes[..., :2] - 8, boxes[..., :2] + 8], 2),
            scores.amax(2, keepdim=True),
            scores.argmax(2, keepdim=True).float(),
        ),
        "DETR-like:",
    ),
    "raw maps with scores before their sigmoid": (
        lambda boxes, scores, nothing, maps: tuple(
            torch.cat([one[:, :1] * 0 + torch.eye(16)[1].mul(30).repeat(4)[:, None, None], one], 1) for one in maps
        ),
        "YOLOv8 or YOLO11, raw maps:",
    ),
    "PP-YOLOE's scores": (
        lambda boxes, scores, nothing, maps: (
            torch.cat([boxes[..., :2] - 8, boxes[..., :2] + 8], 2),
            scores.transpose(1, 2),
        ),
        "boxes and scores:",
    ),
    "mmdetection's rows and labels": (
        lambda boxes, scores, nothing, maps: (
            torch.cat([boxes[..., :2] - 8, boxes[..., :2] + 8, scores.amax(2, keepdim=True)], 2),
            scores.argmax(2),
        ),
        "corners, score, label:",
    ),
    "YOLOv4's boxes": (
        lambda boxes, scores, nothing, maps: (
            one_to(HW, torch.cat([boxes[..., :2] - 8, boxes[..., :2] + 8], 2))[:, :, None],
            scores,
        ),
        "boxes and scores:",
    ),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_members_of_the_layouts_serve_too(tmp_path, kind):
    decode, words = OTHERS[kind]

    class Other(Squares):
        def _yolov8(self, *parts):
            return decode(*parts)

    path = export(Other("yolov8").eval(), torch.rand(1, 3, *HW), tmp_path / "d.onnx")
    detector = load(with_metadata(path, WITH_NAMES))
    assert detector.settings.read_as.startswith(words)
    boxes, names = found_in(detector)
    assert names == ["red", "blue"]
    np.testing.assert_allclose((boxes[:, :2] + boxes[:, 2:]) / 2, [[28, 44], [60, 12]], atol=0.05)


REFUSED = {
    "class numbers": (
        lambda boxes, scores, nothing, maps: maps[0].argmax(1),
        r"argmax has no gradient; export it with the scores of all classes \(from PaddleSeg with --output_op none\)",
    ),
    "one map of class numbers": (lambda boxes, scores, nothing, maps: maps[0].argmax(1, keepdim=True), "argmax has no"),
    "raw DETR": (
        lambda boxes, scores, nothing, maps: (one_to(HW, boxes)[:, :50], scores[:, :50].logit(1e-4)),
        "it is a DETR or RF-DETR without its decoding",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_outputs_that_do_not_serve_are_refused_with_what_to_export(tmp_path, kind):
    decode, message = REFUSED[kind]

    class Other(Squares):
        def _yolov8(self, *parts):
            return decode(*parts)

    with pytest.raises(InputError, match=message):
        load(export(Other("yolov8").eval(), torch.rand(1, 3, *HW), tmp_path / "d.onnx"))


@pytest.mark.parametrize("layout", ["segmentation", "yolov8"])
def test_another_task_than_the_kits_is_refused_and_the_flag_decides(tmp_path, layout):
    network = Maps(1) if layout == "segmentation" else Squares(layout)
    path = export(network.eval(), torch.rand(1, 3, *HW), tmp_path / "d.onnx")
    with pytest.raises(InputError, match=r"d.onnx: its metadata says that its task is 'depth', neither detection nor"):
        load(with_metadata(path, {"task": "depth"}))
    assert load(path, layout=layout).settings.read_as.startswith(LAYOUTS[layout].words)


@pytest.mark.parametrize("task", ["detect", "semantic", "object-detection", "instance_segmentation"])
def test_words_for_the_tasks_of_the_kit_are_known(tmp_path, task):
    assert load(write_layout(tmp_path / "d.onnx", "yolov8", metadata={**WITH_NAMES, "task": task}))


def test_corners_in_columns_are_no_centres_and_sizes(tmp_path):
    class Columns(Squares):
        def _yolov8(self, *parts):
            return self._corners_scores(*parts).transpose(1, 2)

    path = export(Columns("yolov8").eval(), torch.rand(1, 3, *HW), tmp_path / "d.onnx")
    detector = load(with_metadata(path, {**WITH_NAMES, "task": "detect"}))
    assert detector.settings.read_as == "corners and scores: 2 classes (red, blue), RGB 0..1, 96x64"
    np.testing.assert_allclose(found_in(detector)[0], [[20, 36, 36, 52], [52, 4, 68, 20]], atol=0.05)


def test_boxes_larger_than_most_centres_are_no_corners(tmp_path):
    class Large(Squares):
        def _yolov8(self, boxes, scores, nothing, maps):
            sizes = boxes.new_tensor([HW[1], HW[0]]).expand_as(boxes[..., 2:])
            return torch.cat([boxes[..., :2], sizes, scores], 2).transpose(1, 2)

    path = export(Large("yolov8").eval(), torch.rand(1, 3, *HW), tmp_path / "d.onnx")
    assert load(with_metadata(path, WITH_NAMES)).settings.read_as.startswith("YOLOv8 or YOLO11:")


def test_raw_maps_need_their_anchors(files):
    with pytest.raises(InputError, match="its anchors are not in the file; give the 18 numbers of --detector_anchors"):
        load(files["yolov5_maps"])
    with pytest.raises(InputError, match="--detector_anchors"):
        load(files["yolov5_maps"], anchors=(-1.0,))


class Maps(nn.Module):
    """Maps of some depths at strides of 8, 16 and 32."""

    def __init__(self, *depths: int) -> None:
        super().__init__()
        self.depths = depths

    def forward(self, pixels):
        pooled = [nn.functional.avg_pool2d(pixels, stride).mean(1, keepdim=True) for stride in (8, 16, 32)]
        made = [one.repeat(1, depth, 1, 1) - 0.5 for depth, one in zip(self.depths, pooled * 3, strict=False)]
        return made[0] if len(made) == 1 else tuple(made)


@pytest.mark.parametrize(
    ("depths", "message"),
    [
        ((85,), "looks like the raw head of a detector of boxes"),
        ((5, 7, 9), "maps of a detector's head; export it with its decoding"),
        ((255, 255, 255), "its anchors are not in the file"),
        ((300,), "at most 256"),
    ],
)
def test_maps_that_are_no_segmentation_are_refused(tmp_path, depths, message):
    path = export(Maps(*depths).eval(), torch.rand(1, 3, *HW), tmp_path / "d.onnx")
    with pytest.raises(InputError, match=message):
        load(path)


def test_a_map_of_classes_must_have_as_many_as_the_file_names(tmp_path):
    path = export(Maps(4).eval(), torch.rand(1, 3, *HW), tmp_path / "d.onnx")
    assert load(path).settings.read_as.startswith("segmentation: 4 classes")
    with pytest.raises(InputError, match="4 classes if it is segmentation, its metadata names 2"):
        load(with_metadata(path, WITH_NAMES))


class Uint8(nn.Module):
    """YOLOv8's layout for pixels of 0..255, of any type; channels_last: [N, H, W, 3]."""

    def __init__(self, channels_last: bool) -> None:
        super().__init__()
        self.channels_last, self.squares = channels_last, Squares("yolov8", 1.0)

    def forward(self, pixels):
        pixels = pixels.permute(0, 3, 1, 2) if self.channels_last else pixels
        return self.squares(pixels.float() / 255)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_pixels_of_0_to_255_and_channels_last_come_from_the_graph(tmp_path, channels_last, dtype):
    pixels = torch.zeros((1, *HW, 3) if channels_last else (1, 3, *HW), dtype=dtype)
    path = export(Uint8(channels_last).eval(), pixels, tmp_path / "d.onnx")
    detector = load(with_metadata(path, WITH_NAMES))
    assert "RGB 0..255, 96x64" in detector.settings.read_as
    assert found_in(detector)[1] == ["red", "blue"]
    slope, gradient = slope_and_gradient(detector, DIM)
    assert slope == pytest.approx(gradient, rel=0.02)


def test_scores_without_a_gradient_are_refused(tmp_path):
    class Counts(Squares):
        def _yolov8(self, boxes, scores, nothing, maps):
            return torch.cat([boxes, (scores > 0.5).float()], 2).transpose(1, 2)

    path = export(Counts("yolov8").eval(), torch.rand(1, 3, *HW), tmp_path / "d.onnx")
    with pytest.raises(InputError, match=r"recognised as YOLOv8 .*, but its scores have no gradient"):
        load(path)


def test_class_scores_without_their_sigmoid_are_refused(tmp_path):
    class Logits(Squares):
        def _yolov8(self, boxes, scores, nothing, maps):
            return torch.cat([boxes, scores * 30 - 15], 2).transpose(1, 2)

    path = export(Logits("yolov8").eval(), torch.rand(1, 3, *HW), tmp_path / "d.onnx")
    for layout in (None, "yolov8"):
        with pytest.raises(InputError, match="export the detector with its sigmoid"):
            load(with_metadata(path, WITH_NAMES), layout=layout)


def test_inputs_that_are_no_frame_are_named(tmp_path):
    class Grey(nn.Module):
        def forward(self, pixels):
            return pixels.flatten(2)

    path = export(Grey().eval(), torch.rand(1, 1, *HW), tmp_path / "grey.onnx")
    with pytest.raises(InputError, match=r"takes .* float \[1, 1, 64, 96\]; a frame has 3 channels"):
        load(path)
    model = onnx.load(write_layout(tmp_path / "d.onnx", "yolov8"))
    model.graph.input.append(helper.make_tensor_value_info("scale_factor", TensorProto.FLOAT, (1, 2)))
    onnx.save(model, tmp_path / "two.onnx")
    with pytest.raises(InputError, match=r"takes .*scale_factor float \[1, 2\], expected one input of pixels"):
        load(tmp_path / "two.onnx")


@pytest.mark.parametrize("shape", [(4, 3, *HW), (2, *HW, 3)])
def test_a_file_for_several_frames_at_once_says_which_batch_to_export(tmp_path, shape):
    class Any(nn.Module):
        def forward(self, pixels):
            return pixels.flatten(2)

    path = export(Any().eval(), torch.rand(shape), tmp_path / "d.onnx")
    with pytest.raises(InputError, match=rf"d.onnx: takes .*, {shape[0]} frames at once; export it with batch=1$"):
        load(path)


def test_a_file_with_nms_that_does_not_run_says_to_export_it_without(tmp_path):
    class Suppressed(Squares):
        def _yolov8(self, boxes, scores, nothing, maps):
            rows = self._corners(boxes, scores, nothing, maps)[0]
            likely = rows[rows[:, 4] > 0.9]
            kept = torchvision.ops.nms(likely[:, :4], likely[:, 4], 0.5)
            return likely[kept][:3].reshape(1, 3, 6)  # of noise, it finds none

    path = export(Suppressed("yolov8").eval(), torch.ones(1, 3, *HW), tmp_path / "d.onnx")
    with pytest.raises(InputError, match=r"does not run with an input of 1x3x64x96 \(.*\); export it without NMS$"):
        load(path)


def test_a_wrong_class_is_refused_before_the_network_is_converted(tmp_path):
    model = onnx.load(write_layout(tmp_path / "d.onnx", "yolov8"))
    model.graph.node[0].op_type = "NoSuchOperator"
    onnx.save(model, tmp_path / "d.onnx")
    with pytest.raises(InputError, match="--classes cat: the detector has no such class; it has red, blue"):
        load(tmp_path / "d.onnx", classes=("cat",))


@pytest.mark.parametrize("layout", ["yolov8_transposed", "end_to_end", "yolov8_seg", "ultraface"])
def test_a_traced_file_has_the_same_layouts(tmp_path, layout):
    torch.jit.trace(Squares(layout).eval(), torch.rand(1, 3, *HW)).save(tmp_path / "d.pt")
    detector = load_detector(DetectorSettings(f"torchscript:{tmp_path / 'd.pt'}", input_size=HW, layout=layout))
    assert detector.settings.read_as.startswith(LAYOUTS[layout].words)
    assert len(found_in(detector)[0]) == 2


def test_the_words_do_not_change_with_the_place_of_the_file(tmp_path):
    first, second = (write_detector(tmp_path / name, "yolox", HW) for name in ("a.onnx", "b.onnx"))
    assert (
        load(first).settings.read_as
        == load(second).settings.read_as
        == ("YOLOX: 2 classes (red, blue), BGR 0..255, any size")
    )


@needs_cases
@pytest.mark.parametrize(
    "case",
    ["01_opset18_20", "02_fp16_input", "03_obb", "04_v8_transposed", "05_yolov6", "06_deepstream", "08_uint8_input"],
)
def test_the_shared_cases_serve(case):
    for path in sorted((CASES / case).glob("*.onnx")):
        detector = load(path)
        assert len(detector.class_names) in (2, 3)
        clear = detector.tensor(squares(192, 320, (32, 40, RED))[None]).requires_grad_()
        assert torch.autograd.grad(detector.accuracy(clear).value, clear, allow_unused=True)[0] is not None


@needs_data
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "words"), [("fastestdet", "FastestDet"), ("nanodet_m_416", "NanoDet"), ("ultraface_rfb_320", "SSD or")]
)
def test_the_shared_detectors_serve(name, words):
    assert load(DATA / "detectors" / f"{name}.onnx").settings.read_as.startswith(words)
