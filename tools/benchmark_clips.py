"""Run one recipe on many clips, and say what it is worth: for each clip the whole way from its video to scores of its
test frames, with a predictor trained on its own training frames, and with one trained on all other clips. --trained_on
all makes one predictor of all clips.

The HR frames are the clips' originals. A clip that fails costs its own row. A step that is done is not done again:
after a kill, the same command goes on. What the commands say is in logs/.
"""

import argparse
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

with suppress(ImportError):  # a script has it beside itself: it checks the installation
    import _environment  # noqa: F401

from regenhance_data import __version__, cli, console, errors
from regenhance_data.defaults import BUDGETS
from regenhance_data.io.files import alone, refuse_missing, write_json
from regenhance_data.many_clips.bench import Benchmark, BenchmarkSettings
from regenhance_data.many_clips.labelled import LabelledResult, read_counts_of_frames
from regenhance_data.many_clips.manifest import BenchmarkClip, read_manifest
from regenhance_data.many_clips.recipe import EVERY, OTHERS, OWN, read_recipe
from regenhance_data.many_clips.results import BenchmarkResult, comparison_rows, headline, score_rows
from regenhance_data.many_clips.steps import run_command

EXAMPLES = """
python tools/benchmark_clips.py --manifest clips.yaml --save_dir runs/clips
python tools/benchmark_clips.py --manifest tests/benchmarks/clips.yaml --root recordings --seeds 0 1 2 --save_dir S
python tools/benchmark_clips.py --manifest clips.yaml --train_options "a: --iters 90" "b: --iters 600" --save_dir S
python tools/benchmark_clips.py --manifest clips.yaml --zero_shot general.pdparams --trained_on own --save_dir S
python tools/benchmark_clips.py --manifest clips.yaml --trained_on all --save_dir runs/general
python tools/benchmark_clips.py --manifest clips.yaml --labelled 0 15 30 60 120 all --save_dir S
"""
ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / "paddleseg_configs/mb_nano.yml"


def make_parser() -> argparse.ArgumentParser:
    parser = cli.make_parser(__doc__, EXAMPLES)
    parser.add_argument("--manifest", type=Path, required=True, help="a YAML file; docs/results.md has its keys")
    parser.add_argument("--root", type=Path, help="folder of the manifest's videos and detectors (default: its own)")
    parser.add_argument("--clips", nargs="+", metavar="CLIP", help="only these clips (default: all)")
    parser.add_argument(
        "--save_dir", type=Path, required=True, help="for benchmark_clips.json, report.html and the rest"
    )
    parser.add_argument(
        "--data", type=Path, help="folder of the datasets, which several benchmarks share (default: SAVE_DIR/data)"
    )
    parser.add_argument("--config", type=Path, default=CONFIG, help="PaddleSeg YAML of the predictor")
    parser.add_argument(
        "--train_options",
        nargs="+",
        default=["--use_ema"],
        metavar="FLAGS",
        help='flags of paddleseg train in one word: "--use_ema --iters 150"; several recipes are compared, each with a '
        'name: "short: --iters 100"',
    )
    parser.add_argument(
        "--trained_on",
        nargs="*",
        choices=(OWN, OTHERS, EVERY),
        default=[OWN, OTHERS],
        help="a clip's own frames, those of all other clips, or of all clips, in one training; without a word there is "
        "no training, as for --zero_shot alone",
    )
    parser.add_argument("--zero_shot", type=Path, metavar="WEIGHTS", help=".pdparams to evaluate without training")
    parser.add_argument("--labelled", nargs="+", default=[], metavar="N", help="train on so many frames too, or all")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="of the trainings; scores are their mean")
    parser.add_argument("--budgets", nargs="+", type=float, default=BUDGETS, help="shares of macroblocks")
    return parser


