"""How frames go into a network from a file: size, padding, channel order and pixel range."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from regenhance_data.detectors.class_names import COCO_NAMES, numbered
from regenhance_data.detectors.settings import DetectorSettings
from regenhance_data.errors import InputError

PAD = 114.0  # the grey that the YOLO families were trained with
# Where a file leaves its input size open: what the YOLO families were trained at; then what else they are traced at.
FREE_SIZES = ((640, 640), (416, 416), (320, 320))
MOST_SIDE_PX = 4096  # of an input; a forged file makes no giant of it
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PLAIN = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
Run = Callable[[torch.Tensor], Any]  # a batch of inputs float32 [N, 3, h, w] → whatever the network puts out


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
            f"{self.source.path}: is no detector: it gives no boxes and no class maps for {sizes_text(sizes)}; "
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
        dicts = [value for value in tensors_in(output) if isinstance(value, dict)]
        final = [value for value in dicts if {"boxes", "scores", "labels"} <= value.keys()]
        if final:
            return final
        tensors = [
            value for value in tensors_in(output) if isinstance(value, torch.Tensor) and value.is_floating_point()
        ]
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


def tensors_in(output: Any) -> Iterator[Any]:
    """What a network puts out, without the lists and tuples around it."""
    if isinstance(output, list | tuple):
        for value in output:
            yield from tensors_in(value)
    else:
        yield output


def _noise(count: int, hw: tuple[int, int]) -> torch.Tensor:
    return torch.rand(count, 3, *hw, generator=torch.Generator().manual_seed(0))


def sizes_text(sizes: Sequence[tuple[int, int]]) -> str:
    """Input sizes (height, width) in words, for errors."""
    return "an input of " + " or ".join(f"1x3x{height}x{width}" for height, width in sizes)
