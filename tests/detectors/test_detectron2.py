"""Tests of the real thing run where detectron2 is installed: tiny networks of its kinds, compared with its results."""

import os
import pickle
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from regenhance_data.detectors.loading import detector_record, load_detector
from regenhance_data.detectors.settings import DetectorSettings
from regenhance_data.errors import InputError

needs_detectron2 = pytest.mark.skipif(find_spec("detectron2") is None, reason="detectron2 is not installed")
RETINANET = "COCO-Detection/retinanet_R_50_FPN_1x.yaml"


class Model(NamedTuple):
    """A tiny network: its config file and its weights, a .pth."""

    config: Path
    weights: Path


class Kind(NamedTuple):
    """What a tiny network inherits from detectron2's own, and what dims its frames so that scores do not saturate."""

    base: str
    pixel_std: float


BOXES = {
    "retinanet": Kind(RETINANET, 15),
    "fpn": Kind("COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml", 40),
    "c4": Kind("COCO-Detection/faster_rcnn_R_50_C4_1x.yaml", 300),
    "mask": Kind("COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml", 40),
    "cascade": Kind("Misc/cascade_mask_rcnn_R_50_FPN_1x.yaml", 40),
    "panoptic": Kind("COCO-PanopticSegmentation/panoptic_fpn_R_50_1x.yaml", 40),
}
KINDS = {**BOXES, "semantic": Kind("Misc/semantic_R_50_FPN_1x.yaml", 20_000)}
# RetinaNet's own NMS compares boxes before they are clipped to the frame, the kit's after: 1 keeps all.
NMS_IOU = {"retinanet": 1.0}


def write_config(path, kind, **model):
    """A config of a narrow ResNet-50 whose thresholds are the kit's and that leaves frames at their size."""
    import detectron2

    base = Path(detectron2.__file__).parent / "model_zoo" / "configs" / KINDS[kind].base
    tests = {"SCORE_THRESH_TEST": 0.3, "NMS_THRESH_TEST": NMS_IOU.get(kind, 0.5)}
    tiny = {
        "WEIGHTS": "",
        "DEVICE": "cpu",
        "PIXEL_MEAN": [128.0] * 3,
        "PIXEL_STD": [KINDS[kind].pixel_std] * 3,
        "RESNETS": {"RES2_OUT_CHANNELS": 8, "STEM_OUT_CHANNELS": 8, "WIDTH_PER_GROUP": 4},
        "FPN": {"OUT_CHANNELS": 8},
        "RETINANET": {"NUM_CLASSES": 3, "NUM_CONVS": 1, "PRIOR_PROB": 0.05, **tests},
        "RPN": {"POST_NMS_TOPK_TEST": 50},
        "ROI_HEADS": {"NUM_CLASSES": 3, **tests},
        "ROI_BOX_HEAD": {"FC_DIM": 16},
        "ROI_MASK_HEAD": {"CONV_DIM": 4},
        "SEM_SEG_HEAD": {"NUM_CLASSES": 8, "CONVS_DIM": 8, "NORM": ""},
    }
    for key, value in model.items():
        tiny[key] = {**tiny.get(key, {}), **value} if isinstance(value, dict) else value
    content = {
        "_BASE_": str(base),
        "MODEL": tiny,
        "INPUT": {"MIN_SIZE_TEST": 0},
        "TEST": {"DETECTIONS_PER_IMAGE": 1000},
        "DATASETS": {"TEST": []},
    }
    path.write_text(yaml.safe_dump(content))
    return path


def own_config(model):
    """The same config as detectron2 reads it."""
    from detectron2.config import get_cfg

    config = get_cfg()
    config.merge_from_file(str(model.config))
    config.MODEL.WEIGHTS = str(model.weights)
    return config


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    from detectron2.modeling import build_model

    folder = tmp_path_factory.mktemp("detectron2")
    made = {}
    for kind in KINDS:
        made[kind] = Model(write_config(folder / f"{kind}.yaml", kind), folder / f"{kind}.pth")
        torch.manual_seed(0)
        torch.save({"model": build_model(own_config(made[kind])).state_dict(), "iteration": 9}, made[kind].weights)
    return made