def chosen_clips(args: argparse.Namespace) -> list[BenchmarkClip]:
    """The clips of the manifest that --clips names. InputError for one that it does not have."""
    clips = read_manifest(args.manifest, args.root)
    names = [clip.clip for clip in clips]
    for name in args.clips or ():
        if name not in names:
            raise errors.InputError(f"--clips {name}: {args.manifest} has no such clip; there are: {', '.join(names)}")
    return [clip for clip in clips if not args.clips or clip.clip in args.clips]


def settings_from(args: argparse.Namespace) -> BenchmarkSettings:
    """InputError for flags that are out of range or do not go together."""
    refuse_missing(args.config, "config")
    if args.zero_shot:
        refuse_missing(args.zero_shot, "weights")
    labelled = read_counts_of_frames(args.labelled)
    if 0 in labelled and args.zero_shot is None:
        raise errors.InputError(
            "--labelled 0: is given weights without training; give --zero_shot WEIGHTS, or leave out 0"
        )
    return BenchmarkSettings(
        args.save_dir,
        args.data or args.save_dir / "data",
        args.config,
        tuple(read_recipe(text, args.config) for text in args.train_options),
        tuple(dict.fromkeys(args.trained_on)),
        tuple(dict.fromkeys(args.seeds)),
        tuple(sorted({*args.budgets})),
        args.zero_shot,
        tuple(dict.fromkeys(labelled)),
    )


@alone("benchmark_clips")
def main(args: argparse.Namespace) -> None:
    clips, settings = chosen_clips(args), settings_from(args)
    benchmark = Benchmark(clips, settings, partial(run_command, ROOT))
    result = benchmark.run()
    labelled = benchmark.run_labelled() if settings.labelled else None
    write_results(args, clips, result, labelled)
    if all(clip.failed for clip in result.clips):
        raise errors.InputError(
            f"{args.manifest}: no clip was measured; {args.save_dir}/logs has what the commands said"
        )


def write_results(
    args: argparse.Namespace,
    clips: Sequence[BenchmarkClip],
    result: BenchmarkResult,
    labelled: LabelledResult | None,
) -> None:
    """Write benchmark_clips.json and report.html, with --labelled also labelled.png and .svg; print the tables."""
    from regenhance_data.plots import save_figure  # matplotlib
    from regenhance_data.reports.clips import labelled_figure, write_clips_page

    about = about_of(args)
    content = {"kit_version": __version__, "settings": about, **result.to_dict()}
    if labelled:
        content["labelled"] = {
            **labelled.result.to_dict(),
            "places": dict(labelled.places),
            "frames": dict(labelled.frames),
        }
        save_figure(labelled_figure(labelled), args.save_dir / "labelled")
    write_json(args.save_dir / "benchmark_clips.json", content)
    sources = [[clip.clip, clip.video.name, clip.licence or "", clip.source or ""] for clip in clips]
    write_clips_page(args.save_dir / "report.html", result, list(about.items()), sources, labelled)
    tables = [score_rows(result), comparison_rows(result), *([labelled.rows()] if labelled else [])]
    print("\n\n".join(console.text_table(rows) for rows in tables if len(rows) > 1))
    if labelled and labelled.short():
        print(labelled.short())
    clips_of_all = [*(labelled.result.clips if labelled else ()), *result.clips]
    for clip, why in {one.clip: one.failed for one in clips_of_all if one.failed}.items():
        print(f"{clip}: failed: {why}")
    print(f"{headline(result)}\n{args.save_dir}/benchmark_clips.json, report.html: open the page in a browser")


def about_of(args: argparse.Namespace) -> dict[str, str]:
    """{what: value} of the settings that results depend on, for people."""
    about = {
        "manifest": str(args.manifest),
        "network": args.config.stem,
        "training": "; ".join(args.train_options),
        "seeds": " ".join(map(str, args.seeds)),
        "budgets": " ".join(f"{budget:g}" for budget in args.budgets),
    }
    return about | ({"zero-shot weights": str(args.zero_shot)} if args.zero_shot else {})


if __name__ == "__main__":
    cli.run(main, make_parser())
