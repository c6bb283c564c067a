"""Train a general upscaler on a dataset of many cameras (how the kit's own weights were trained: their README.md).

Frames of all splits are used, as many as 1 GB of memory holds; all have originals. They are used as they are, and
compressed; extract them without --jpeg_quality. Several detectors are taken in turn. Nothing is validated.
"""

import argparse
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

with suppress(ImportError):  # a script has it beside itself: it checks the installation
    import _environment  # noqa: F401

from regenhance_data import cli
from regenhance_data.console import warn
from regenhance_data.dataset.folder import Dataset
from regenhance_data.detectors.arguments import add_detector_arguments, detector_settings_from
from regenhance_data.errors import InputError
from regenhance_data.evaluation.inputs import load_given_detector, refuse_without_detector, tell_detector
from regenhance_data.io.files import alone, refuse_missing, refuse_overwriting
from regenhance_data.learning.settings import refuse_training_flags
from regenhance_data.tuning.frames import read_training_pairs, refuse_blind
from regenhance_data.upscalers.general_weights import GENERAL_SCALES, general_weights

EXAMPLES = """
python tools/train_general_upscaler.py --data many_cameras --detector onnx:yolox_nano.onnx --save_dir runs/general
python tools/train_general_upscaler.py --data many_cameras --detector onnx:yolox_nano.onnx \\
    --also_for onnx:nanodet.onnx --iterations 0 3000 --start runs/general/general_x3.pt --save_dir runs/both
python tools/train_general_upscaler.py --data many_cameras_x2 --detector onnx:yolox_nano.onnx --iterations 200 400 \\
    --start runs/general/general_x3.pt --save_dir runs/general
"""


def make_parser() -> argparse.ArgumentParser:
    parser = cli.make_parser(__doc__, EXAMPLES)
    parser.add_argument("--data", type=Path, required=True, help="dataset folder with hr_images")
    parser.add_argument("--save_dir", type=Path, required=True, help="folder for general_x3.pt, by the dataset's scale")
    parser.add_argument(
        "--iterations",
        nargs=2,
        type=int,
        default=(1000, 900),
        metavar=("PIXELS", "DETECTOR"),
        help="steps on pixels, of 8 crops each (with --start, 0 too), and with detectors, of a whole frame each",
    )
    parser.add_argument("--start", type=Path, help="general weights of any scale, with whose layers it begins")
    parser.add_argument("--also_for", nargs="+", default=(), metavar="SPEC", help="more detectors, with the same flags")
    parser.add_argument("--seed", type=int, default=0, help="of the initial weights and the order of the frames")
    parser.add_argument("--overwrite", action="store_true", help="replace earlier weights in --save_dir")
    add_detector_arguments(parser)
    return parser


@alone("train_general_upscaler")
def main(args: argparse.Namespace) -> None:
    on_pixels, with_detector = args.iterations
    refuse_training_flags(args.seed, iterations=with_detector)
    if on_pixels < (0 if args.start else 1):
        raise InputError(f"--iterations {on_pixels}: expected at least 1 step on pixels, or 0 with --start")
    scale_of_start = scale_of(args.start) if args.start else None
    dataset = Dataset.open(args.data)
    refuse_without_detector(args, dataset.record.detector)
    if dataset.scale not in GENERAL_SCALES:
        scales = ", ".join(map(str, GENERAL_SCALES))
        raise InputError(f"{args.data}: has the scale {dataset.scale}; the general upscalers have {scales}")
    frames = dataset.all_frames()
    dataset.refuse_missing_originals(frames)
    path = args.save_dir / general_weights(dataset.scale).name
    if args.start:
        refuse_overwriting([args.start], [path])
    if path.exists() and not args.overwrite:
        raise InputError(f"{path}: is of an earlier training; replace it with --overwrite, or give another --save_dir")
    compressed = [clip for clip, record in dataset.record.clips.items() if record.jpeg_quality is not None]
    if compressed:
        warn(
            f"{dataset.record.path}: {', '.join(compressed[:3])}{' …' if len(compressed) > 3 else ''} were compressed "
            "already when they were extracted; extract them again without --jpeg_quality"
        )
    pairs = read_training_pairs(dataset, frames)
    # these import PyTorch
    from regenhance_data.detectors.loading import load_detector
    from regenhance_data.learning.weights import save_weights
    from regenhance_data.tuning.general import as_from_cameras, train_general_upscaler
    from regenhance_data.upscalers.general import load_general_upscaler

    start = load_general_upscaler(scale_of_start, args.start) if scale_of_start else None
    detectors = [load_given_detector(args, dataset)]
    for spec in args.also_for:
        detectors.append(load_detector(replace(detector_settings_from(args, dataset.record.detector), spec=spec)))
        tell_detector(detectors[-1])
    for detector in detectors:
        refuse_blind(detector, dataset, frames)
    seen = as_from_cameras(pairs, args.seed)
    trained = train_general_upscaler(seen, detectors, (on_pixels, with_detector), args.seed, start)
    save_weights(trained, path)
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")
    own = general_weights(dataset.scale)
    print(f"next: copy it to {own.relative_to(own.parents[3])} to make it the general upscaler of its scale")


def scale_of(path: Path) -> int:
    """The scale in the name of a file of general weights. InputError for other names, and without a file."""
    refuse_missing(path, "weights; make them with this command")
    for scale in GENERAL_SCALES:
        if path.name == general_weights(scale).name:
            return scale
    raise InputError(
        f"--start {path}: expected one of {', '.join(general_weights(scale).name for scale in GENERAL_SCALES)}"
    )


if __name__ == "__main__":
    cli.run(main, make_parser())