def load(model, **values):
    iou = NMS_IOU.get(model.config.stem, 0.5)
    values = {"weights": str(model.weights), "max_box_area": 1.0, "iou_threshold": iou, **values}
    return load_detector(DetectorSettings(f"detectron2:{model.config}", **values))


def picture(height=101, width=135, seed=0):
    """Coloured squares, uint8 [height, width, 3]: of sizes that are no multiple of a network's stride."""
    coarse = np.random.default_rng(seed).integers(0, 255, (16, 20, 3), dtype=np.uint8)
    return np.ascontiguousarray(coarse.repeat(8, 0).repeat(8, 1)[:height, :width])


def own_result(model, frame, **inputs):
    """What detectron2's own predictor, which takes BGR, says about an RGB frame."""
    from detectron2.engine import DefaultPredictor

    config = own_config(model)
    for key, value in inputs.items():
        config.INPUT[key] = value
    return DefaultPredictor(config)(frame[:, :, ::-1])


def refusal(config, **values):
    with pytest.raises(InputError) as caught:
        load_detector(DetectorSettings(f"detectron2:{config}", **{"weights": "none", **values}))
    assert "\n" not in str(caught.value)
    return str(caught.value)


class Harm:
    """Makes the folder `path` when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_without_detectron2_one_line_says_so_and_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "detectron2", None)
    said = refusal(RETINANET)
    assert said.startswith(f"--detector detectron2:{RETINANET}: detectron2 cannot be imported (")
    assert said.endswith(
        "; install it: pip install --no-build-isolation 'git+https://github.com/facebookresearch/detectron2.git'"
    )


def test_a_config_in_python_is_refused_and_not_run(tmp_path):
    config = tmp_path / "lazy.py"
    config.write_text(f"import os; os.mkdir({str(tmp_path / 'harm')!r})")
    for name in (config, "COCO-Detection/fcos_R_50_FPN_1x.py"):
        assert "expected a .yaml file" in refusal(name)
    assert not (tmp_path / "harm").exists()


@needs_detectron2
@pytest.mark.parametrize("kind", BOXES)
def test_boxes_scores_and_classes_are_those_of_detectron2(models, kind):
    frames = np.stack([picture(seed=seed) for seed in range(2)])
    for frame, found in zip(frames, load(models[kind]).detect(frames), strict=True):
        own = own_result(models[kind], frame)["instances"]
        assert len(found.scores) == len(own) > 3
        np.testing.assert_allclose(found.scores, own.scores, rtol=1e-4)
        np.testing.assert_allclose(found.boxes, own.pred_boxes.tensor, atol=0.02)
        np.testing.assert_array_equal(found.labels, own.pred_classes)


@needs_detectron2
@pytest.mark.parametrize("size", [(128, 160), (96, 320)])
def test_frames_are_resized_to_fit_the_size_asked_for_as_detectron2_does_it(models, size):
    own = own_result(models["fpn"], picture(), MIN_SIZE_TEST=size[0], MAX_SIZE_TEST=size[1])["instances"]
    (found,) = load(models["fpn"], input_size=size).detect(picture()[None])
    assert len(found.scores) == len(own) > 3
    # it rounds the resized pixels
    np.testing.assert_allclose(found.scores, own.scores, atol=0.01)
    assert np.abs(found.boxes - own.pred_boxes.tensor.numpy()).mean() < 0.2


@needs_detectron2
def test_the_class_of_each_pixel_is_that_of_detectron2(models):
    frames = np.stack([picture(seed=seed) for seed in range(2)])
    detector = load(models["semantic"])
    for frame, found in zip(frames, detector.detect(frames), strict=True):
        own = own_result(models["semantic"], frame)["sem_seg"]
        assert found.shape == frame.shape[:2]
        assert len(np.unique(found)) > 1
        assert (found == own.argmax(0).numpy()).mean() > 0.999
    assert detector.task == "segmentation"


@needs_detectron2
@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_of_accuracy_is_its_slope(models, kind):
    detector = load(models[kind])
    clear = detector.tensor(picture()[None]).requires_grad_()
    objective = detector.accuracy(clear)
    (gradient,) = torch.autograd.grad(objective.value, clear)
    direction = gradient / gradient.abs().mean()
    with torch.no_grad():
        # so short a step that next to no ReLU of the fifty layers changes sides
        same, more, less = objective.at(torch.cat([clear, clear + 3e-4 * direction, clear - 3e-4 * direction])).cpu()
    np.testing.assert_allclose(same, objective.value.detach().cpu(), rtol=1e-4)
    np.testing.assert_allclose((gradient * direction).sum().cpu(), (more - less) / 6e-4, rtol=0.02)
    assert objective.detections > 3
    if detector.task == "detection":
        (found,) = detector.detect(picture()[None])
        np.testing.assert_allclose(objective.value.detach().cpu(), found.scores.sum(), rtol=1e-4)


@needs_detectron2
@pytest.mark.parametrize("protocol", [2, 4])
def test_weights_of_the_model_zoo_are_read_like_a_pth(tmp_path, models, protocol):
    state = torch.load(models["fpn"].weights, weights_only=True)["model"]
    arrays = {key: tensor.numpy() for key, tensor in state.items()}
    (tmp_path / "zoo.pkl").write_bytes(pickle.dumps({"model": arrays, "__author__": "someone"}, protocol))
    (found,) = load(models["fpn"], weights=str(tmp_path / "zoo.pkl")).detect(picture()[None])
    (expected,) = load(models["fpn"]).detect(picture()[None])
    np.testing.assert_array_equal(found.boxes, expected.boxes)
    np.testing.assert_array_equal(found.scores, expected.scores)


@needs_detectron2
def test_no_code_runs_from_a_file_of_weights(tmp_path, models):
    harm = {"model": {"weight": Harm(tmp_path / "harm")}, "__author__": "someone"}
    (tmp_path / "w.pkl").write_bytes(pickle.dumps(harm))
    torch.save(harm, tmp_path / "w.pth")
    for name in ("w.pkl", "w.pth"):
        assert f"{name}: is not a checkpoint" in refusal(models["fpn"].config, weights=str(tmp_path / name))
    assert not (tmp_path / "harm").exists()


@needs_detectron2
def test_weights_that_do_not_fit_are_refused(tmp_path, models):
    config = models["fpn"].config
    assert "are not of" in refusal(config, weights=str(models["retinanet"].weights))
    other = write_config(tmp_path / "five.yaml", "fpn", ROI_HEADS={"NUM_CLASSES": 5})
    assert "cls_score.weight of the right size" in refusal(other, weights=str(models["fpn"].weights))
    for content in (b"", pickle.dumps({"conv1": np.zeros(3)}), pickle.dumps({"model": {1: "a", "b": 2}})):
        (tmp_path / "w.pkl").write_bytes(content)
        assert refusal(config, weights=str(tmp_path / "w.pkl")).startswith(f"{tmp_path}/w.pkl: ")
    assert "no such file" in refusal(config, weights=str(tmp_path / "missing.pth"))


@needs_detectron2
def test_weights_come_from_the_config_unless_they_are_given(tmp_path, models):
    config = write_config(tmp_path / "c.yaml", "fpn", WEIGHTS=str(models["fpn"].weights))
    (found,) = load(Model(config, models["fpn"].weights), weights=None).detect(picture()[None])
    (expected,) = load(models["fpn"]).detect(picture()[None])
    np.testing.assert_array_equal(found.scores, expected.scores)
    said = refusal(RETINANET, weights=None)
    assert "(detectron2://ImageNetPretrained/MSRA/R-50.pkl) are no file here; give --detector_weights FILE" in said
    assert "not named" in refusal(models["fpn"].config, weights=None)


@needs_detectron2
def test_random_weights_are_the_same_each_time_and_warned_about(models, capsys):
    (first,), (second,) = (load(models["fpn"], weights="none").detect(picture()[None]) for _ in range(2))
    np.testing.assert_array_equal(first.scores, second.scores)
    assert "has random weights" in capsys.readouterr().err


@needs_detectron2
def test_names_of_the_model_zoo_are_found_and_classes_are_its_datasets():
    detector = load_detector(DetectorSettings(f"detectron2:{RETINANET}", weights="none", input_size=(64, 64)))
    assert len(detector.class_names) == 80
    assert detector.class_names[:2] == ("person", "bicycle")
    assert "nor a config in detectron2's model zoo" in refusal("COCO-Detection/retinanet_R_7_FPN_1x.yaml")


@needs_detectron2
def test_classes_without_names_are_numbered(models):
    assert load(models["c4"]).class_names == ("class_0", "class_1", "class_2")
    (found,) = load(models["retinanet"], classes=("2",)).detect(picture()[None])
    assert set(found.labels) == {2}


@needs_detectron2
@pytest.mark.parametrize("where", ["config", "base"])
def test_no_code_runs_from_a_config(tmp_path, where):
    harm = tmp_path / "harm.yaml"
    harm.write_text(f"MODEL:\n  WEIGHTS: !!python/object/apply:os.mkdir ['{tmp_path}/harm']\n")
    (tmp_path / "c.yaml").write_text("_BASE_: harm.yaml\n" if where == "base" else harm.read_text())
    assert "python/object/apply:os.mkdir" in refusal(tmp_path / "c.yaml")
    assert not (tmp_path / "harm").exists()


@needs_detectron2
@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("MODEL: {COLOUR: red}", "MODEL.COLOUR"),
        ("MODEL: {WEIGHTS: [1]}", "Type mismatch"),
        ("MODEL: [", "refuses this config"),
        ("- a", "refuses this config"),
        ("", "refuses this config"),
        ("_BASE_: c.yaml", "refuses this config (maximum recursion depth exceeded"),
        ("_BASE_: missing.yaml", "No such file"),
        ("_BASE_: https://localhost/c.yaml", "No such file"),
        ("MODEL: {META_ARCHITECTURE: FCOS}", "its MODEL.META_ARCHITECTURE is FCOS, which is not supported"),
        ("MODEL: {ROI_HEADS: {NAME: RROIHeads}}", "its MODEL.ROI_HEADS.NAME is RROIHeads"),
        ("MODEL: {PROPOSAL_GENERATOR: {NAME: RRPN}}", "its MODEL.PROPOSAL_GENERATOR.NAME is RRPN"),
        ("MODEL: {RESNETS: {DEPTH: 7}}", "detectron2 cannot build its model (7)"),
        ("MODEL: {FPN: {OUT_CHANNELS: 0}, BACKBONE: {NAME: build_resnet_fpn_backbone}}", "cannot build its model"),
        ("INPUT: {MIN_SIZE_TEST: -1}", "detectron2 cannot run its model"),
    ],
)
def test_configs_that_cannot_be_used_are_refused_in_one_line(tmp_path, content, said):
    (tmp_path / "c.yaml").write_text(content)
    assert said in refusal(tmp_path / "c.yaml")


@needs_detectron2
@settings(max_examples=25)
@given(st.integers(0, 10_000), st.integers(0, 255))
def test_a_broken_config_is_used_or_refused(models, place, byte):
    content = bytearray(models["fpn"].config.read_bytes())
    content[place % len(content)] = byte
    broken = models["fpn"].config.with_name("broken.yaml")
    broken.write_bytes(bytes(content))
    with suppress(InputError):
        load_detector(DetectorSettings(f"detectron2:{broken}", weights="none"))


@needs_detectron2
def test_the_record_tells_configs_and_weights_apart_but_not_where_they_lie(tmp_path, models):
    def record(config, weights):
        return detector_record(DetectorSettings(f"detectron2:{config}", weights=str(weights)))["sha256"]

    config, weights = models["fpn"]
    moved = [tmp_path / path.name for path in (config, weights)]
    for path, target in zip((config, weights), moved, strict=True):
        target.write_bytes(path.read_bytes())
    first = record(config, weights)
    assert record(*moved) == first
    assert record(config, models["retinanet"].weights) != first
    assert record(config, "none") != first
    assert record(write_config(tmp_path / "more.yaml", "fpn", RPN={"NMS_THRESH": 0.6}), weights) != first
