"""Report on a dataset on one page: warnings, frames, importance and labels side by side, settings.

Works at any stage, from extracted frames on.
"""

import argparse
from contextlib import suppress
from pathlib import Path

with suppress(ImportError):  # a script has it beside itself: it checks the installation
    import _environment  # noqa: F401

from regenhance_data import cli, console, errors
from regenhance_data.dataset.folder import Dataset
from regenhance_data.io.files import refuse_unwritable

EXAMPLES = """
python tools/report_dataset.py --data my_dataset
python tools/report_dataset.py --data my_dataset --save runs/my_dataset.html
"""


def make_parser() -> argparse.ArgumentParser:
    parser = cli.make_parser(__doc__, EXAMPLES)
    parser.add_argument("--data", type=Path, required=True, help="dataset folder")
    parser.add_argument("--save", type=Path, help="the HTML file to write (default: report.html in the dataset folder)")
    return parser


def main(args: argparse.Namespace) -> None:
    path = args.save or args.data / "report.html"
    if path.is_dir():
        raise errors.InputError(f"{path}: is a folder; give --save the name of an HTML file")
    dataset = Dataset.open(args.data)
    refuse_unwritable(path.parent, "--save")
    from regenhance_data.reports.dataset import write_dataset_report  # matplotlib

    for warning in write_dataset_report(dataset, path):
        console.warn(str(warning))
    print(f"{path}: open it in a browser")


if __name__ == "__main__":
    cli.run(main, make_parser())
