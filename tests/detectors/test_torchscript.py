"""TorchScript files: a traced network in a YOLO layout, torchvision's scripted detectors, and files to refuse."""

import json
import zipfile

import numpy as np
import pytest
import torch
from torch.nn import functional

from regenhance_data.detectors.class_names import names_from
from regenhance_data.detectors.loading import detector_record, load_detector
from regenhance_data.detectors.settings import DetectorSettings
from regenhance_data.errors import InputError
from tests.support.detectors import (
    BLUE,
    NAMES,
    RED,
    SSD,
    cell_boxes,
    doubles,
    own_model,
    slope_and_gradient,
    squares,
    state_of,
)

HW = (64, 96)
DIM = [(x, y, tuple(np.array(colour) * 5 // 8)) for x, y, colour in ((24, 40, RED), (56, 8, BLUE))]


class Squares(torch.nn.Module):
    """Finds red and blue squares: the layout of YOLOv8, its boxes baked in for one size."""

    def __init__(self, hw=HW):
        super().__init__()
        self.colours = torch.nn.Conv2d(3, 2, 1)
        with torch.no_grad():
            self.colours.weight.copy_(20.0 * torch.eye(3)[[0, 2]][..., None, None])
            self.colours.bias.fill_(-12)
        self.register_buffer("boxes", torch.from_numpy(cell_boxes(hw)).T[None])

    def forward(self, frames):
        pooled = [functional.avg_pool2d(frames, stride, ceil_mode=True) for stride in (8, 16, 32)]
        maps = [self.colours(one).flatten(2) for one in pooled]
        return torch.cat([self.boxes.expand(frames.shape[0], -1, -1), torch.cat(maps, 2).sigmoid()], 1)


class Writes(torch.nn.Module):
    """A program that leaves the tensors: it writes a file."""

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        torch.save(frames, "stolen")
        return frames


@pytest.fixture(scope="module")
def traced(tmp_path_factory):
    path = tmp_path_factory.mktemp("torchscript") / "squares.torchscript"
    config = json.dumps({"names": dict(enumerate(NAMES))})
    module = torch.jit.trace(Squares().eval(), torch.rand(1, 3, *HW))
    torch.jit.save(module, path, _extra_files={"config.txt": config})
    return path


def write_ssd(path, frame):
    """torchvision's SSDlite as a file; returns its 20 best detections in a frame and a score just below theirs."""
    network = own_model(SSD, score_thresh=0.01)
    network.load_state_dict(state_of(SSD))
    torch.jit.script(network).save(path)
    with torch.no_grad():
        (own,) = network([torch.from_numpy(frame).permute(2, 0, 1) / 255])
    return {key: value[:20].numpy() for key, value in own.items()}, float(own["scores"][19:21].mean())


def load(path, **settings):
    return load_detector(DetectorSettings(f"torchscript:{path}", **settings))


def noise():
    return np.random.default_rng(0).integers(0, 255, (90, 120, 3), dtype=np.uint8)


def test_a_traced_yolo_finds_what_is_there_and_brings_its_names(traced):
    detector = load(traced, input_size=HW)
    frames = np.stack([squares(64, 96, (24, 40, RED), (56, 8, BLUE)), squares(64, 96)])
    first, second = detector.detect(frames)
    order = np.argsort(first.boxes[:, 0])
    np.testing.assert_allclose(first.boxes[order], [[20, 36, 36, 52], [52, 4, 68, 20]], atol=1e-3)
    assert [detector.class_names[label] for label in first.labels[order]] == list(NAMES)
    assert len(second.scores) == 0
    assert len(detector_record(detector.settings)["sha256"]) == 64


def test_the_gradient_of_a_traced_yolo_is_its_slope(traced):
    slope, gradient = slope_and_gradient(load(traced, input_size=HW), squares(64, 96, *DIM))
    assert slope == pytest.approx(gradient, rel=0.02)


def test_a_traced_graph_of_another_size_asks_for_its_size(traced):
    said = r"1x3x320x320 \(Sizes of tensors must match [^()]*\); give its size with --detector_input_size"
    with pytest.raises(InputError, match=said):
        load(traced)


def test_a_traced_graph_runs_at_the_size_that_its_file_says(tmp_path):
    path = tmp_path / "d.pt"
    module = torch.jit.trace(Squares().eval(), torch.rand(1, 3, *HW))
    torch.jit.save(module, path, _extra_files={"config.txt": json.dumps({"imgsz": HW})})
    assert load(path).settings.read_as.endswith("96x64")
    for wrong in ([-1, 64], [64, 10**9], [64], 640, ["64", "96"], [64.0, 96.0]):
        torch.jit.save(module, path, _extra_files={"config.txt": json.dumps({"imgsz": wrong})})
        with pytest.raises(InputError, match="give its size with --detector_input_size"):
            load(path)


def test_a_traced_graph_may_have_sides_that_no_stride_divides(tmp_path):
    torch.jit.trace(Squares((60, 100)).eval(), torch.rand(1, 3, 60, 100)).save(tmp_path / "d.pt")
    frame = squares(60, 100, (24, 40, RED)).repeat(2, 0).repeat(2, 1)
    (found,) = load(tmp_path / "d.pt", input_size=(60, 100)).detect(frame[None])
    np.testing.assert_allclose(found.boxes, [[40, 72, 72, 104]], atol=1e-3)


def test_a_network_with_nms_that_does_not_run_says_to_export_it_without(tmp_path):
    module = torch.jit.trace(Squares().eval(), torch.rand(1, 3, *HW))
    torch.jit.save(module, tmp_path / "d.pt", _extra_files={"config.txt": json.dumps({"args": {"nms": True}})})
    with pytest.raises(InputError, match=r"does not run with .*; export it without NMS$"):
        load(tmp_path / "d.pt")


@pytest.mark.slow
def test_scripted_final_detections_are_what_the_network_finds(tmp_path):
    own, threshold = write_ssd(tmp_path / "ssd.pt", noise())
    detector = load(tmp_path / "ssd.pt", score_threshold=threshold, max_box_area=1.0, iou_threshold=1.0)
    (found,) = detector.detect(noise()[None])
    np.testing.assert_allclose(found.scores, own["scores"], rtol=1e-4)
    np.testing.assert_allclose(found.boxes, own["boxes"], atol=0.02)
    np.testing.assert_array_equal(found.labels, own["labels"])


@pytest.mark.slow
def test_scripted_final_detections_are_followed_to_other_frames_with_the_gradients_slope(tmp_path):
    with doubles():
        _, threshold = write_ssd(tmp_path / "ssd.pt", noise())
        detector = load(tmp_path / "ssd.pt", score_threshold=threshold, max_box_area=1.0, iou_threshold=1.0)
        slope, gradient = slope_and_gradient(detector, noise(), 1e-5, "float64")
        clear = detector.tensor(noise()[None]).double()
        objective = detector.accuracy(clear.requires_grad_())
        with torch.no_grad():
            elsewhere = objective.at(torch.full_like(clear, 90))
    assert slope == pytest.approx(gradient, rel=0.02)
    assert float(elsewhere) < float(objective.value.detach())


def test_files_that_are_no_torchscript_or_reach_outside_of_tensors_are_refused(tmp_path, traced):
    (tmp_path / "empty.pt").touch()
    (tmp_path / "text.pt").write_text("no archive")
    (tmp_path / "cut.pt").write_bytes(traced.read_bytes()[:-200])
    torch.save(Squares().state_dict(), tmp_path / "weights.pt")
    torch.jit.script(Writes()).save(tmp_path / "writes.pt")
    said = {"empty": "is empty", "missing": "no such file", "writes": r"its code calls \S*save"}
    for name in ("missing", "empty", "text", "cut", "weights", "writes"):
        with pytest.raises(InputError, match=f"{name}.pt: .*{said.get(name, 'is not a TorchScript file')}"):
            load(tmp_path / f"{name}.pt")


def test_a_torchscript_file_with_a_broken_part_is_refused(tmp_path, traced):
    with zipfile.ZipFile(traced) as archive, zipfile.ZipFile(tmp_path / "broken.pt", "w") as broken:
        for name in archive.namelist():
            broken.writestr(name, b"broken" if name.endswith("data.pkl") else archive.read(name))
    with pytest.raises(InputError, match="PyTorch cannot load this TorchScript file"):
        load(tmp_path / "broken.pt")
    content = bytearray(traced.read_bytes())
    content[content.index(traced.stem.encode() + b"/data/0") + 200] ^= 1  # a bit of the weights; PyTorch does not look
    (tmp_path / "broken.pt").write_bytes(content)
    with pytest.raises(InputError, match=r"broken.pt: is damaged in '\w+/data/0'; export or copy it again"):
        load(tmp_path / "broken.pt")


@pytest.mark.parametrize(
    "code",
    [
        "torch . \\\n save(x, 'ran')",
        "(torch  # this\n  .save)(x, 'ran')",
        "ops.image.write_file('ran', x)",
        "ops.aten.from_file('ran')",
        "t = torch\n    t.save(x, 'ran')",
        "o = [ops]",
        "o = ops.image",
        "o = getattr(torch.ops, 'image')",
        "torch.classes.a.b()",
    ],
)
def test_code_that_reaches_outside_of_tensors_is_found_however_it_is_written(tmp_path, traced, code):
    with zipfile.ZipFile(traced) as archive, zipfile.ZipFile(tmp_path / "evil.pt", "w") as evil:
        for name in archive.namelist():
            more = f"\n    {code}\n".encode() if name.endswith(".py") else b""
            evil.writestr(name, archive.read(name) + more)
    with pytest.raises(InputError, match="its code calls"):
        load(tmp_path / "evil.pt", input_size=HW)


class FirstAlone(torch.nn.Module):
    """Final detections of the first frame, whatever else is in the batch: a box as bright as its top left pixel."""

    def forward(self, frames: torch.Tensor) -> dict[str, torch.Tensor]:
        return {
            "boxes": torch.tensor([[2.0, 2.0, 12.0, 12.0]]),
            "scores": frames[0, 0, 0, :1],
            "labels": torch.ones(1, dtype=torch.int64),
        }


def test_final_detections_of_a_network_that_knows_no_batches_are_those_of_each_frame(tmp_path):
    torch.jit.script(FirstAlone()).save(tmp_path / "first.pt")
    frames = np.stack([np.full((64, 96, 3), value, np.uint8) for value in (102, 204, 0)])
    found = load(tmp_path / "first.pt").detect(frames)
    assert [one.scores.tolist() for one in found] == [pytest.approx([0.4]), pytest.approx([0.8]), []]


@pytest.mark.parametrize("number", ["9" * 5000, "1000000000000", "-1", "x"])
def test_a_class_number_that_no_detector_has_is_left_out(number):
    assert names_from({number: "x", "1": "car"}) == {1: "car"}
