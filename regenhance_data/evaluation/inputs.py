"""The inputs of an evaluation, from flags and dataset.yaml: frames, the folder of HR frames, the detector."""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regenhance_data.console import tell
from regenhance_data.dataset.folder import HR_FOLDERS, Dataset, Frame
from regenhance_data.dataset.next_steps import refuse_missing_hr_frames
from regenhance_data.dataset.split import SPLITS
from regenhance_data.dataset.staleness import refuse_stale_importance
from regenhance_data.detectors.arguments import add_detector_arguments, detector_settings_from
from regenhance_data.detectors.kinds import KINDS
from regenhance_data.errors import InputError, refuse_below_one
from regenhance_data.evaluation.record import InputSettings
from regenhance_data.importance.frame_pairs import read_pair
from regenhance_data.kinds import known_specs

if TYPE_CHECKING:
    from regenhance_data.detectors.base import Detector

_MISSING = "--detector is missing"


@dataclass(frozen=True)
class EvaluationFrames:
    """The frames that are evaluated. hr_folder: the name of the folder of HR frames. split, every: as given."""

    dataset: Dataset
    frames: list[Frame]
    hr_folder: str
    split: str
    every: int

    def refuse_without_importance(self) -> None:
        """InputError where a clip has no importance, whose order is the oracle's, or one that other frames had."""
        for clip in {frame.clip for frame in self.frames}:
            self.dataset.importance_file(clip)
            refuse_stale_importance(self.dataset, clip)

    def refuse_unless_fitting(self, model: Path, input_hw: tuple[int, int]) -> None:
        """InputError where a predictor takes frames of another size (height, width) than those of a clip."""
        grids = {clip: self.dataset.grid(clip) for clip in dict.fromkeys(frame.clip for frame in self.frames)}
        fitting = [clip for clip, grid in grids.items() if (grid.height, grid.width) == input_hw]
        others = [clip for clip in grids if clip not in fitting]
        if not others:
            return
        grid = grids[others[0]]
        which = "the frames are" if others == [""] else f"those of {', '.join(others)} are"
        size = f"{grid.height} {grid.width}"
        export = f"deploy/export_onnx.py --input_size {size}, for a flat map deploy/export_static_map.py --flat {size}"
        how = f"give --clips {' '.join(fitting)}, and another --model for the others: " if fitting else "use "
        raise InputError(
            f"{model}: takes frames of {input_hw[1]}x{input_hw[0]}, {which} {grid.width}x{grid.height}; {how}{export}"
        )


def add_input_arguments(parser: argparse.ArgumentParser, split: str, sampled: bool = True) -> None:
    """The flags that `read_frames` and `load_evaluated` read, besides --data; `split` is the default. Without `sampled`
    there is no --every, and every frame of the split is taken.
    """
    parser.add_argument("--split", choices=(*SPLITS, "all"), default=split, help="which frames")
    parser.add_argument("--clips", nargs="+", metavar="CLIP", help="only these clips (default: all)")
    if sampled:
        parser.add_argument("--every", type=int, default=1, help="take only every n-th of each clip")
    parser.add_argument(
        "--clear", choices=HR_FOLDERS, help="HR frames (default: those that importance was computed from)"
    )
    add_detector_arguments(parser)


def read_frames(args: argparse.Namespace, sampled: bool = True) -> EvaluationFrames:
    """The frames that the flags of `add_input_arguments` give. InputError for a broken dataset, for clips and HR frames
    that do not exist, and without a detector to evaluate.
    """
    every = args.every if sampled else 1
    refuse_below_one(every=every)
    dataset = Dataset.open(args.data)
    chosen = dataset.chosen_frames(args.split, args.clips, every)
    frames = [frame for some in chosen.values() for frame in some]
    hr_folder = dataset.hr_folder(args.clear or dataset.record.importance.hr_folder)
    refuse_without_detector(args, dataset.record.detector)
    refuse_missing_hr_frames(dataset, frames, hr_folder)
    for some in chosen.values():  # refuses those of another size
        read_pair(dataset, some[-1], hr_folder)
    return EvaluationFrames(dataset, frames, hr_folder, args.split, every)


def refuse_without_detector(
    args: argparse.Namespace, recorded: Mapping[str, Any] | None, missing: str = _MISSING
) -> None:
    """InputError, with the words of `missing`, where neither --detector nor dataset.yaml gives a detector."""
    if recorded is None and not hasattr(args, "spec"):
        raise InputError(f"{missing}; give one of: {known_specs(KINDS)}")


def load_evaluated(args: argparse.Namespace, chosen: EvaluationFrames) -> tuple["Detector", InputSettings]:
    """The detector that the flags give for the chosen frames, and what the results record of both. InputError for a
    detector that does not load.
    """
    from regenhance_data.detectors.loading import detector_record

    dataset = chosen.dataset
    detector = load_given_detector(args, dataset)
    settings = InputSettings(
        data=str(args.data),
        split=chosen.split,
        every=chosen.every,
        hr_folder=chosen.hr_folder,
        scale=dataset.scale,
        mb_size=dataset.mb_size,
        detector=detector_record(detector.settings),
    )
    return detector, settings


def load_given_detector(args: argparse.Namespace, dataset: Dataset, missing: str = _MISSING) -> "Detector":
    """The detector that the flags of `add_detector_arguments` give, else the recorded one. What it was taken for is
    told. InputError for one that does not load, and as `refuse_without_detector`.
    """
    from regenhance_data.detectors.loading import load_detector

    recorded = dataset.record.detector
    refuse_without_detector(args, recorded, missing)
    detector = load_detector(detector_settings_from(args, recorded))
    tell_detector(detector)
    return detector


def tell_detector(detector: "Detector") -> None:
    """Say what a detector was taken for."""
    settings, count = detector.settings, len(detector.class_names)
    tell(f"{settings.spec}: read as {settings.read_as or f'{settings.task}, {count} classes'}")
