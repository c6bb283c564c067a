"""Train an upscaler for one detector: from random weights first on the pixels of the originals alone, then also on what
the detector finds.

All random numbers come from the seed and the number of the step, so the same steps give the same weights on the same
machine with the same number of threads, also in a training that was interrupted.
"""

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from regenhance_data.console import tell, warn
from regenhance_data.dataset.folder import evenly_spread
from regenhance_data.detectors.base import Detector
from regenhance_data.detectors.unlikeness import unlikeness
from regenhance_data.errors import InputError, resumable
from regenhance_data.io.files import atomic_write
from regenhance_data.io.torch_weights import default_device, read_checkpoint
from regenhance_data.learning.loop import Training
from regenhance_data.learning.upscaler import (
    CROP,
    SmallUpscaler,
    crop_pair,
    pixel_loss,
    pixels,
    upscale,
    upscaler_training,
)
from regenhance_data.metrics.metric import METRIC_NAMES
from regenhance_data.tuning.judge import Judge
from regenhance_data.tuning.settings import NAME, UpscalerTrainSettings
from regenhance_data.upscalers.general import load_general_upscaler

Pairs = Sequence[tuple[np.ndarray, np.ndarray]]  # LR frames uint8 [h, w, 3] with originals [h·scale, w·scale, 3]
Loss = Callable[[int], torch.Tensor]  # of a new batch for a step

_BATCH = 8  # crops of a step on pixels; a step with the detector has one whole frame, as the detector will see it
_PIXEL_SHARE = 0.4  # of the time, from random weights; the general ones know pixels, and more of it overfits
_LOOKS = (1, 8)  # validations of each phase
_DETECTOR_SHARE = 1.0  # what the detector's part of the loss weighs when it begins, against that of the pixels
_WEIGHED = 8  # frames from which that weight comes
_TRIED = 32  # frames of which one must give a gradient; one without objects can give none
_TIMED = 3  # steps of each kind from which their time comes
_SAVE_EVERY_S = 20.0
PHASES = ("pixels", "detector")


@dataclass
class _State:
    """What a training has done. iterations: the steps of each phase. phase: the number of the present one. steps: the
    state of its Training, None before its first step. log: a row for each validation. weight: of the detector's part
    of the loss. networks: the state dicts of `pixels`, at the end of the first phase, and of the `best` network.
    """

    inputs: str
    iterations: tuple[int, int]
    phase: int = 0
    steps: dict[str, Any] | None = None
    log: list[dict[str, Any]] = field(default_factory=list)
    weight: float = 0.0
    networks: dict[str, dict[str, torch.Tensor]] = field(default_factory=dict)

    @property
    def done(self) -> int:
        """The steps taken, of both phases."""
        return sum(self.iterations[: self.phase]) + (self.steps["done"] if self.steps else 0)


@dataclass(frozen=True)
class TrainedUpscalers:
    """The networks after the steps on pixels, None where there are none, and the best by its score on the validation
    frames, in eval mode. iterations: the steps of each phase. log: a row for each validation.
    """

    on_pixels: SmallUpscaler | None
    best: SmallUpscaler
    iterations: tuple[int, int]
    log: list[dict[str, Any]]


def train_upscaler(
    training: Pairs,
    judge: Judge,
    detector: Detector,
    settings: UpscalerTrainSettings,
    save_dir: Path,
    inputs: str,
) -> TrainedUpscalers:
    """Train on the pairs, go on where a training of the same `inputs` (a digest of all that it depends on) was
    interrupted, and validate with the judge. Writes the `training_state` to `save_dir`.

    A KeyboardInterrupt tells what is kept. InputError for a detector whose results have no gradient, for random weights
    without a step on pixels, and when the loss is not finite.
    """
    scale = training[0][1].shape[0] // training[0][0].shape[0]
    if settings.iterations and not settings.iterations[0] and not settings.begins_general(scale):
        raise InputError(f"--iterations 0 {settings.iterations[1]}: random weights need steps on pixels first")
    network = _new_network(scale, settings).to(default_device())
    refuse_without_gradient(network, training, detector)
    path = training_state(save_dir)
    state = _kept(path, inputs)
    if state is None:
        state = _State(inputs, settings.iterations or _affordable(network, training, judge, detector, settings))
    first, second = state.iterations
    before = f"{first} steps on pixels, then " if first else ""
    tell(f"{before}{second} steps with the detector; --iterations {first} {second} repeats them")
    if state.done:
        tell(f"kept {state.done} of {first + second} steps of an interrupted run")
    run = _Run(network, training, judge, detector, settings.seed, state, path)
    try:
        run.finish()
    except KeyboardInterrupt:
        raise resumable(f"kept {run.saved} of {first + second} steps") from None
    on_pixels = _loaded(network, state.networks["pixels"]) if first else None
    return TrainedUpscalers(on_pixels, _loaded(network, state.networks["best"]), state.iterations, state.log)


