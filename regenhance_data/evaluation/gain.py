"""What enhancement could gain, before anything is made or trained: the detector's score on some frames of a video.

The frames are enhanced by nothing (the upsampled frame, bilinear), by bicubic interpolation, and by the upscaler.
The reference is the detector's result on the HR frame: the original, where there is one, else what the upscaler makes.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matplotlib.figure import Figure

from regenhance_data import plots
from regenhance_data.console import tell, text_table
from regenhance_data.dataset.folder import HR_FOLDERS, HR_IMAGES, LR_FRAMES, SR_IMAGES, Dataset, evenly_spread
from regenhance_data.detections import Detections
from regenhance_data.detectors.base import BoxDetector, Detector
from regenhance_data.errors import InputError
from regenhance_data.evaluation.bootstrap import (
    ALL_ENHANCED,
    NOTHING_ENHANCED,
    Counts,
    CurvePoint,
    FrameScores,
    bootstrap_scores,
    objects_of,
)
from regenhance_data.evaluation.record import CANNOT_TELL, NOT_WORTH_IT, Estimate, Scores, Verdict
from regenhance_data.evaluation.verdict import LEAST_GAIN, VERDICT_BUDGET, helping, too_little
from regenhance_data.grid import MacroblockGrid
from regenhance_data.io.images import shrunk
from regenhance_data.io.video import sample_frames
from regenhance_data.metrics.metric import METRIC_NAMES, metric_of
from regenhance_data.regions.composite import copy_macroblocks, upsample_frame
from regenhance_data.regions.coverage import box_coverage
from regenhance_data.regions.selection import select_macroblocks
from regenhance_data.upscalers.loading import load_upscaler
from regenhance_data.upscalers.settings import UpscalerSettings
from regenhance_data.upscalers.tiling import TiledUpscaler

BICUBIC, AT_OBJECTS = CurvePoint("bicubic", 1.0), CurvePoint("where objects are", VERDICT_BUDGET)
LEAST_LR_PX = 32  # of the shorter side of an LR frame: two macroblocks


@dataclass(frozen=True)
class GainFrame:
    """An LR frame uint8 [H, W, 3] RGB and, each [H·scale, W·scale, 3] or None, its original and its upscaled frame.
    clip: where it is from.
    """

    lr: np.ndarray
    original: np.ndarray | None
    upscaled: np.ndarray | None
    clip: str = ""


@dataclass(frozen=True)
class GainEstimate:
    """What enhancement could gain.

    metric: a key of METRIC_NAMES. frames, frames_with_objects, objects: as in EvaluationResult. reference: `originals`
    or `upscaled`. is_upscaled: whether everything is enhanced by an upscaler, else by the originals. gain: the score
    with everything enhanced less that with nothing enhanced. ignored: boxes that only --max_box_area leaves out,
    counted where no other was found. lr_height: of the last frame, in pixels.
    """

    metric: str
    frames: int
    frames_with_objects: int
    objects: int
    reference: str
    is_upscaled: bool
    scores: Scores
    gain: Estimate
    verdict: Verdict
    ignored: int
    lr_height: int

    @property
    def rows(self) -> dict[str, Estimate]:
        """The score of each way to enhance a frame."""
        everything = "upscaler" if self.is_upscaled else "originals"
        bicubic = self.scores.curves[BICUBIC.curve][BICUBIC.budget]
        rows = {
            "nothing (bilinear)": self.scores.none,
            "bicubic": bicubic,
            f"everything ({everything})": self.scores.all,
        }
        at_objects = self.scores.curves.get(AT_OBJECTS.curve)
        return rows | ({_name(AT_OBJECTS): at_objects[AT_OBJECTS.budget]} if at_objects else {})

    def to_dict(self) -> dict[str, Any]:
        """The content of estimate.json without its settings; null where a score says nothing."""
        named = dict(zip(("none", "bicubic", "all", "at_objects"), self.rows.values(), strict=False))
        return {
            "metric": self.metric,
            "frames": self.frames,
            "frames_with_objects": self.frames_with_objects,
            "objects": self.objects,
            "reference": self.reference,
            **{name: score.json_value() for name, score in named.items()},
            "gain": self.gain.json_value(),
            "intervals_95": {name: score.json_interval() for name, score in {**named, "gain": self.gain}.items()},
            "verdict": self.verdict.to_dict(),
        }


def gain_frames_of_video(
    video: Path, count: int, scale: int, is_lr: bool, jpeg_quality: int | None = None
) -> Iterator[GainFrame]:
    """About `count` frames spread over a video: as LR frames if `is_lr`, else as originals, shrunk by `scale`.

    jpeg_quality: compress shrunk frames as JPEG, as a camera would. InputError for a file that is no video, and for one
    too small to be shrunk.
    """
    for image in sample_frames(video, count):
        height, width = image.shape[:2]
        if is_lr:
            yield GainFrame(image, None, None)
            continue
        lr_hw = height // scale, max(round(width * (height // scale) / height), 1)
        if min(lr_hw) < LEAST_LR_PX:
            raise InputError(
                f"{video}: has frames of {width}x{height}, too small to be shrunk by {scale}; give --video_is lr, "
                "a smaller --scale or a larger video"
            )
        original = cv2.resize(image, (lr_hw[1] * scale, lr_hw[0] * scale), interpolation=cv2.INTER_AREA)
        yield GainFrame(shrunk(original, lr_hw, jpeg_quality), original, None)


def gain_frames_of_dataset(dataset: Dataset, count: int) -> Iterator[GainFrame]:
    """At most `count` frames spread over a dataset's clips, with the HR frames that all of them have: where some have
    an original, only these are taken, and a line says so: one reference holds for all.
    """
    every = dataset.all_frames()
    frames = [frame for frame in every if dataset.path(HR_IMAGES, frame).is_file()] or every
    if len(frames) < len(every):
        tell(f"{dataset.root}: {len(every) - len(frames)} of {len(every)} frames have no original and are left out")
    found = {name: sum(dataset.path(name, frame).is_file() for frame in frames) for name in HR_FOLDERS}
    folders = [name for name in HR_FOLDERS if found[name] == len(frames)]
    if 0 < found[SR_IMAGES] < len(frames):
        tell(f"{dataset.root / SR_IMAGES}: lacks {len(frames) - found[SR_IMAGES]} frames and is not looked at")
    for frame in evenly_spread(frames, count):
        lr = dataset.read(LR_FRAMES, frame)
        original, upscaled = (dataset.read_hr(name, frame, lr) if name in folders else None for name in HR_FOLDERS)
        yield GainFrame(lr, original, upscaled, frame.clip)


def estimate_gain(
    frames: Iterable[GainFrame], detector: Detector, scale: int, upscale: TiledUpscaler | None = None
) -> GainEstimate:
    """The detector's scores on the frames, the gain and a verdict. Streams frame by frame.

    `upscale` replaces the upscaled frames; without either, everything is enhanced by the originals. InputError without
    frames, and for a frame with neither original nor upscaled frame.
    """
    metric = metric_of(detector.task, detector.counted_classes())
    bicubic = load_upscaler(UpscalerSettings("bicubic", scale))
    counts: list[Counts] = []
    clips: list[str] = []
    ignored, lr_height, has_original, is_upscaled = 0, 0, False, False
    for frame in frames:
        upscaled = upscale(frame.lr[None])[0] if upscale is not None else frame.upscaled
        lr_height, has_original, is_upscaled = frame.lr.shape[0], frame.original is not None, upscaled is not None
        everything = frame.original if upscaled is None else upscaled
        reference = upscaled if frame.original is None else frame.original
        if everything is None or reference is None:
            raise InputError("these frames have no HR frames; give --upscaler")
        images = [upsample_frame(frame.lr, scale), bicubic(frame.lr[None])[0], everything]
        images += [] if reference is everything else [reference]
        found = detector.detect(np.stack(images))
        points = zip((NOTHING_ENHANCED, BICUBIC, ALL_ENHANCED), found, strict=False)
        counts.append({point: metric.count(of_point, found[-1]) for point, of_point in points})
        if reference is not everything and isinstance(found[-1], Detections):
            image = _enhanced_at(found[-1], images[0], everything, scale)
            counts[-1][AT_OBJECTS] = metric.count(detector.detect(image[None])[0], found[-1])
        clips.append(frame.clip)
        ignored += _large_boxes(detector, reference) if len(counts) <= _FRAMES_LOOKED_AT else 0
    if not counts:
        raise InputError("no frame to estimate from; give a longer video")
    objects = [objects_of(of_frame[ALL_ENHANCED]) for of_frame in counts]
    scores = bootstrap_scores(counts, metric.score)
    frame_scores = FrameScores(metric, clips)
    gains = {
        point: frame_scores.lead_at(counts, point)
        for point in (ALL_ENHANCED, AT_OBJECTS)
        if all(point in of_frame for of_frame in counts)
    }
    reason = too_little(counts, metric.name)
    return GainEstimate(
        metric.key,
        len(counts),
        sum(number > 0 for number in objects),
        int(sum(objects)),
        "originals" if has_original else "upscaled",
        is_upscaled,
        scores,
        gains[ALL_ENHANCED],
        Verdict(CANNOT_TELL, reason) if reason else _verdict(scores, gains, has_original, is_upscaled),
        ignored if not any(objects) else 0,
        lr_height,
    )


_FRAMES_LOOKED_AT = 5


def _enhanced_at(objects: Detections, upsampled: np.ndarray, enhanced: np.ndarray, scale: int) -> np.ndarray:
    """The upsampled frame with the macroblocks from the enhanced one that objects cover most, within the budget."""
    height, width = upsampled.shape[:2]
    grid = MacroblockGrid(height // scale, width // scale).scaled(scale)
    image = upsampled.copy()
    copy_macroblocks(enhanced, image, select_macroblocks(box_coverage(objects, grid), AT_OBJECTS.budget), grid.mb_size)
    return image


def _large_boxes(detector: Detector, image: np.ndarray) -> int:
    """How many boxes of a frame only the setting max_box_area leaves out."""
    if not isinstance(detector, BoxDetector) or detector.settings.max_box_area == 1:
        return 0
    settings = detector.settings
    kept = len(detector.detect(image[None])[0].boxes)
    try:
        detector.settings = replace(settings, max_box_area=1.0)
        return max(len(detector.detect(image[None])[0].boxes) - kept, 0)
    finally:
        detector.settings = settings


def _name(point: CurvePoint) -> str:
    return f"{100 * point.budget:g}% {point.curve}"


def _verdict(scores: Scores, gains: Mapping[CurvePoint, Estimate], has_original: bool, is_upscaled: bool) -> Verdict:
    everything = "whole-frame super-resolution" if is_upscaled else "the original, which no upscaler exceeds,"
    names = {ALL_ENHANCED: everything, AT_OBJECTS: _name(AT_OBJECTS)}
    answer, text = helping({names[point]: gain for point, gain in gains.items()})
    if not has_original and answer != NOT_WORTH_IT:
        return Verdict(
            CANNOT_TELL,
            f"{scores.none.value:.3f} with nothing enhanced, against the upscaler's own frames: it changes what is "
            "found, and without originals nothing says whether for the better",
        )
    text += f": {scores.none.value:.3f} with nothing enhanced, {scores.all.value:.3f} with everything"
    if not is_upscaled and answer != NOT_WORTH_IT:
        return Verdict(CANNOT_TELL, f"there is room for a gain, and no upscaler was tried: {text}", "give --upscaler")
    if not has_original:
        text += ", against the upscaler's own frames"
    if answer == NOT_WORTH_IT and has_original and is_upscaled and 1 - scores.none.value >= LEAST_GAIN:
        text += f"; the originals would gain {1 - scores.none.value:.3f}, so try another --upscaler"
    return Verdict(answer, text, "use more --frames" if answer == CANNOT_TELL else "")


def gain_table(estimate: GainEstimate) -> str:
    """The score of each way to enhance a frame, with its 95 % interval."""
    rows = [["enhanced by", METRIC_NAMES[estimate.metric], "95 %"]]
    rows += [[name, score.text, score.interval_text] for name, score in estimate.rows.items()]
    return text_table(rows)


def gain_figure(estimate: GainEstimate, title: str) -> Figure:
    """A bar for each way to enhance a frame, with its 95 % interval."""
    figure, axes = plots.new_plot((5.5, 3.4), "", METRIC_NAMES[estimate.metric])
    plots.share_scale(axes)
    axes.set_title(title, loc="left")
    if not estimate.scores.all.is_known:
        plots.note(axes, "no frame has a reference object")
        return figure
    for place, score in enumerate(estimate.rows.values()):
        low, high = score.interval_95
        axes.bar(place, score.value, 0.6, color=(plots.GREY, plots.ORANGE, plots.BLUE, plots.GREEN)[place])
        axes.plot([place, place], [low, high], color=plots.BLACK, linewidth=1.4)
    names = [name.replace(" (", "\n(").replace(" where", "\nwhere") for name in estimate.rows]
    axes.set_xticks(range(len(names)), names)
    return figure
