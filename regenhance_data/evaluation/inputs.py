"""The inputs of an evaluation, from flags and dataset.yaml: frames, the folder of HR frames, the detector."""

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING

from regenhance_data.console import tell
from regenhance_data.dataset.folder import HR_FOLDERS, Dataset, Frame
from regenhance_data.dataset.split import SPLITS
from regenhance_data.detectors.arguments import add_detector_arguments, detector_settings_from
from regenhance_data.detectors.kinds import KINDS
from regenhance_data.errors import InputError
from regenhance_data.evaluation.record import InputSettings
from regenhance_data.kinds import known_specs

if TYPE_CHECKING:
    from regenhance_data.detectors.base import Detector

MISSING_DETECTOR = "--detector is missing"


@dataclass(frozen=True)
class EvaluationInputs:
    """What an evaluation runs on. hr_folder: the name of the folder of HR frames."""

    dataset: Dataset
    frames: list[Frame]
    hr_folder: str
    detector: "Detector"
    settings: InputSettings


def add_input_arguments(parser: argparse.ArgumentParser, split: str, sampled: bool = True) -> None:
    """The flags that `read_inputs` reads, besides --data; `split` is the default. Without `sampled` there is no
    --every, and every frame of the split is taken.
    """
    parser.add_argument("--split", choices=(*SPLITS, "all"), default=split, help="which frames")
    if sampled:
        parser.add_argument("--every", type=int, default=1, help="take only every n-th of them")
    parser.add_argument(
        "--clear", choices=HR_FOLDERS, help="HR frames (default: those that importance was computed from)"
    )
    add_detector_arguments(parser)


def read_inputs(
    args: argparse.Namespace, sampled: bool = True, missing_detector: str | None = None
) -> EvaluationInputs:
    """The inputs that the flags of `add_input_arguments` give. `missing_detector` as `load_given_detector`.

    InputError for a broken dataset, and for frames, HR frames or a detector that do not exist.
    """
    from regenhance_data.detectors.loading import detector_record

    every = args.every if sampled else 1
    if every < 1:
        raise InputError(f"--every {every}: expected at least 1")
    dataset = Dataset.open(args.data)
    if args.split == "all":
        frames = [frame for clip in dataset.clips() for frame in dataset.frames(clip)]
    else:
        frames = dataset.split_frames(args.split)
    hr_folder = dataset.hr_folder(args.clear or dataset.record.importance.hr_folder)
    detector = load_given_detector(args, dataset, missing_detector)
    settings = InputSettings(
        data=str(args.data),
        split=args.split,
        every=every,
        hr_folder=hr_folder,
        scale=dataset.scale,
        mb_size=dataset.mb_size,
        detector=detector_record(detector.settings),
    )
    return EvaluationInputs(dataset, frames[::every], hr_folder, detector, settings)


def load_given_detector(args: argparse.Namespace, dataset: Dataset, missing: str | None = None) -> "Detector":
    """The detector that the flags of `add_detector_arguments` give, else the recorded one, else the built-in one. What
    it was taken for is told.

    InputError for one that does not load, and, with the words of `missing`, in place of the built-in one.
    """
    from regenhance_data.detectors.loading import load_detector

    recorded = dataset.record.detector
    if missing and recorded is None and not hasattr(args, "spec"):
        raise InputError(f"{missing}; give one of: {known_specs(KINDS)}")
    detector = load_detector(detector_settings_from(args, recorded))
    settings, count = detector.settings, len(detector.class_names)
    tell(f"{settings.spec}: read as {settings.read_as or f'{settings.task}, {count} classes'}")
    return detector
