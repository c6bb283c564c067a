"""detectron2's RetinaNet, R-CNNs and semantic segmentation, run up to the scores, which carry gradients.

detectron2 is installed from its repository, https://github.com/facebookresearch/detectron2. Its FCOS has no YAML: it
has only Python config files, which are not run here.
"""

import hashlib
import io
import logging
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from regenhance_data.console import warn
from regenhance_data.detectors.base import BoxDetector, DenseOutput, Detector
from regenhance_data.detectors.class_names import numbered
from regenhance_data.detectors.segmentation import Segmenter
from regenhance_data.detectors.settings import DetectorSettings
from regenhance_data.errors import InputError, one_line
from regenhance_data.io.files import sha256
from regenhance_data.io.pickles import ARRAYS, restricted_load
from regenhance_data.io.torch_weights import default_device, read_state_dict

EXAMPLE = "COCO-Detection/retinanet_R_50_FPN_1x.yaml"
INSTALL = "pip install --no-build-isolation 'git+https://github.com/facebookresearch/detectron2.git'"
# RetinaNet's configs contain this code; no other code in a YAML is supported, and none is run.
ANCHOR_SIZES = (
    '!!python/object/apply:eval ["[[x, x * 2**(1.0/3), x * 2**(2.0/3) ] for x in [32, 64, 128, 256, 512 ]]"]',
    str([[size, size * 2 ** (1 / 3), size * 2 ** (2 / 3)] for size in (32, 64, 128, 256, 512)]),
)
ROI_HEADS = ("StandardROIHeads", "CascadeROIHeads", "Res5ROIHeads")
TRIED_PX = 64  # side of the test frame: small, but large enough for proposals of every network


def load(name: str, settings: DetectorSettings) -> Detector:
    """The model of a config file, or of a name in detectron2's model zoo. InputError where it cannot be loaded."""
    config = _config(name, settings)
    kinds: dict[str, type[Any]] = {
        "RetinaNet": _RetinaNetDetector,
        "GeneralizedRCNN": _RcnnDetector,
        "PanopticFPN": _RcnnDetector,
        "SemanticSegmentor": _SemanticSegmenter,
    }
    kind = config.MODEL.META_ARCHITECTURE
    supported = {"META_ARCHITECTURE": (kind, tuple(kinds))}
    if kinds.get(kind) is _RcnnDetector:
        supported["PROPOSAL_GENERATOR.NAME"] = config.MODEL.PROPOSAL_GENERATOR.NAME, ("RPN",)
        supported["ROI_HEADS.NAME"] = config.MODEL.ROI_HEADS.NAME, ROI_HEADS
    for key, (value, there) in supported.items():
        if value not in there:
            raise InputError(f"{name}: its MODEL.{key} is {value}, which is not supported ({', '.join(there)} are)")
    network = _network(name, config)
    try:
        detector: Detector = kinds[kind](network, config, settings)
        with warnings.catch_warnings(action="ignore"):
            detector.detect(np.zeros((1, TRIED_PX, TRIED_PX, 3), np.uint8))
    except Exception as error:  # errors in a config show when it runs
        raise InputError(f"{name}: detectron2 cannot run its model ({one_line(error)})") from None
    return detector


def identity(name: str, settings: DetectorSettings) -> dict[str, Any]:
    """The sha256 of the whole config, including its bases, and of the weights."""
    config = _config(name, settings)
    weights = sha256(Path(config.MODEL.WEIGHTS)) if config.MODEL.WEIGHTS else ""
    config.MODEL.WEIGHTS = ""  # their path does not matter
    return {"sha256": hashlib.sha256(f"{config.dump()}{weights}".encode()).hexdigest()}


def _config(name: str, settings: DetectorSettings) -> Any:
    """The whole config, with MODEL.WEIGHTS set from the settings ('' for none). Runs no code from YAML."""
    if not name.endswith((".yaml", ".yml")):
        raise InputError(f"--detector detectron2:{name}: expected a .yaml file or a name like {EXAMPLE}")
    try:
        with warnings.catch_warnings(action="ignore"):  # detectron2 uses what PyTorch has deprecated
            import detectron2.modeling
            from detectron2.config import CfgNode, get_cfg
    except ImportError as error:
        raise InputError(
            f"--detector detectron2:{name}: detectron2 cannot be imported ({one_line(error)}); install it: {INSTALL}"
        ) from None
    for library in ("detectron2", "fvcore", "torch.fx"):  # torch.fx warns of names that detectron2 uses
        logging.getLogger(library).setLevel(logging.ERROR)
    # the zoo's own look-up needs pkg_resources, which setuptools has removed
    zoo = Path(detectron2.__file__).parent / "model_zoo" / "configs"
    path = next((path for path in (Path(name), zoo / name) if path.is_file()), None)
    if path is None:
        raise InputError(f"{name}: no such file, nor a config in detectron2's model zoo")

    class LocalConfig(CfgNode):
        @classmethod
        def _open_cfg(cls, filename: str) -> io.StringIO:
            return io.StringIO(Path(filename).read_text("utf-8").replace(*ANCHOR_SIZES))

    config = LocalConfig(get_cfg())
    try:
        config.merge_from_file(str(path.absolute()), allow_unsafe=False)
    except Exception as error:  # yacs, fvcore and YAML each raise their own
        raise InputError(f"{path}: detectron2 refuses this config ({one_line(error)})") from None
    config.MODEL.WEIGHTS = _weights(name, settings.weights, config.MODEL.WEIGHTS)
    return config


