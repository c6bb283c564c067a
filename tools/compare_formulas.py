"""Which formula of importance serves your detector best: the formulas side by side, and a greedy search as a bound."""

import argparse
from pathlib import Path

from regenhance_data import cli, errors
from regenhance_data.dataset.folder import HR_FOLDERS, Dataset
from regenhance_data.dataset.split import SPLITS
from regenhance_data.detectors.arguments import add_detector_arguments, detector_settings_from
from regenhance_data.detectors.registry import detector_record, load_detector
from regenhance_data.detectors.settings import EXISTING
from regenhance_data.evaluation.evaluate import BUDGETS
from regenhance_data.evaluation.formulas import compare_formulas, formulas_table
from regenhance_data.importance.formulas import FORMULAS, formula_spec, parsed
from regenhance_data.io.files import write_json, write_text

EXAMPLES = """
python tools/compare_formulas.py --data my_dataset --detector builtin --every 5 --save_dir runs/formulas
python tools/compare_formulas.py --data my_dataset --every 20 --greedy 4 --save_dir runs/formulas
python tools/compare_formulas.py --data my_dataset --formulas product path path:0.5 --save_dir runs/formulas
"""


def make_parser() -> argparse.ArgumentParser:
    parser = cli.make_parser(__doc__, EXAMPLES)
    parser.add_argument("--data", type=Path, required=True, help="dataset folder with clear frames")
    parser.add_argument("--save_dir", type=Path, required=True, help="for formulas.json and formulas.txt")
    parser.add_argument(
        "--formulas",
        nargs="+",
        default=FORMULAS,
        help="the first is the one the others are compared with; path:0.1,0.9 takes the gradient at these points",
    )
    parser.add_argument("--budgets", nargs="+", type=float, default=BUDGETS, help="shares of macroblocks")
    parser.add_argument("--split", choices=(*SPLITS, "all"), default="all", help="which frames")
    parser.add_argument("--every", type=int, default=1, help="take only every n-th of them")
    parser.add_argument("--greedy", type=int, default=0, help="frames of a greedy search, minutes each on a CPU")
    parser.add_argument("--clear", choices=HR_FOLDERS, help="(default: what importance was made from)")
    add_detector_arguments(parser)
    return parser


def main(args: argparse.Namespace) -> None:
    if not all(0 < budget < 1 for budget in args.budgets):
        raise errors.InputError("--budgets: expected shares between 0 and 1")
    if args.every < 1 or args.greedy < 0:
        raise errors.InputError("--every: expected at least 1, and --greedy at least 0")
    formulas = list(dict.fromkeys(formula_spec(*parsed(formula)) for formula in args.formulas))
    dataset = Dataset.open(args.data)
    frames = [frame for clip in dataset.clips() for frame in dataset.frames(clip)]
    frames = (frames if args.split == "all" else dataset.split_frames(args.split))[:: args.every]
    recorded = dataset.record.detector
    if recorded is None and not hasattr(args, "spec"):
        raise errors.InputError(f"--detector is missing; there are: {EXISTING}")
    settings = detector_settings_from(args, recorded)
    folder = dataset.hr_folder(args.clear or dataset.record.importance.hr_folder)
    detector = load_detector(settings)

    result = compare_formulas(dataset, frames, detector, folder, formulas, args.budgets, args.greedy)
    result["settings"] = {
        "data": str(args.data),
        "split": args.split,
        "every": args.every,
        "clear": folder,
        "scale": dataset.scale,
        "mb_size": dataset.mb_size,
        "detector": detector_record(detector.settings),
    }
    text = formulas_table(result)
    write_json(args.save_dir / "formulas.json", result)
    write_text(args.save_dir / "formulas.txt", text + "\n")
    print(text)
    print(f"{args.save_dir}/formulas.json, formulas.txt: {len(frames)} frames")
    best = max(formulas, key=lambda formula: sum(result["curves"][formula].values()))
    name, points = parsed(best)
    flags = ["--formula", name, *(["--points", *points] if best != name else [])]
    cli.suggest(["python", "tools/make_importance.py", "--data", args.data, *flags])


if __name__ == "__main__":
    cli.run(main, make_parser())
