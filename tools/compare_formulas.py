"""Which importance formula works best for your detector: all formulas compared, and a greedy search as upper bound."""

import argparse
from contextlib import suppress
from pathlib import Path

with suppress(ImportError):  # a script has it beside itself: it checks the installation
    import _environment  # noqa: F401

from regenhance_data import cli, errors
from regenhance_data.dataset.folder import evenly_spread
from regenhance_data.defaults import BUDGETS
from regenhance_data.evaluation.inputs import add_input_arguments, load_evaluated, read_frames
from regenhance_data.importance.formula_spec import FORMULAS, formula_spec, parse_formula
from regenhance_data.io.files import alone, write_json, write_text
from regenhance_data.io.journal import journal

EXAMPLES = """
python tools/compare_formulas.py --data my_dataset --detector builtin --every 5 --save_dir runs/formulas
python tools/compare_formulas.py --data my_dataset --every 20 --greedy 4 --save_dir runs/formulas
python tools/compare_formulas.py --data my_dataset --formulas product path path:0.5 --save_dir runs/formulas
"""


def make_parser() -> argparse.ArgumentParser:
    parser = cli.make_parser(__doc__, EXAMPLES)
    parser.add_argument("--data", type=Path, required=True, help="dataset folder with HR frames")
    parser.add_argument("--save_dir", type=Path, required=True, help="for formulas.json and formulas.txt")
    parser.add_argument(
        "--formulas",
        nargs="+",
        default=FORMULAS,
        help="the others are compared with the first; path:0.1,0.9 takes the gradient at these points",
    )
    parser.add_argument("--budgets", nargs="+", type=float, default=BUDGETS, help="shares of macroblocks")
    parser.add_argument("--greedy", type=int, default=0, help="frames for a greedy search, minutes each on a CPU")
    add_input_arguments(parser, split="all")
    return parser


@alone("compare_formulas")
def main(args: argparse.Namespace) -> None:
    errors.refuse_unless_shares(args.budgets)
    if args.greedy < 0:
        raise errors.InputError(f"--greedy {args.greedy}: expected at least 0")
    formulas = list(dict.fromkeys(formula_spec(*parse_formula(formula)) for formula in args.formulas))
    chosen = read_frames(args)
    detector, settings = load_evaluated(args, chosen)
    # these import PyTorch
    from regenhance_data.evaluation.formula_comparison import (
        ComparedFrame,
        compare_formulas,
        formulas_table,
    )
    from regenhance_data.evaluation.kept import frame_key, inputs_digest

    dataset, frames = chosen.dataset, chosen.frames
    more = [formulas, [frame_key(frame) for frame in evenly_spread(frames, args.greedy)]]
    same = inputs_digest(dataset, frames, settings, args.budgets, {}, more=more)
    with journal(args.save_dir, "compare_formulas", same, ComparedFrame.to_json, ComparedFrame.from_json) as kept:
        result = compare_formulas(
            dataset, frames, detector, chosen.hr_folder, formulas, args.budgets, args.greedy, kept
        )
        result["settings"] = settings.to_dict()
        text = formulas_table(result)
        write_json(args.save_dir / "formulas.json", result)
        write_text(args.save_dir / "formulas.txt", text + "\n")
    print(text)
    print(f"{args.save_dir}/formulas.json, formulas.txt: {len(frames)} frames")
    if result["none"] is None:
        return  # no formula is best where nothing was measured
    best = max(formulas, key=lambda formula: sum(result["curves"][formula].values()))
    name, points = parse_formula(best)
    flags = ["--formula", name, *(["--points", *points] if best != name else [])]
    cli.suggest(["python", "tools/make_importance.py", "--data", args.data, *flags])


if __name__ == "__main__":
    cli.run(main, make_parser())