def _weights(name: str, asked_for: str | None, configured: str) -> str:
    """The path of the weights, '' for none."""
    if asked_for == "none":
        return ""
    if asked_for and not Path(asked_for).is_file():
        raise InputError(f"--detector_weights {asked_for}: no such file")
    if not asked_for and not Path(configured).is_file():
        raise InputError(
            f"{name}: its weights ({configured or 'not named'}) are no file here; give --detector_weights FILE, for a "
            "zoo model its model_final_….pkl from detectron2's MODEL_ZOO.md"
        )
    return asked_for or configured


def _network(name: str, config: Any) -> Any:
    """The config's network with its weights, ready to infer."""
    from detectron2.modeling import build_model

    config.MODEL.DEVICE = default_device().type
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # for random weights
        try:
            network = build_model(config)
        except Exception as error:  # a config can cause nearly any error
            raise InputError(f"{name}: detectron2 cannot build its model ({one_line(error)})") from None
    if config.MODEL.WEIGHTS:
        _load_weights(network, Path(config.MODEL.WEIGHTS), name)
    else:
        warn(f"detectron2:{name} has random weights; its detections mean nothing")
    return network.eval().requires_grad_(False)


def _load_weights(network: torch.nn.Module, path: Path, name: str) -> None:
    """Read a .pkl of the model zoo or a .pth, without running code from it."""
    from detectron2.checkpoint import DetectionCheckpointer

    if path.suffix == ".pkl":
        try:
            checkpoint = restricted_load(path, ARRAYS, encoding="latin1")
        except pickle.UnpicklingError as error:
            raise InputError(f"{path}: is not a checkpoint that can be read without running code ({error})") from None
        state = checkpoint.get("model") if isinstance(checkpoint, dict) else None
        if not isinstance(state, dict):
            raise InputError(
                f"{path}: is not a checkpoint of detectron2's model zoo, which has its weights under 'model'"
            )
        checkpoint = {key: checkpoint[key] for key in ("model", "matching_heuristics") if key in checkpoint}
    else:
        checkpoint = {"model": read_state_dict(path)}
    try:
        found = DetectionCheckpointer(network)._load_model(checkpoint)
    except Exception as error:  # the file may hold arrays of any type
        raise InputError(f"{path}: its weights are not of {name} ({one_line(error)})") from None
    wrong = [key for key, *_ in found.incorrect_shapes] + list(found.missing_keys)
    if wrong:
        raise InputError(f"{path}: has no {wrong[0]} of the right size; its weights are not of {name}")


def _prepared(network: Any, config: Any, settings: DetectorSettings, frames: torch.Tensor) -> Any:
    """Frames as detectron2's own test-time transform and the network's preprocessing make them: an ImageList."""
    from detectron2.structures import ImageList

    short, longest = config.INPUT.MIN_SIZE_TEST, config.INPUT.MAX_SIZE_TEST
    if settings.input_size:
        short, longest = min(settings.input_size), max(settings.input_size)
    height, width = frames.shape[2:]
    if short:  # 0 leaves frames as they are
        ratio = min(short / min(height, width), longest / max(height, width))
        size = int(height * ratio + 0.5), int(width * ratio + 0.5)
        # the same as Pillow's bilinear resizing, which detectron2 uses
        frames = functional.interpolate(frames, size, mode="bilinear", align_corners=False, antialias=True)
    frames = frames.flip(1) if config.INPUT.FORMAT == "BGR" else frames
    frames = (frames - network.pixel_mean) / network.pixel_std
    backbone = network.backbone
    return ImageList.from_tensors(
        list(frames), backbone.size_divisibility, padding_constraints=backbone.padding_constraints
    )


def _names(config: Any, kind: str, count: int) -> tuple[str, ...]:
    """From the metadata of the first test dataset if detectron2 knows it, else numbers."""
    from detectron2.data import MetadataCatalog

    dataset = config.DATASETS.TEST[0] if config.DATASETS.TEST else ""
    known = MetadataCatalog.get(dataset).get(kind) if dataset in MetadataCatalog.list() else None
    return tuple(known) if known and len(known) == count else numbered(count)


