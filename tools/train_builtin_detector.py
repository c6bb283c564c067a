"""Train the built-in street detector (how the kit's own weights were trained: docs/decisions.md)."""

import argparse
from contextlib import suppress
from pathlib import Path

with suppress(ImportError):  # a script has it beside itself: it checks the installation
    import _environment  # noqa: F401

from regenhance_data import cli
from regenhance_data.io.files import alone
from regenhance_data.learning.settings import refuse_training_flags
from regenhance_data.street.weights import DETECTOR_WEIGHTS

EXAMPLES = """
python tools/train_builtin_detector.py --save_dir runs/builtin
python tools/train_builtin_detector.py --save_dir runs/quick --streets 20 --iterations 200
"""


def make_parser() -> argparse.ArgumentParser:
    parser = cli.make_parser(__doc__, EXAMPLES)
    parser.add_argument("--save_dir", type=Path, required=True, help="folder for street_detector.pt")
    parser.add_argument("--streets", type=int, default=500, help="streets to render; 5 MB of memory each")
    parser.add_argument("--iterations", type=int, default=2200, help="training steps of 8 crops each")
    parser.add_argument("--seed", type=int, default=0, help="random seed of the initial weights and the crops")
    return parser


@alone("train_builtin_detector")
def main(args: argparse.Namespace) -> None:
    refuse_training_flags(args.seed, iterations=args.iterations)
    from regenhance_data.street.samples import training_samples  # PyAV

    samples = training_samples(args.streets)
    from regenhance_data.learning.weights import save_weights
    from regenhance_data.street.detector import train_street_detector  # PyTorch

    detector = train_street_detector(samples, args.iterations, args.seed)
    path = save_weights(detector, args.save_dir / DETECTOR_WEIGHTS.name)
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")
    cli.suggest(["python", "tools/train_builtin_upscaler.py", "--detector", path, "--save_dir", args.save_dir])


if __name__ == "__main__":
    cli.run(main, make_parser())
