"""Train the built-in detector of the demo's street anew (the kit comes with its weights)."""

import argparse
from functools import partial
from pathlib import Path

from regenhance_data import builtin_detector, builtin_training, builtin_upscaler, cli

EXAMPLES = """
python tools/train_builtin_detector.py --save_dir runs/builtin
python tools/train_builtin_detector.py --save_dir runs/builtin --upscaler runs/builtin/street_upscaler.pt
python tools/train_builtin_detector.py --save_dir runs/quick --streets 20 --iterations 200
"""


def make_parser() -> argparse.ArgumentParser:
    parser = cli.make_parser(__doc__, EXAMPLES)
    parser.add_argument("--save_dir", type=Path, required=True, help="folder for street_detector.pt")
    parser.add_argument("--upscaler", type=Path, default=builtin_upscaler.WEIGHTS, help="whose frames it also learns")
    parser.add_argument("--streets", type=int, default=500, help="streets to render; 5 MB of memory each")
    parser.add_argument("--iterations", type=int, default=1500, help="training steps of 8 crops each")
    parser.add_argument("--seed", type=int, default=0, help="of the first weights and the crops")
    return parser


def main(args: argparse.Namespace) -> None:
    upscaler = builtin_upscaler.load_street_upscaler(args.upscaler)
    samples = builtin_training.training_samples(args.streets)
    upscale = partial(builtin_upscaler.upscale, upscaler)
    detector = builtin_detector.train_street_detector(samples, args.iterations, args.seed, upscale=upscale)
    path = builtin_training.save_weights(detector, args.save_dir / builtin_detector.WEIGHTS.name)
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")
    print(f"next: copy it to {builtin_detector.WEIGHTS.parent.name}/ in regenhance_data/ to make it the built-in one")


if __name__ == "__main__":
    cli.run(main, make_parser())
