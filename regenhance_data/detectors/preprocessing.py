"""Preprocessing for networks from files: size, padding, channel order and pixel range."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from regenhance_data.detectors.class_names import COCO_NAMES, numbered
from regenhance_data.detectors.settings import DetectorSettings
from regenhance_data.errors import InputError

PAD = 114.0  # grey, as in the training of the YOLO families
# Tried where a file leaves its input size open: first what the YOLO families are trained at, then other usual sizes.
FREE_SIZES = ((640, 640), (416, 416), (320, 320))
MOST_SIDE_PX = 4096  # of an input; a forged file must not allocate more
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean and standard deviation of RGB 0..1
Run = Callable[[torch.Tensor], Any]  # a batch of inputs float32 [N, 3, h, w] → the network's output


@dataclass(frozen=True)
class Source:
    """A network from a file. run: may raise nearly anything at sizes and batches that it does not support. hw: the
    input size that the file fixes, None where it is open. names: class names by number, where the file has them.
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


@dataclass(frozen=True)
class PixelFormat:
    """How pixels are encoded for a network: (RGB / 255 − mean) / std · white, with channels in RGB or BGR order."""

    channel_order: str = "RGB"
    white: float = 1.0
    mean: Sequence[float] = (0.0, 0.0, 0.0)
    std: Sequence[float] = (1.0, 1.0, 1.0)

    def with_settings(self, settings: DetectorSettings) -> "PixelFormat":
        """This format, with what the settings define instead."""
        return PixelFormat(
            settings.channel_order or self.channel_order,
            settings.pixel_range or self.white,
            settings.pixel_mean or self.mean,
            settings.pixel_std or self.std,
        )


@dataclass(frozen=True)
class ProbedNetwork:
    """A network from a file, and what was found by running it on noise.

    hw: the input size that it ran at first. output: its output there (see `pick_output`). batches: whether several
    frames can go through it together.
    """

    source: Source
    settings: DetectorSettings
    device: torch.device
    hw: tuple[int, int]
    output: Any
    batches: bool


@torch.no_grad()
def probe_network(source: Source, settings: DetectorSettings, device: torch.device) -> ProbedNetwork:
    """Run the network on noise. InputError where it outputs no boxes and no class maps."""
    own_hw = settings.input_size or source.hw
    sizes = [own_hw] if own_hw else list(FREE_SIZES)
    for hw in sizes:
        output = _attempt(source.run, _noise(1, hw).to(device))
        if output is not None:
            return ProbedNetwork(source, settings, device, hw, output, _does_batches(source.run, hw, device))
    raise InputError(
        f"{source.path}: is not a detector: it outputs no boxes and no class maps for {sizes_text(sizes)}; "
        "give its size with --detector_input_size, and export the detector alone"
    )


def _does_batches(run: Run, hw: tuple[int, int], device: torch.device) -> bool:
    """A graph with a fixed batch size fails at another, or gives other numbers."""
    pair = _noise(2, hw).to(device)
    both = _attempt(run, pair)
    if both is None or len(both) != 2:
        return False
    if not isinstance(both, torch.Tensor):
        return True
    return torch.allclose(both[1:], _attempt(run, pair[1:]), atol=1e-3)


class Network:
    """A probed network that takes frames of any size. Calling it gives its output (see `pick_output`).

    pixel_format: of the input, where the settings do not define it. fits: (output, input size) → whether an output is
    right for its input; frames keep their own size, padded to the next `multiple`, where the output for another size
    than the probed one fits, and are resized to the probed size elsewhere.
    """

    def __init__(
        self,
        probed: ProbedNetwork,
        pixel_format: PixelFormat,
        fits: Callable[[Any, tuple[int, int]], bool],
        multiple: int = 32,
    ) -> None:
        self._probed, self._multiple = probed, multiple
        self._fixed_hw = None if _takes_any_size(probed, fits) else probed.hw
        used = pixel_format.with_settings(probed.settings)
        mean, std = (
            torch.tensor(v, dtype=torch.float32, device=probed.device)[:, None, None] for v in (used.mean, used.std)
        )
        # (x / 255 − mean) / std · white, as one product and one sum
        self._gain, self._offset = used.white / (255 * std), -mean / std * used.white
        self._is_scaled, self._is_shifted = bool((self._gain != 1).any()), bool((self._offset != 0).any())
        self._is_bgr = used.channel_order == "BGR"

    def __call__(self, frames: torch.Tensor) -> tuple[Any, "Fit"]:
        fit = Fit.of((frames.shape[2], frames.shape[3]), self._fixed_hw, self._multiple)
        inputs, run = self._inputs(frames, fit), self._probed.source.run
        if self._probed.batches:
            return pick_output(run(inputs)), fit
        outputs = [pick_output(run(one[None])) for one in inputs]
        if isinstance(self._probed.output, torch.Tensor):
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


@torch.no_grad()
def _takes_any_size(probed: ProbedNetwork, fits: Callable[[Any, tuple[int, int]], bool]) -> bool:
    if probed.settings.input_size:
        return False
    hw = probed.hw[0] + 32, probed.hw[1] + 64
    output = _attempt(probed.source.run, _noise(1, hw).to(probed.device))
    return output is not None and fits(output, hw)


def _attempt(run: Run, inputs: torch.Tensor) -> Any:
    """The output for some inputs, None where the network fails on them."""
    try:
        return pick_output(run(inputs))
    # TorchScript's own errors are RuntimeErrors; converted graphs raise what the operators in them raise
    except (RuntimeError, ValueError, IndexError, TypeError, AssertionError, NotImplementedError, StopIteration):
        return None


def pick_output(output: Any) -> Any:
    """Of all outputs: the final detections, else the first tensor of rank 3, else the first of rank 4.

    StopIteration where there is none of them.
    """
    dicts = [value for value in tensors_in(output) if isinstance(value, dict)]
    final = [value for value in dicts if {"boxes", "scores", "labels"} <= value.keys()]
    if final:
        return final
    tensors = [value for value in tensors_in(output) if isinstance(value, torch.Tensor) and value.is_floating_point()]
    tensors = [value["out"] for value in dicts if "out" in value] + tensors
    return next(t for rank in (3, 4) for t in tensors if t.ndim == rank)


@dataclass(frozen=True)
class Fit:
    """How a frame is placed in a network's input: resized to `inner_hw`, at the top left of `outer_hw`."""

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
    """The values in an output, without the lists and tuples around them."""
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