def _new_network(scale: int, settings: UpscalerTrainSettings) -> SmallUpscaler:
    """With the general weights, else with random ones; says which."""
    if settings.begins_general(scale):
        tell(f"begins with the general weights of x{scale}")
        return load_general_upscaler(scale)
    size = settings.channels, settings.layers
    if settings.pretrained:
        tell(f"begins with random weights: there are no general ones of x{scale}, {size[0]} channels, {size[1]} layers")
    torch.manual_seed(settings.seed)
    return SmallUpscaler(scale, *size)


def training_state(save_dir: Path) -> Path:
    """The file with which a training goes on; to be removed when what it made is exported."""
    return save_dir / f".{NAME}-training.pt"


def _loaded(network: SmallUpscaler, weights: dict[str, torch.Tensor]) -> SmallUpscaler:
    """A network like another one, with weights of its own, in eval mode."""
    made = copy.deepcopy(network)
    made.load_state_dict(weights)
    return made.eval()


def refuse_without_gradient(network: SmallUpscaler, frames: Pairs, detector: Detector) -> None:
    """InputError for a detector whose results depend on a frame's pixels in a differentiable way in none of some."""
    if not any(_has_gradient(network, pair, detector) for pair in evenly_spread(frames, _TRIED)):
        raise InputError(
            f"--detector {detector.settings.spec}: its results have no gradient in the pixels, so no upscaler can be "
            "trained for it; export it for float pixels, without NMS"
        )


def _has_gradient(network: SmallUpscaler, pair: tuple[np.ndarray, np.ndarray], detector: Detector) -> bool:
    lr, hr = (pixels(frame[None]).to(detector.device) for frame in pair)
    made = network(lr).detach().requires_grad_()
    lost = unlikeness(detector, made, hr)
    gradient = torch.autograd.grad(lost, made, allow_unused=True)[0] if lost.requires_grad else None
    return gradient is not None and bool(gradient.any() and gradient.isfinite().all())


