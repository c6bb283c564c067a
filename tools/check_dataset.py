"""Check a dataset: sizes, values, pairs, splits, gaps and counts."""

import argparse
from contextlib import suppress
from pathlib import Path

with suppress(ImportError):  # a script has it beside itself: it checks the installation
    import _environment  # noqa: F401

from regenhance_data import cli, console, errors
from regenhance_data.dataset.check import check_dataset
from regenhance_data.dataset.folder import Dataset
from regenhance_data.dataset.split import SPLITS
from regenhance_data.dataset.statistics import collect_statistics
from regenhance_data.dataset.warnings import dataset_warnings

EXAMPLES = "python tools/check_dataset.py --data my_dataset"
MOST_LINES = 20  # a screen; the rest is counted


def make_parser() -> argparse.ArgumentParser:
    parser = cli.make_parser(__doc__, EXAMPLES)
    parser.add_argument("--data", type=Path, required=True, help="dataset folder")
    return parser


def main(args: argparse.Namespace) -> None:
    dataset = Dataset.open(args.data)
    if dataset.record.is_empty:
        console.warn(f"{args.data}: has no dataset.yaml; {dataset.levels} levels are assumed, counts are not checked")
    problems = check_dataset(dataset)
    for problem in problems[: MOST_LINES - 1] if len(problems) > 1 else []:
        console.warn(problem)
    if problems:
        raise errors.InputError(problems[0] if len(problems) == 1 else f"{args.data}: {len(problems)} problems")
    frames = {name: len(dataset.read_split(name)) for name in SPLITS}
    for warning in dataset_warnings(collect_statistics(dataset)):
        console.warn(str(warning))
    print(f"{args.data}: no problems. " + ", ".join(f"{name} {count}" for name, count in frames.items()) + " frames")


if __name__ == "__main__":
    cli.run(main, make_parser())