class _Detectron2BoxDetector(BoxDetector):
    """The common part of detectron2's box detectors."""

    def __init__(self, network: Any, config: Any, classes: int, settings: DetectorSettings) -> None:
        super().__init__(settings)
        self._network = network
        self._config = config
        self.class_names = _names(config, "thing_classes", classes)

    def _images(self, frames: torch.Tensor) -> tuple[Any, torch.Tensor]:
        """(the frames as the network sees them, what boxes in them are multiplied by)."""
        images = _prepared(self._network, self._config, self.settings, frames)
        height, width = images.image_sizes[0]
        return images, torch.tensor([frames.shape[3] / width, frames.shape[2] / height] * 2, device=frames.device)


class _RetinaNetDetector(_Detectron2BoxDetector):
    def __init__(self, network: Any, config: Any, settings: DetectorSettings) -> None:
        super().__init__(network, config, config.MODEL.RETINANET.NUM_CLASSES, settings)

    def dense(self, frames: torch.Tensor, proposals: list[Any] | None = None) -> DenseOutput:
        images, ratio = self._images(frames)
        network = self._network
        features = network.backbone(images.tensor)
        levels = [features[name] for name in network.head_in_features]
        classes = network.num_classes
        logits, deltas = network._transpose_dense_predictions(network.head(levels), [classes, 4])
        scores = torch.cat(logits, dim=1).sigmoid()
        regression = torch.cat(deltas, dim=1).detach()
        anchors = torch.cat([boxes.tensor for boxes in network.anchor_generator(levels)])

        def decode(index: int, rows: torch.Tensor, columns: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return network.box2box_transform.apply_deltas(regression[index, rows], anchors[rows]) * ratio, columns

        return DenseOutput(scores, decode)


class _RcnnDetector(_Detectron2BoxDetector):
    """Faster, Mask and Cascade R-CNN and Panoptic FPN's boxes, with FPN or C4 (Res5ROIHeads).

    The proposals of a frame are those of every stage: several in a cascade, else one.
    """

    def __init__(self, network: Any, config: Any, settings: DetectorSettings) -> None:
        super().__init__(network, config, config.MODEL.ROI_HEADS.NUM_CLASSES, settings)

    def dense(self, frames: torch.Tensor, proposals: list[Any] | None = None) -> DenseOutput:
        images, ratio = self._images(frames)
        features = self._network.backbone(images.tensor)
        predictors = self._network.roi_heads.box_predictor
        predictors = predictors if isinstance(predictors, torch.nn.ModuleList) else [predictors]
        if proposals is None:
            with torch.no_grad():
                given, _ = self._network.proposal_generator(images, features)
            stages = [given]
        else:
            stages = [list(stage) for stage in zip(*proposals, strict=True)]
        boxes: list[torch.Tensor] = []
        probabilities = []
        for stage, predictor in enumerate(predictors):
            if stage == len(stages):
                stages.append(self._network.roi_heads._create_proposals_from_boxes(boxes, images.image_sizes))
            predictions = self._predictions(features, stages[stage], stage)
            boxes = predictor.predict_boxes(predictions, stages[stage])
            probabilities.append(predictor.predict_probs(predictions, stages[stage]))
        # the mean over the stages, as in Cascade R-CNN; the last class is the background
        scores = [torch.stack(of_frame).mean(0)[:, :-1] for of_frame in zip(*probabilities, strict=True)]

        def decode(index: int, rows: torch.Tensor, columns: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            own = boxes[index].detach()[rows].reshape(len(rows), boxes[index].shape[1] // 4, 4)
            # one box for each class, or one for all of them
            which = torch.arange(len(rows), device=rows.device), columns.clamp(max=own.shape[1] - 1)
            return own[which] * ratio, columns

        return DenseOutput(scores, decode, proposals=list(zip(*stages, strict=True)))

    def _predictions(self, features: dict[str, torch.Tensor], proposals: list[Any], stage: int) -> Any:
        """The output of a stage's box predictor for the proposals of each frame."""
        heads = self._network.roi_heads
        boxes = [one.proposal_boxes for one in proposals]
        if isinstance(heads.box_predictor, torch.nn.ModuleList):
            return heads._run_stage([features[name] for name in heads.box_in_features], proposals, stage)
        if hasattr(heads, "res5"):
            pooled = heads._shared_roi_transform([features[name] for name in heads.in_features], boxes)
            return heads.box_predictor(pooled.mean(dim=[2, 3]))
        pooled = heads.box_pooler([features[name] for name in heads.box_in_features], boxes)
        return heads.box_predictor(heads.box_head(pooled))


class _SemanticSegmenter(Segmenter):
    """SemanticSegmentor, as in the semantic branch of Panoptic FPN."""

    def __init__(self, network: Any, config: Any, settings: DetectorSettings) -> None:
        super().__init__(settings)
        self._network = network
        self._config = config
        self.class_names = _names(config, "stuff_classes", config.MODEL.SEM_SEG_HEAD.NUM_CLASSES)

    def logits(self, frames: torch.Tensor) -> torch.Tensor:
        images = _prepared(self._network, self._config, self.settings, frames)
        logits, _ = self._network.sem_seg_head(self._network.backbone(images.tensor))
        height, width = images.image_sizes[0]
        return logits[..., :height, :width]
