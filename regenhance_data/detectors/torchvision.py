"""torchvision's detection and segmentation models, run up to the scores, which carry gradients."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch.nn import functional
from torchvision.models import detection, segmentation
from torchvision.transforms import functional as transforms

from regenhance_data.console import warn
from regenhance_data.detectors.base import BoxDetector, DenseOutput, Detector
from regenhance_data.detectors.class_names import MOST_CLASSES, numbered
from regenhance_data.detectors.layouts import IMAGENET
from regenhance_data.detectors.segmentation import Segmenter
from regenhance_data.detectors.settings import DetectorSettings
from regenhance_data.errors import InputError, one_line
from regenhance_data.io.files import sha256
from regenhance_data.io.torch_weights import read_state_dict

# The bias of the classification layer: its length is the number of classes in a state dict.
CLASS_BIASES = (
    "roi_heads.box_predictor.cls_score.bias",
    "head.classification_head.cls_logits.bias",
    "head.classification_head.module_list.0.bias",
    "head.classification_head.module_list.0.1.bias",
    "classifier.4.bias",
    "classifier.low_classifier.bias",
)
# torchvision sets BatchNorm's epsilon to 0 when it loads these models' COCO_V1, as they were trained.
NO_EPSILON = ("fasterrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn", "keypointrcnn_resnet50_fpn", "retinanet_resnet50_fpn")
SEGMENTATION_SIZE_PX = 520  # what the shorter side is resized to, in all of torchvision's segmentation weights


def load(name: str, settings: DetectorSettings) -> Detector:
    """torchvision's model `name`, with the weights of the settings. InputError for unknown models and weights."""
    network, classes = _network(name, settings.weights or "DEFAULT")
    network.eval().requires_grad_(False)
    if name in torchvision.models.list_models(segmentation):
        return TorchvisionSegmenter(network, classes, settings)
    if isinstance(network, detection.FasterRCNN):
        return TwoStageDetector(network, classes, settings)
    return OneStageDetector(network, classes, settings)


def identity(name: str, settings: DetectorSettings) -> dict[str, Any]:
    """The sha256 of a file of weights; of torchvision's own, the name."""
    weights = settings.weights or "DEFAULT"
    if weights == "none":
        return {}
    if _is_path(weights):
        return {"sha256": sha256(Path(weights))}
    return {"weights": _published(name, weights).name}


def names_of(name: str, count: int) -> tuple[str, ...]:
    """The class names of a model's published weights if there are `count`, else numbers."""
    published = _published(name, "DEFAULT").meta["categories"]
    return tuple(published) if count == len(published) else numbered(count)


def _network(name: str, weights: str) -> tuple[torch.nn.Module, tuple[str, ...]]:
    """The model and its classes."""
    if weights == "none":
        warn(f"torchvision:{name} has random weights; its detections mean nothing")
        classes = tuple(_published(name, "DEFAULT").meta["categories"])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return _built(name, len(classes)), classes
    if _is_path(weights):
        return _from_file(name, Path(weights))
    published = _published(name, weights)
    try:
        network = torchvision.models.get_model(name, weights=published, progress=False)
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"--detector_weights {weights}: cannot be downloaded ({one_line(error)}); fetch {published.url} "
            "where you can and give the file"
        ) from None
    return network, tuple(published.meta["categories"])


def _built(name: str, classes: int) -> torch.nn.Module:
    return torchvision.models.get_model(name, weights=None, weights_backbone=None, num_classes=classes)


def _is_path(weights: str) -> bool:
    return "." in weights or "/" in weights


def _published(name: str, weights: str) -> Any:
    """A member of the model's enum of weights, by its name. InputError where there is no such model or member."""
    models = [model for module in (detection, segmentation) for model in torchvision.models.list_models(module)]
    if name not in models:
        raise InputError(f"--detector torchvision:{name}: no such model; known are: {', '.join(models)}")
    known = torchvision.models.get_model_weights(name)
    if weights not in known.__members__:
        raise InputError(
            f"--detector_weights {weights}: torchvision:{name} has {', '.join(known.__members__)}; or give a .pth file "
            "or none"
        )
    return known[weights]


def _from_file(name: str, path: Path) -> tuple[torch.nn.Module, tuple[str, ...]]:
    """The model with the state dict in a .pth, with as many classes as that has."""
    _published(name, "DEFAULT")  # refuses unknown models
    state = read_state_dict(path)
    with torch.device("meta"):
        plain = _built(name, 2).state_dict()
    bias = next(key for key in CLASS_BIASES if key in plain)
    if bias not in state:
        raise InputError(f"{path}: has no {bias}; its weights are not of torchvision:{name}")
    classes = 2 * state[bias].numel() // plain[bias].numel()
    if not 1 <= classes <= MOST_CLASSES:
        raise InputError(f"{path}: its {bias} is of {classes} classes; its weights are not of torchvision:{name}")
    # names and shapes alone first, which take no memory; PyTorch warns that it copies nothing
    with warnings.catch_warnings(action="ignore"), torch.device("meta"):
        missing, unexpected = _loaded(_built(name, classes), state, name, path)
    # networks trained with frozen BatchNorm count no batches
    is_frozen = any(key.endswith("num_batches_tracked") for key in missing)
    missing = [key for key in missing if not key.endswith("num_batches_tracked")]
    unexpected = [key for key in unexpected if not key.startswith("aux_classifier.")]
    if missing or unexpected:
        what = f"has no {missing[0]}" if missing else f"has an unexpected {unexpected[0]}"
        raise InputError(f"{path}: {what}; its weights are not of torchvision:{name}")
    network = _built(name, classes)
    _loaded(network, state, name, path)
    if is_frozen and name in NO_EPSILON:
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eps = 0.0
    return network, names_of(name, classes)


