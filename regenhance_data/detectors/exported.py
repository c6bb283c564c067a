"""Detectors in one file (ONNX, TorchScript): what the network does is found out by running it.

Three kinds are known by what comes out: a tensor of rank 3 in a YOLO layout; final detections, as torchvision's
scripted models give them; a tensor of rank 4 [N, C, h, w] (or a dict with it under 'out'), which is segmentation.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from torchvision.ops import box_iou

from regenhance_data.cli import InputError
from regenhance_data.detectors.base import BoxDetector, Dense, Detector, DetectorSettings, Kept
from regenhance_data.detectors.segmentation import Segmenter
from regenhance_data.detectors.yolo_layouts import LAYOUTS, recognised

PAD = 114.0  # the grey that the YOLO families were trained with
# Where a file leaves its input size open: what the YOLO families were trained at; then what else they are traced at.
FREE_SIZES = ((640, 640), (416, 416), (320, 320))
MOST_SIDE_PX = 4096  # of an input; a forged file makes no giant of it
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PLAIN = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
MATCH_IOU = 0.5  # a final detection is the clear frame's one from this overlap on
# The 80 classes of COCO, as YOLO counts them.
COCO = """person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,stop sign,
parking meter,bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,backpack,umbrella,handbag,tie,suitcase,
frisbee,skis,snowboard,sports ball,kite,baseball bat,baseball glove,skateboard,surfboard,tennis racket,bottle,
wine glass,cup,fork,knife,spoon,bowl,banana,apple,sandwich,orange,broccoli,carrot,hot dog,pizza,donut,cake,chair,
couch,potted plant,bed,dining table,toilet,tv,laptop,mouse,remote,keyboard,cell phone,microwave,oven,toaster,sink,
refrigerator,book,clock,vase,scissors,teddy bear,hair drier,toothbrush"""
COCO_NAMES = tuple(COCO.replace("\n", "").split(","))

Run = Callable[[torch.Tensor], Any]  # a batch of inputs float32 [N, 3, h, w] → whatever the network puts out


def numbered(count: int) -> tuple[str, ...]:
    """Names for classes that have none."""
    return tuple(f"class_{number}" for number in range(count))


@dataclass(frozen=True)
class Source:
    """A network out of a file. run: may raise nearly anything at sizes and batches it cannot do. hw: the input size
    that the file fixes, None where it leaves it open. names: of the classes by number, where the file tells them.
    """

    path: Path
    run: Run
    hw: tuple[int, int] | None
    names: Mapping[int, str]

    def __post_init__(self) -> None:
        if self.hw and max(self.hw) > MOST_SIDE_PX:
            raise InputError(f"{self.path}: takes inputs of {self.hw[1]}x{self.hw[0]}, larger than frames are")

    def class_names(self, count: int) -> tuple[str, ...]:
        """The file's own, else COCO's for 80 classes, else numbers."""
        if all(number in self.names for number in range(count)):
            return tuple(str(self.names[number]) for number in range(count))
        return COCO_NAMES if count == len(COCO_NAMES) else numbered(count)


class Network:
    """A source with how frames go in: their size, channels and range. Calling it gives its picked output."""

    def __init__(self, source: Source, settings: DetectorSettings, device: torch.device) -> None:
        self.source, self.settings, self.device = source, settings, device
        self._convention(PLAIN, "RGB", 1)
        sizes = [settings.input_size or source.hw] if settings.input_size or source.hw else list(FREE_SIZES)
        with torch.no_grad():
            self.own_hw, self.output = self._first_that_runs([hw for hw in sizes if hw])
            self._fixed_hw: tuple[int, int] | None = self.own_hw
            self._multiple = 1
            self.batches = self._does_batches()

    def _first_that_runs(self, sizes: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], Any]:
        for hw in sizes:
            output = self.attempt(_noise(1, hw).to(self.device))
            if output is not None:
                return hw, output
        raise InputError(
            f"{self.source.path}: is no detector: it gives no boxes and no class maps for {_words(sizes)}; "
            "give its size with --detector_input_size, and export the detector alone"
        )

    def _does_batches(self) -> bool:
        """A graph with its batch baked in fails at another, or puts out other numbers."""
        pair = _noise(2, self.own_hw).to(self.device)
        both = self.attempt(pair)
        if both is None or len(both) != 2:
            return False
        if not isinstance(both, torch.Tensor):
            return True
        return torch.allclose(both[1:], self.attempt(pair[1:]), atol=1e-3)

    def set_any_size(self, fits: Callable[[Any, tuple[int, int]], bool], multiple: int = 32) -> None:
        """Frames keep their own size (to the next multiple) where the output at another one `fits` it."""
        probe_hw = self.own_hw[0] + 32, self.own_hw[1] + 64
        with torch.no_grad():
            probe = None if self.settings.input_size else self.attempt(_noise(1, probe_hw).to(self.device))
        if probe is not None and fits(probe, probe_hw):
            self._fixed_hw, self._multiple = None, multiple

    def set_convention(self, scale: tuple[Sequence[float], Sequence[float]], channel_order: str, white: float) -> None:
        """What the input means, where the settings do not say: (mean, std), 'RGB' or 'BGR', what white is."""
        own = self.settings
        self._convention(
            (own.pixel_mean or scale[0], own.pixel_std or scale[1]),
            own.channel_order or channel_order,
            own.pixel_range or white,
        )

    def _convention(self, scale: tuple[Sequence[float], Sequence[float]], order: str, white: float) -> None:
        mean, std = (torch.tensor(v, dtype=torch.float32, device=self.device)[:, None, None] for v in scale)
        # (x / 255 − mean) / std · white, as one product and one sum
        self._gain, self._offset = white / (255 * std), -mean / std * white
        self._is_scaled, self._is_shifted = bool((self._gain != 1).any()), bool((self._offset != 0).any())
        self._is_bgr = order == "BGR"

    def __call__(self, frames: torch.Tensor) -> tuple[Any, "Fit"]:
        fit = Fit.of((frames.shape[2], frames.shape[3]), self._fixed_hw, self._multiple)
        inputs = self._inputs(frames, fit)
        if self.batches:
            return self.picked(self.source.run(inputs)), fit
        outputs = [self.picked(self.source.run(one[None])) for one in inputs]
        if isinstance(self.output, torch.Tensor):
            return torch.cat(outputs), fit
        return [one for output in outputs for one in output], fit

    def _inputs(self, frames: torch.Tensor, fit: "Fit") -> torch.Tensor:
        if fit.inner_hw != fit.frame_hw:
            frames = functional.interpolate(frames, fit.inner_hw, mode="bilinear", align_corners=False)
        bottom, right = (outer - inner for outer, inner in zip(fit.outer_hw, fit.inner_hw, strict=True))
        if bottom or right:
            frames = functional.pad(frames, (0, right, 0, bottom), value=PAD)
        if self._is_scaled:
            frames = frames * self._gain
        if self._is_shifted:
            frames = frames + self._offset
        return frames.flip(1) if self._is_bgr else frames

    def attempt(self, inputs: torch.Tensor) -> Any:
        """What comes out, None where the network cannot do it."""
        try:
            return self.picked(self.source.run(inputs))
        # TorchScript's own errors are RuntimeErrors; converted graphs raise what the operators in them raise
        except (RuntimeError, ValueError, IndexError, TypeError, AssertionError, NotImplementedError, StopIteration):
            return None

    @staticmethod
    def picked(output: Any) -> Any:
        """Of all that comes out: the final detections, or the first tensor of rank 3, or the first of rank 4."""
        dicts = [value for value in _leaves(output) if isinstance(value, dict)]
        final = [value for value in dicts if {"boxes", "scores", "labels"} <= value.keys()]
        if final:
            return final
        tensors = [value for value in _leaves(output) if isinstance(value, torch.Tensor) and value.is_floating_point()]
        tensors = [value["out"] for value in dicts if "out" in value] + tensors
        return next(t for rank in (3, 4) for t in tensors if t.ndim == rank)


@dataclass(frozen=True)
class Fit:
    """How a frame lies in a network's input: resized to `inner_hw` at the top left of `outer_hw`."""

    frame_hw: tuple[int, int]
    inner_hw: tuple[int, int]
    outer_hw: tuple[int, int]

    @classmethod
    def of(cls, frame_hw: tuple[int, int], fixed_hw: tuple[int, int] | None, multiple: int) -> "Fit":
        height, width = frame_hw
        if fixed_hw is None:
            return cls(frame_hw, frame_hw, (-(-height // multiple) * multiple, -(-width // multiple) * multiple))
        ratio = min(fixed_hw[0] / height, fixed_hw[1] / width)
        return cls(frame_hw, (max(round(height * ratio), 1), max(round(width * ratio), 1)), fixed_hw)

    def to_frame(self, boxes: torch.Tensor) -> torch.Tensor:
        """Boxes in the input's pixels → in the frame's."""
        return boxes * boxes.new_tensor([self.frame_hw[1] / self.inner_hw[1], self.frame_hw[0] / self.inner_hw[0]] * 2)


def _leaves(output: Any) -> Iterator[Any]:
    if isinstance(output, list | tuple):
        for value in output:
            yield from _leaves(value)
    else:
        yield output


def _noise(count: int, hw: tuple[int, int]) -> torch.Tensor:
    return torch.rand(count, 3, *hw, generator=torch.Generator().manual_seed(0))


def _words(sizes: Sequence[tuple[int, int]]) -> str:
    return "an input of " + " or ".join(f"1x3x{height}x{width}" for height, width in sizes)


class YoloDetector(BoxDetector):
    """A YOLO-style network. InputError where its output is of no layout that is known."""

    def __init__(self, network: Network, settings: DetectorSettings) -> None:
        super().__init__(settings)
        path, output, hw = network.source.path, network.output, network.own_hw
        name = settings.layout or recognised(output, hw)
        if name is None or not LAYOUTS[name].fits(output, hw):
            raise InputError(
                f"{path}: is no detector of layout {name or ', '.join(LAYOUTS)}: it puts out {list(output.shape)} for "
                f"{_words([hw])}; export the detector alone, without NMS"
            )
        self._network, self._layout = network, LAYOUTS[name]
        network.set_any_size(self._layout.fits)
        network.set_convention(PLAIN, self._layout.channel_order, self._layout.white)
        scores = self._layout.scores(output)
        if scores.min() < 0 or scores.max() > 1:
            raise InputError(f"{path}: its class scores leave 0..1; export the detector with its sigmoid")
        self.class_names = network.source.class_names(scores.shape[-1])

    def dense(self, frames: torch.Tensor, proposals: list[Any] | None = None) -> Dense:
        output, fit = self._network(frames)
        scores, raw = self._layout.scores(output), output.detach()
        classes = scores.shape[-1]

        def decode(n: int, places: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            boxes = self._layout.boxes(raw, n, places // classes, fit.outer_hw)
            return fit.to_frame(boxes), places % classes

        return Dense(scores.flatten(1), decode, rivals=classes)


class FinalDetector(BoxDetector):
    """A network that puts out final detections: dicts of boxes, scores and labels, NMS done.

    Its places mean nothing from frame to frame: at another frame, a detection is the one of its class that overlaps
    it most, from MATCH_IOU on.
    """

    def __init__(self, network: Network, settings: DetectorSettings) -> None:
        super().__init__(settings)
        self._network = network
        network.set_any_size(lambda output, hw: True, multiple=1)
        network.set_convention(PLAIN, "RGB", 1)
        # where the file does not tell, numbers are names enough: as many as torchvision's models of COCO have
        self.class_names = network.source.class_names(max(network.source.names, default=90) + 1)

    def dense(self, frames: torch.Tensor, proposals: list[Any] | None = None) -> Dense:
        found, fit = self._network(frames)

        def decode(n: int, places: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return fit.to_frame(found[n]["boxes"].detach()[places]), found[n]["labels"][places]

        return Dense([one["scores"] for one in found], decode)

    def followed(self, kept: Kept, proposals: list[Any] | None, frames: torch.Tensor) -> torch.Tensor:
        dense = self.dense(frames)
        return torch.stack([_matched(kept, dense, n).sum() for n in range(len(frames))])


def _matched(kept: Kept, dense: Dense, n: int) -> torch.Tensor:
    """The scores in the n-th frame of the detections that match those kept."""
    scores = dense.scores[n]
    boxes, labels = dense.decode(n, torch.arange(len(scores), device=scores.device))
    ious = box_iou(kept.boxes, boxes) * (kept.labels[:, None] == labels)
    if not ious.numel():
        return scores[:0]
    best, places = ious.max(1)
    return scores[places[best >= MATCH_IOU]]


class FileSegmenter(Segmenter):
    """A network that puts out a map for each class: logits, or probabilities, which are told by their values."""

    def __init__(self, network: Network, settings: DetectorSettings) -> None:
        super().__init__(settings)
        self._network = network
        output, hw = network.output, network.own_hw
        classes = max(output.shape[1], 2)
        if classes > 256 or output.shape[2] > hw[0] or output.shape[3] > hw[1]:
            raise InputError(
                f"{network.source.path}: is no detector: it puts out {list(output.shape)} for {_words([hw])}; a map of "
                "classes has at most 256 of them and the input's size"
            )
        sums = output.sum(1) if output.shape[1] > 1 else output.new_ones(1)
        self._is_probability = bool(output.min() >= 0 and output.max() <= 1 and (sums - 1).abs().max() < 1e-3)
        rows, cols = output.shape[2:]
        network.set_any_size(
            lambda probe, at: (
                probe.ndim == 4 and (probe.shape[2] * hw[0], probe.shape[3] * hw[1]) == (rows * at[0], cols * at[1])
            )
        )
        network.set_convention(IMAGENET, "RGB", 1)
        self.class_names = network.source.class_names(classes)

    def logits(self, frames: torch.Tensor) -> torch.Tensor:
        output, fit = self._network(frames)
        if output.shape[1] == 1:  # one map: how much each pixel is of the class, against what it is else
            nothing = 1 - output if self._is_probability else torch.zeros_like(output)
            output = torch.cat([nothing, output], dim=1)
        if self._is_probability:
            output = output.clamp(min=torch.finfo(output.dtype).tiny).log()
        rows, cols = (
            max(round(size * inner / outer), 1)
            for size, inner, outer in zip(output.shape[2:], fit.inner_hw, fit.outer_hw, strict=True)
        )
        return output[..., :rows, :cols]


def load_exported(source: Source, settings: DetectorSettings) -> Detector:
    """The detector in a file. InputError where it is none that is known."""
    network = Network(source, settings, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    if not isinstance(network.output, torch.Tensor):
        return FinalDetector(network, settings)
    if network.output.ndim == 4:
        return FileSegmenter(network, settings)
    return YoloDetector(network, settings)


def names_from(value: Any) -> dict[int, str]:
    """Class names by number, from Ultralytics' {0: 'person', …} or ['person', …]; {} for anything else.

    Numbers have at most four digits: nobody has more classes, and a forged file has no list made of billions.
    """
    pairs = enumerate(value) if isinstance(value, list) else value.items() if isinstance(value, dict) else ()
    return {int(number): str(name) for number, name in pairs if re.fullmatch("[0-9]{1,4}", str(number))}


def checked_file(path: Path, kind: str) -> Path:
    """`path`, where it is a file with something in it; else InputError."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; give --detector {kind}:PATH a detector's file")
    if not path.stat().st_size:
        raise InputError(f"{path}: is empty; export or copy the detector again")
    return path
