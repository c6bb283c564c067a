"""How much detector accuracy a budget of enhanced macroblocks recovers, for predictors and for baselines."""

import argparse
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

with suppress(ImportError):  # a script has it beside itself: it checks the installation
    import _environment  # noqa: F401

from deploy.backends.registry import load_predictor, local_backends, refuse_missing_predictor
from regenhance_data import cli, console, errors
from regenhance_data.dataset.folder import HR_IMAGES
from regenhance_data.dataset.learnt_frames import warn_of_learnt_frames
from regenhance_data.dataset.staleness import without_words
from regenhance_data.dataset.statistics import FEWEST_TEST_FRAMES
from regenhance_data.defaults import BUDGETS
from regenhance_data.evaluation.inputs import (
    EvaluationFrames,
    add_input_arguments,
    load_evaluated,
    read_frames,
)
from regenhance_data.evaluation.record import EvaluatedModel, EvaluationRecord, EvaluationSettings, write_evaluation
from regenhance_data.evaluation.truth import FORMAT, refuse_truth_of_several
from regenhance_data.io.files import alone, refuse_missing, sha256
from regenhance_data.io.journal import journal

if TYPE_CHECKING:
    from deploy.backends.base import Predictor

EXAMPLES = """
python tools/evaluate.py --data my_dataset --model predictor.onnx --save_dir runs/evaluation
python tools/evaluate.py --data my_dataset --model predictor.onnx --budgets 0.05 0.1 --every 5 --save_dir runs/quick
python tools/evaluate.py --data my_dataset --model predictor.onnx accmodel.onnx --save_dir runs/comparison
python tools/evaluate.py --data my_dataset --model predictor.onnx --clips gate yard --save_dir runs/two_cameras
python tools/evaluate.py --data my_dataset --split all --save_dir runs/baselines
"""


def make_parser() -> argparse.ArgumentParser:
    parser = cli.make_parser(__doc__, EXAMPLES)
    parser.add_argument("--data", type=Path, required=True, help="dataset folder with importance files")
    parser.add_argument("--save_dir", type=Path, required=True, help="for evaluation.json, .png and .svg")
    parser.add_argument(
        "--model",
        nargs="+",
        type=Path,
        help="the predictor's ONNX file, then others to compare it with, like AccModel (default: baselines alone)",
    )
    parser.add_argument("--backend", default="auto", choices=("auto", *local_backends()), help="runs the model")
    parser.add_argument("--budgets", nargs="+", type=float, default=BUDGETS, help="shares of macroblocks")
    parser.add_argument(
        "--truth",
        type=Path,
        help=f"JSON of true boxes on HR frames, not for segmentation: {FORMAT}; frames are numbered as in "
        'origin_images/, labels count from 0 into "classes"; "frame_hw": [height, width] is compared; boxes above '
        "--max_box_area do not count, and detections of classes that the file does not list are false",
    )
    parser.add_argument("--counts", action="store_true", help="also write counts.json: the counts of each frame")
    add_input_arguments(parser, split="test")
    return parser


def named(paths: Sequence[Path]) -> dict[str, Path]:
    """{curve: model}: the first is the predictor, the others are named after their files, with folders where the name
    is another's. InputError, which says of which file, for a name that is taken all the same.
    """
    from regenhance_data.evaluation.curves import CURVE_STYLES  # matplotlib

    stems = [path.stem for path in paths]
    models: dict[str, Path] = {}
    for path in paths:
        name = _with_folder(path) if stems.count(path.stem) > 1 or path.stem == "predictor" else path.stem
        curve = name if models else "predictor"
        if curve in models or curve in {*CURVE_STYLES, "none", "all"} - {"predictor"}:
            what = f"another model, {models[curve]}, is" if curve in models else "a baseline is"
            raise errors.InputError(f"--model {path}: {what} called {curve!r} too; give each once, or rename this one")
        models[curve] = path
    return models


def _with_folder(path: Path) -> str:
    return f"{path.absolute().parent.name}/{path.stem}"


def display_names(paths: Sequence[Path]) -> dict[str, str]:
    """What the first model is called in tables and plots: {"predictor": its name}. The others' curves have theirs."""
    if not paths:
        return {}
    twice = [path.stem for path in paths].count(paths[0].stem) > 1
    return {"predictor": _with_folder(paths[0]) if twice else paths[0].stem}


def load_predictors(args: argparse.Namespace, chosen: EvaluationFrames) -> dict[str, "Predictor"]:
    """{curve: predictor}. InputError for what is no predictor, and for one of another frame size."""
    predictors = {}
    for curve, path in named(args.model or []).items():
        predictors[curve] = load_predictor(path, args.backend)
        chosen.refuse_unless_fitting(path, predictors[curve].input_hw)
    return predictors