def _loaded(network: torch.nn.Module, state: dict[str, torch.Tensor], name: str, path: Path) -> Any:
    """(names that the state lacks, names that the network lacks). InputError for tensors that do not fit."""
    try:
        return network.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise InputError(f"{path}: its weights are not of torchvision:{name} ({one_line(error)})") from None


@torch.no_grad()
def _try(settings: DetectorSettings, run: Callable[[], Any]) -> None:
    """Try the given input size. InputError where the network does not support it."""
    try:
        run()
    except RuntimeError as error:
        raise InputError(
            f"--detector_input_size {settings.input_size}: {settings.spec} does not support it ({one_line(error)})"
        ) from None


class _TorchvisionDetector(BoxDetector):
    """The common part of one- and two-stage detectors: torchvision's own preprocessing."""

    def __init__(self, network: torch.nn.Module, classes: tuple[str, ...], settings: DetectorSettings) -> None:
        super().__init__(settings)
        self.class_names = classes
        self._network: Any = network.to(self.device)
        if settings.input_size:
            transform: Any = self._network.transform
            height, width = settings.input_size
            transform.min_size, transform.max_size = (min(height, width),), max(height, width)
            if transform.fixed_size:  # SSD, which stretches frames
                transform.fixed_size = (width, height)
            _try(settings, lambda: self.dense(torch.zeros(1, 3, height, width, device=self.device)))

    def _features(self, frames: torch.Tensor) -> tuple[Any, dict[str, torch.Tensor], torch.Tensor]:
        """(the images as the network sees them, its features, what boxes in the images are multiplied by)."""
        images, _ = self._network.transform(list(frames / 255))
        features = self._network.backbone(images.tensors)
        height, width = images.image_sizes[0]
        ratio = torch.tensor([frames.shape[3] / width, frames.shape[2] / height] * 2, device=frames.device)
        return images, features if isinstance(features, dict) else {"0": features}, ratio


class OneStageDetector(_TorchvisionDetector):
    """RetinaNet, FCOS, SSD and SSDlite: a score for each class at each anchor."""

    def dense(self, frames: torch.Tensor, proposals: list[Any] | None = None) -> DenseOutput:
        images, features, ratio = self._features(frames)
        levels = list(features.values())
        output = self._network.head(levels)
        anchors = self._network.anchor_generator(images, levels)[0]
        scores, first = self._scores(output)
        regression = output["bbox_regression"].detach()
        coder = self._network.box_coder
        # FCOS's box coder has only a method of this name
        decode_boxes = getattr(coder, "decode_single", coder.decode)

        def decode(index: int, rows: torch.Tensor, columns: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return decode_boxes(regression[index, rows], anchors[rows]) * ratio, columns + first

        return DenseOutput(scores, decode)

    def _scores(self, output: dict[str, torch.Tensor]) -> tuple[torch.Tensor, int]:
        """(the scores [N, A, C], the number of the first class)."""
        logits = output["cls_logits"]
        if isinstance(self._network, detection.ssd.SSD):
            return functional.softmax(logits, dim=-1)[..., 1:], 1  # 0 is the background
        if isinstance(self._network, detection.FCOS):
            return torch.sqrt(logits.sigmoid() * output["bbox_ctrness"].sigmoid()), 0
        return logits.sigmoid(), 0


class TwoStageDetector(_TorchvisionDetector):
    """Faster, Mask and Keypoint R-CNN: proposals without gradient, then a score for each class in each of them."""

    def dense(self, frames: torch.Tensor, proposals: list[Any] | None = None) -> DenseOutput:
        images, features, ratio = self._features(frames)
        if proposals is None:
            with torch.no_grad():
                proposals, _ = self._network.rpn(images, features)
        fixed: list[torch.Tensor] = proposals or []
        heads = self._network.roi_heads
        pooled = heads.box_roi_pool(features, fixed, images.image_sizes)
        logits, regression = heads.box_predictor(heads.box_head(pooled))
        counts = [len(boxes) for boxes in fixed]
        scores = functional.softmax(logits, dim=-1)[:, 1:]  # 0 is the background
        deltas, classes = regression.detach().split(counts), scores.shape[1]

        def decode(index: int, rows: torch.Tensor, columns: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            boxes = heads.box_coder.decode_single(deltas[index][rows], fixed[index][rows])
            boxes, labels = boxes.reshape(len(rows), classes + 1, 4), columns + 1
            return boxes[torch.arange(len(rows), device=rows.device), labels] * ratio, labels

        return DenseOutput(scores.split(counts), decode, proposals=fixed)


class TorchvisionSegmenter(Segmenter):
    """DeepLabV3, FCN and LR-ASPP, with the resizing and normalisation of their published weights."""

    def __init__(self, network: torch.nn.Module, classes: tuple[str, ...], settings: DetectorSettings) -> None:
        super().__init__(settings)
        self.class_names = classes
        self._network = network.to(self.device)
        if settings.input_size:
            height, width = settings.input_size
            _try(settings, lambda: self.logits(torch.zeros(1, 3, height, width, device=self.device)))

    def logits(self, frames: torch.Tensor) -> torch.Tensor:
        size = [SEGMENTATION_SIZE_PX]
        if self.settings.input_size:
            ratio = min(
                wanted / given for wanted, given in zip(self.settings.input_size, frames.shape[2:], strict=True)
            )
            size = [max(round(given * ratio), 1) for given in frames.shape[2:]]
        inputs = transforms.normalize(transforms.resize(frames / 255, size, antialias=True), *IMAGENET)
        return self._network(inputs)["out"]