class _Run:
    """A training that goes on from its state, and saves it. saved: the steps in the file."""

    def __init__(
        self,
        network: SmallUpscaler,
        training: Pairs,
        judge: Judge,
        detector: Detector,
        seed: int,
        state: _State,
        path: Path,
    ) -> None:
        self._network, self._judge, self._state, self._path = network, judge, state, path
        self._frames, self._detector, self._seed = training, detector, seed
        self.saved, self._saved_at = state.done, time.monotonic()

    def finish(self) -> None:
        """Take all steps that are left."""
        state = self._state
        for phase in range(state.phase, len(PHASES)):
            if phase > state.phase:
                state.phase, state.steps = phase, None
                self._network.load_state_dict(state.networks["pixels"])
            steps = upscaler_training(self._network, state.iterations[phase])
            if state.steps:
                steps.restore(state.steps)
            elif phase:
                state.weight = detector_weight(self._network, self._frames, self._detector)
            self._finish_phase(phase, steps)

    def _finish_phase(self, phase: int, steps: Training) -> None:
        batch_loss = (
            partial(loss_on_pixels, self._network, self._frames, self._seed)
            if phase == 0
            else partial(
                loss_with_detector, self._network, self._frames, self._detector, self._state.weight, self._seed
            )
        )

        def save_now_and_then() -> None:
            if time.monotonic() - self._saved_at >= _SAVE_EVERY_S:
                self._save(steps)

        for look in range(1, _LOOKS[phase] + 1):
            until = -(-steps.iterations * look // _LOOKS[phase])
            if {"phase": PHASES[phase], "step": until}.items() <= (self._state.log or [{}])[-1].items():
                continue
            if steps.done <= until:
                self._network.train()
                steps.run(batch_loss, until, save_now_and_then)
                self._look(phase, until)
                self._save(steps)

    def _look(self, phase: int, step: int) -> None:
        """Validate, keep the network if it is the best, and write and print a row."""
        state = self._state
        made = partial(upscale, self._network.eval())
        score = self._judge.score(made)
        best = max((row["score"] for row in state.log if row["score"] is not None), default=-math.inf)
        is_best = math.isnan(score) or score > best
        copied = {name: value.detach().cpu().clone() for name, value in self._network.state_dict().items()}
        state.networks |= {"best": copied} if is_best else {}
        state.networks |= {"pixels": copied} if phase == 0 else {}
        known = None if math.isnan(score) else score
        psnr = self._judge.psnr(made) if self._judge.objects else None
        state.log.append({"phase": PHASES[phase], "step": step, "score": known, "psnr": psnr, "best": is_best})
        metric = METRIC_NAMES[self._judge.metric]
        said = "" if known is None else f": {metric} {known:.3f} on the validation frames, PSNR {psnr:.2f} dB"
        when = f"{PHASES[phase]}, step {step} of {state.iterations[phase]}" if step else "before the first step"
        tell(f"{when}{said}{', the best' if is_best and said else ''}")

    def _save(self, steps: Training) -> None:
        self._state.steps = steps.state()
        with atomic_write(self._path) as temporary:
            torch.save(vars(self._state), temporary)
        self.saved, self._saved_at = self._state.done, time.monotonic()


def _kept(path: Path, inputs: str) -> _State | None:
    """The state of an interrupted training with the same inputs."""
    if not path.is_file():
        return None
    content = read_checkpoint(path)
    if content.get("inputs") == inputs:
        return _State(**content)
    tell(f"{path.parent} has an unfinished training of other frames or settings, which this one replaces")
    return None


def _affordable(
    network: SmallUpscaler, frames: Pairs, judge: Judge, detector: Detector, settings: UpscalerTrainSettings
) -> tuple[int, int]:
    """How many steps of each phase fit the minutes, by the time of some; the network stays as it is."""
    tried, seed = copy.deepcopy(network), settings.seed
    began = time.monotonic()
    judge.score(partial(upscale, tried))
    judge.psnr(partial(upscale, tried))
    looks_s = sum(_LOOKS) * (time.monotonic() - began)
    left = max(60 * settings.minutes - looks_s, 0)
    if left < looks_s:
        warn(f"--minutes {settings.minutes:g}: {sum(_LOOKS)} validations take {looks_s / 60:.1f} of them; give more")

    def affordable(share: float, loss: Loss, kind: str) -> int:
        step_s = _step_s(upscaler_training(tried, _TIMED + 1), loss)
        tell(f"a step {kind} takes {1000 * step_s:.0f} ms")
        return max(int(left * share / step_s), 1)

    on_pixels = 0.0 if settings.begins_general(network.scale) else _PIXEL_SHARE
    first = affordable(on_pixels, partial(loss_on_pixels, tried, frames, seed), "on pixels") if on_pixels else 0
    with_detector = partial(loss_with_detector, tried, frames, detector, 1.0, seed)
    return first, affordable(1 - on_pixels, with_detector, "with the detector")


def _step_s(steps: Training, loss: Loss) -> float:
    """The median time of a step, in seconds, after one that is not counted."""
    ends = [time.monotonic()]
    steps.run(loss, after_step=lambda: ends.append(time.monotonic()))
    return float(np.median(np.diff(ends[1:])))


def loss_on_pixels(network: SmallUpscaler, frames: Pairs, seed: int, step: int) -> torch.Tensor:
    """Of random crops."""
    rng = np.random.default_rng([seed, 0, step])
    side = min(CROP, *(min(lr.shape[:2]) for lr, _ in frames))
    crops = []
    for _ in range(_BATCH):
        pair = frames[rng.integers(len(frames))]
        top, left = (int(rng.integers(length - side + 1)) for length in pair[0].shape[:2])
        crops.append(crop_pair(rng, *pair, (left, top), (side, side)))
    lr, hr = (pixels(np.stack(part)).to(default_device()) for part in zip(*crops, strict=True))
    return _finite(pixel_loss(network(lr), hr), step)


def loss_with_detector(
    network: SmallUpscaler, frames: Pairs, detector: Detector, weight: float, seed: int, step: int
) -> torch.Tensor:
    """Of a random whole frame: crops have objects cut in two, and detectors that resize frames see them too large."""
    rng = np.random.default_rng([seed, 1, step])
    on_pixels, of_detector = _both_losses(network, frames[rng.integers(len(frames))], detector)
    return _finite(on_pixels + weight * of_detector, step)


def _both_losses(
    network: SmallUpscaler, pair: tuple[np.ndarray, np.ndarray], detector: Detector
) -> tuple[torch.Tensor, torch.Tensor]:
    lr, hr = (pixels(frame[None]).to(default_device()) for frame in pair)
    made = network(lr)
    # the detector gets pixels as it will; the gradient of what is beyond them is that of the L1
    return pixel_loss(made, hr), unlikeness(detector, made.clamp(0, 255), hr)


@torch.no_grad()
def detector_weight(network: SmallUpscaler, frames: Pairs, detector: Detector) -> float:
    """The weight with which the detector's part of the loss is _DETECTOR_SHARE of the other when it begins."""
    losses = [_both_losses(network.eval(), pair, detector) for pair in evenly_spread(frames, _WEIGHED)]
    on_pixels, of_detector = (float(sum(map(float, part))) for part in zip(*losses, strict=True))
    return _DETECTOR_SHARE * on_pixels / max(of_detector, 1e-6)


def _finite(loss: torch.Tensor, step: int) -> torch.Tensor:
    if not torch.isfinite(loss):
        raise InputError(f"--detector: the loss is not finite in step {step}; give another --seed or fewer --layers")
    return loss