@alone("evaluate")
def main(args: argparse.Namespace) -> None:
    errors.refuse_unless_shares(args.budgets)
    args.budgets = sorted(set(args.budgets))
    for path in args.model or ():
        refuse_missing_predictor(path)
    if args.truth:
        refuse_missing(args.truth)
    chosen = read_frames(args)
    if args.truth:
        refuse_truth_of_several({frame.clip for frame in chosen.frames})
    chosen.refuse_without_importance()
    predictors = load_predictors(args, chosen)  # before the detector, which takes longer
    detector, settings = load_evaluated(args, chosen)
    # these import PyTorch
    from regenhance_data.detectors.diagnosis import warn_of_empty_frames, why_nothing
    from regenhance_data.evaluation.evaluate import evaluate
    from regenhance_data.evaluation.kept import EvaluatedCounts, FrameCounts, frame_key, inputs_digest, write_counts
    from regenhance_data.evaluation.truth import read_truth, warn_of_no_score
    from regenhance_data.importance.static_map import static_map_files
    from regenhance_data.stages.make_importance import sampled_hr_frames

    dataset, frames = chosen.dataset, chosen.frames
    if without_words(settings.detector) != without_words(dataset.record.detector or {}):
        console.warn(
            f"{args.data}: importance was computed with another detector or other settings, and so is the oracle"
        )
    if len(frames) < FEWEST_TEST_FRAMES:
        console.warn(f"{len(frames)} frames are few, so intervals are wide; use a smaller --every or more video")
    warn_of_learnt_frames(dataset, frames)
    truth = None
    if args.truth and frames:
        numbers = [frame.number for frame in frames]
        truth = read_truth(args.truth, detector, dataset, frames[0].clip, numbers)
    predicts = {curve: predictor.predict_one for curve, predictor in predictors.items()}
    models = {
        curve: EvaluatedModel(str(path), sha256(path) if path.is_file() else "", predictors[curve].backend)
        for curve, path in named(args.model or []).items()
    }
    static = static_map_files(dataset, {frame.clip for frame in frames})
    same = inputs_digest(dataset, frames, settings, args.budgets, models, args.truth, static)
    with journal(args.save_dir, "evaluate", same, FrameCounts.to_json, FrameCounts.from_json) as kept:
        result = evaluate(dataset, frames, detector, chosen.hr_folder, args.budgets, predicts, truth, kept)
        result = replace(result, names=display_names(args.model or []))
        remove_earlier_counts(counts_file := args.save_dir / "counts.json", args.counts)
        write_results(args.save_dir, EvaluationRecord(result, EvaluationSettings(**vars(settings), models=models)))
        if args.counts:
            counts = {key: kept.known[key].against_hr for key in map(frame_key, frames)}
            paths = {curve: model.model for curve, model in models.items()}
            write_counts(counts_file, EvaluatedCounts(result.metric, paths, counts))
    warn_of_empty_frames(
        result.frames - (result.frames_with_objects or 0),
        result.frames,
        lambda: why_nothing(detector.settings, sampled_hr_frames(dataset, chosen.hr_folder, frames)),
    )
    warn_of_no_score(result, dataset.grid(frames[0].clip).scaled(dataset.scale))
    if args.model:
        evaluation = ["--evaluation", args.save_dir / "evaluation.json", "--save_dir", args.save_dir]
        cli.suggest(["python", "deploy/benchmark.py", "--models", *args.model, "--data", args.data, *evaluation])


def remove_earlier_counts(path: Path, makes_new_ones: bool) -> None:
    """Remove the counts of an earlier evaluation, before new results are written: they must not stay beside these."""
    if path.exists():
        path.unlink()
        if not makes_new_ones:
            console.tell(f"{path}: was of the earlier evaluation, and is removed; --counts writes a new one")


def write_results(folder: Path, record: EvaluationRecord) -> None:
    """Write evaluation.json and a plot for all frames and, of several clips, for each; print table and verdict."""
    from regenhance_data.evaluation.curves import clips_table, curves_figure, curves_table  # matplotlib
    from regenhance_data.plots import save_figure

    result = record.result
    write_evaluation(folder / "evaluation.json", record)
    save_figure(curves_figure(result), folder / "evaluation")
    if result.says_something:
        print(curves_table(result))
        print("against the detector's results on the HR frames, so that everything enhanced has 1 by definition")
        if record.settings.hr_folder == HR_IMAGES:
            print("the HR frames are the originals; tools/evaluate_online.py tells what an upscaler makes of it")
    if result.truth and result.truth.all.is_known:
        print(f"\n{curves_table(result, result.truth)}")
        print("against the true boxes; plots and the verdict are of the table above\n")
    written = "evaluation.json, evaluation.png, evaluation.svg"
    if len(result.clips) > 1:
        print(f"\n{clips_table(result)}\n")
        for clip, of_clip in result.clips.items():
            save_figure(
                curves_figure(replace(of_clip, names=result.names, clips={clip: of_clip})), folder / clip_stem(clip)
            )
        written += f", and {clip_stem('CLIP')}.png and .svg of each clip"
    empty = result.frames - (result.frames_with_objects or 0)
    if empty and result.says_something:
        print(f"{empty} of {result.frames} frames have no reference object: they count only where something is found")
    print(f"{folder}/{written}: {result.frames} frames")
    for curve, verdict in result.verdicts.items():
        name = f"{result.names.get(curve, curve)}: " if len(result.verdicts) > 1 or curve == "oracle" else ""
        print(f"{name}{verdict.text}")


def clip_stem(clip: str) -> str:
    """The name of the plot of one clip, without its suffix."""
    return f"evaluation_{clip}"


if __name__ == "__main__":
    cli.run(main, make_parser())
