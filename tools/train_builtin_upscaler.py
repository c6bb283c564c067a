"""Train the built-in ×3 street upscaler (how the kit's own weights were trained: docs/decisions.md).

First with a loss on pixels, then also on the detector's features.
"""

import argparse
from contextlib import suppress
from pathlib import Path

with suppress(ImportError):  # a script has it beside itself: it checks the installation
    import _environment  # noqa: F401

from regenhance_data import cli
from regenhance_data.io.files import alone, refuse_missing
from regenhance_data.learning.settings import refuse_training_flags
from regenhance_data.street.weights import DETECTOR_WEIGHTS, UPSCALER_WEIGHTS

EXAMPLES = """
python tools/train_builtin_upscaler.py --save_dir runs/builtin
python tools/train_builtin_upscaler.py --save_dir runs/builtin --detector runs/builtin/street_detector.pt
python tools/train_builtin_upscaler.py --save_dir runs/quick --streets 20 --iterations 200 --detector_iterations 50
"""


def make_parser() -> argparse.ArgumentParser:
    parser = cli.make_parser(__doc__, EXAMPLES)
    parser.add_argument("--save_dir", type=Path, required=True, help="folder for street_upscaler.pt")
    parser.add_argument("--detector", type=Path, default=DETECTOR_WEIGHTS, help="weights of the detector")
    parser.add_argument("--streets", type=int, default=500, help="streets to render; 5 MB of memory each")
    parser.add_argument("--iterations", type=int, default=4000, help="training steps of 8 crops each, on pixels")
    parser.add_argument("--detector_iterations", type=int, default=2400, help="further steps, with the detector")
    parser.add_argument("--seed", type=int, default=0, help="random seed of the initial weights and the crops")
    return parser


@alone("train_builtin_upscaler")
def main(args: argparse.Namespace) -> None:
    refuse_training_flags(args.seed, iterations=args.iterations, detector_iterations=args.detector_iterations)
    refuse_missing(args.detector, "weights; make them with tools/train_builtin_detector.py")
    from regenhance_data.street.samples import refuse_street_count, training_samples  # PyAV

    refuse_street_count(args.streets)
    # these import PyTorch
    from regenhance_data.learning.weights import save_weights
    from regenhance_data.street.detector import load_street_detector
    from regenhance_data.street.upscaler import train_street_upscaler

    detector = load_street_detector(args.detector)  # refused before minutes of rendering
    samples = training_samples(args.streets)
    upscaler = train_street_upscaler(samples, args.iterations, args.seed)
    upscaler = train_street_upscaler(samples, args.detector_iterations, args.seed, start=upscaler, detector=detector)
    path = save_weights(upscaler, args.save_dir / UPSCALER_WEIGHTS.name)
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")
    built_in = UPSCALER_WEIGHTS.relative_to(UPSCALER_WEIGHTS.parents[3])
    print(f"next: copy it to {built_in} to make it the built-in upscaler")


if __name__ == "__main__":
    cli.run(main, make_parser())
