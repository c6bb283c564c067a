"""Preprocessing for networks from files: size, padding, channel order and pixel range."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from regenhance_data.detectors.class_names import COCO_NAMES, Metadata, numbered
from regenhance_data.detectors.outputs import Outputs
from regenhance_data.detectors.settings import MOST_SIDE_PX, DetectorSettings
from regenhance_data.errors import InputError, one_line

PAD = 114.0  # grey, as in the training of the YOLO families
# Tried where a file leaves its input size open: first what the YOLO families are trained at, then other usual sizes.
FREE_SIZES = ((640, 640), (416, 416), (320, 320))
# TorchScript's own errors are RuntimeErrors; converted graphs raise what the operators in them raise
RUN_ERRORS = (RuntimeError, ValueError, LookupError, TypeError, AssertionError, NotImplementedError, MemoryError)
Run = Callable[[torch.Tensor], Any]  # a batch of inputs float32 [N, 3, h, w] → the network's output


@dataclass(frozen=True)
class Source:
    """A network from a file. run: may raise nearly anything at sizes and batches that it does not support. hw: the
    input size that the file fixes, None where it is open. metadata: what the file says of its classes and its task.
    white: the value of a white pixel where the file says so, and then it takes pixels as they are, else None.
    """

    path: Path
    run: Run
    hw: tuple[int, int] | None
    metadata: Metadata
    white: float | None = None

    def __post_init__(self) -> None:
        if self.hw and max(self.hw) > MOST_SIDE_PX:
            raise InputError(f"{self.path}: takes inputs of {self.hw[1]}x{self.hw[0]}, larger than frames are")

    def class_names(self, count: int) -> tuple[str, ...]:
        """The file's own, else COCO's for 80 classes, else numbers."""
        if self.metadata.count == count:
            return tuple(self.metadata.names[number] for number in range(count))
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

    @property
    def words(self) -> str:
        """For the line that says how a file is read: RGB 0..1."""
        normalised = "" if set(self.mean) == {0} and set(self.std) == {1} else ", normalised"
        return f"{self.channel_order} 0..{self.white:g}{normalised}"


@dataclass(frozen=True)
class ProbedNetwork:
    """A network from a file, and what was found by running it.

    hw: the input size that it ran at first. outputs: for noise of 0..1, of 0..255 and a white image, where it gives
    tensors of one shape for these, else for the first. batches: whether several frames can go through it together.
    """

    source: Source
    settings: DetectorSettings
    device: torch.device
    hw: tuple[int, int]
    outputs: Outputs
    batches: bool


@torch.no_grad()
def probe_network(source: Source, settings: DetectorSettings, device: torch.device) -> ProbedNetwork:
    """Run the network on noise. InputError, with the reason, where it does not run at the size it should have."""
    own_hw = settings.input_size or source.hw
    exported_hw = source.metadata.hw  # a traced network may run at no other
    sizes = [own_hw] if own_hw else [*([exported_hw] if exported_hw else []), *FREE_SIZES]
    problem = ""
    for hw in sizes:
        try:
            outputs = _probed(source, hw, device)
        except RUN_ERRORS as error:
            # TorchScript's own errors have a traceback before the reason
            problem = problem or one_line(error, 200, from_end=True).rpartition("Error: ")[2]
            continue
        if len(outputs):
            return ProbedNetwork(source, settings, device, hw, outputs, _does_batches(source.run, hw, device))
        problem = "it has no output of boxes or maps"
    mend = "export the detector alone"
    if source.metadata.has_nms:
        mend = "export it without NMS"
    elif settings.input_size or not own_hw:
        which = "another" if own_hw else "its"
        mend = f"give {which} size with --detector_input_size, and {mend}"
    raise InputError(f"{source.path}: does not run with {sizes_text(sizes)} ({problem}); {mend}")


def _probed(source: Source, hw: tuple[int, int], device: torch.device) -> Outputs:
    """The outputs for several inputs, joined."""
    noise = _noise(1, hw).to(device)
    inputs = [noise * (source.white or 1), noise * (255 if source.white is None else 64), torch.full_like(noise, 1)]
    parts = [Outputs.of(source.run(one)) for one in inputs]
    shapes = {tuple((name, tensor.shape) for name, tensor in part.tensors) for part in parts}
    is_finite = all(bool(tensor.isfinite().all()) for part in parts for _, tensor in part.tensors)
    return Outputs.joined(parts) if len(shapes) == 1 and not parts[0].final and is_finite else parts[0]


def _does_batches(run: Run, hw: tuple[int, int], device: torch.device) -> bool:
    """A graph with a fixed batch size fails at another, or gives other numbers."""
    pair = _noise(2, hw).to(device)
    both, second = _attempt(run, pair), _attempt(run, pair[1:])
    if both is None or second is None or len(both) != 2:
        return False
    if not all(len(tensor) == 2 for _, tensor in both.tensors):
        return False
    pairs = zip(both.tensors, second.tensors, strict=True)
    return all(
        one[1:].shape == other.shape and torch.allclose(one[1:].float(), other.float(), atol=1e-3)
        for (_, one), (_, other) in pairs
    )


class Network:
    """A probed network that takes frames of any size. Calling it gives its outputs.

    pixel_format: of the input, where neither the settings nor the file define it. fits: (outputs, input size) → whether
    outputs are right for their input; frames keep their own size, padded to the next `multiple`, where the outputs for
    another size than the probed one fit, and are resized to the probed size elsewhere.
    """

    def __init__(
        self,
        probed: ProbedNetwork,
        pixel_format: PixelFormat,
        fits: Callable[[Outputs, tuple[int, int]], bool],
        multiple: int = 32,
    ) -> None:
        self._probed, self._multiple = probed, multiple
        self._fixed_hw = None if _takes_any_size(probed, fits) else probed.hw
        if probed.source.white is not None:
            pixel_format = PixelFormat(pixel_format.channel_order, probed.source.white)
        self.pixel_format = used = pixel_format.with_settings(probed.settings)
        mean, std = (
            torch.tensor(v, dtype=torch.float32, device=probed.device)[:, None, None] for v in (used.mean, used.std)
        )
        # (x / 255 − mean) / std · white, as one product and one sum
        self._gain, self._offset = used.white / (255 * std), -mean / std * used.white
        self._is_scaled, self._is_shifted = bool((self._gain != 1).any()), bool((self._offset != 0).any())
        self._is_bgr = used.channel_order == "BGR"

    @property
    def size_words(self) -> str:
        """The size of its input in words: 320x192, or that it is any."""
        return f"{self._fixed_hw[1]}x{self._fixed_hw[0]}" if self._fixed_hw else "any size"

    def __call__(self, frames: torch.Tensor) -> tuple[Outputs, "Fit"]:
        fit = Fit.of((int(frames.shape[2]), int(frames.shape[3])), self._fixed_hw, self._multiple)
        inputs, run = self._inputs(frames, fit), self._probed.source.run
        if self._probed.batches:
            return Outputs.of(run(inputs)), fit
        return Outputs.joined([Outputs.of(run(one[None])) for one in inputs]), fit

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
def _takes_any_size(probed: ProbedNetwork, fits: Callable[[Outputs, tuple[int, int]], bool]) -> bool:
    if probed.settings.input_size:
        return False
    hw = probed.hw[0] + 32, probed.hw[1] + 64
    outputs = _attempt(probed.source.run, _noise(1, hw).to(probed.device))
    return outputs is not None and fits(outputs, hw)


def _attempt(run: Run, inputs: torch.Tensor) -> Outputs | None:
    """The outputs for some inputs, None where the network fails on them."""
    try:
        return Outputs.of(run(inputs))
    except RUN_ERRORS:
        return None


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


def _noise(count: int, hw: tuple[int, int]) -> torch.Tensor:
    return torch.rand(count, 3, *hw, generator=torch.Generator().manual_seed(0))


def sizes_text(sizes: Sequence[tuple[int, int]]) -> str:
    """Input sizes (height, width) in words, for errors."""
    return "an input of " + " or ".join(f"1x3x{height}x{width}" for height, width in sizes)
