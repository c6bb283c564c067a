"""Train a small upscaler for your camera and your detector, on the originals of a dataset's training frames.

On pixels and on what the detector finds in the originals; from random weights, on pixels alone first. Writes
upscaler.onnx and upscaler.ts, which tools/super_resolve.py and deploy/run_cameras.py take, upscaler.json with the table
of the result, and train_log.json. The dataset needs hr_images (tools/extract.py --keep_hr) and train.txt, val.txt,
test.txt. An interrupted training goes on when the command is given again.
"""

import argparse
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

with suppress(ImportError):  # a script has it beside itself: it checks the installation
    import _environment  # noqa: F401

from regenhance_data import cli
from regenhance_data.console import tell, text_table, warn
from regenhance_data.dataset.folder import HR_IMAGES, Dataset, Frame
from regenhance_data.dataset.learnt_frames import warn_of_shared_frames
from regenhance_data.dataset.split import SPLITS
from regenhance_data.detectors.arguments import add_detector_arguments
from regenhance_data.errors import InputError
from regenhance_data.evaluation.inputs import load_given_detector, refuse_without_detector
from regenhance_data.evaluation.record import InputSettings
from regenhance_data.io.files import alone, sha256, write_json
from regenhance_data.kinds import known_specs
from regenhance_data.learning.settings import CHANNELS, LAYERS
from regenhance_data.metrics.metric import METRIC_NAMES
from regenhance_data.tuning.frames import (
    frames_with_originals,
    read_pairs_of,
    read_training_pairs,
    refuse_blind,
    refuse_no_frame,
)
from regenhance_data.tuning.settings import LOG, MINUTES, NAME, UpscalerTrainSettings
from regenhance_data.upscalers.arguments import in_words_of_upscaler_flags
from regenhance_data.upscalers.general_weights import GENERAL_SCALES, general_weights
from regenhance_data.upscalers.kinds import KINDS
from regenhance_data.upscalers.settings import UpscalerSettings

if TYPE_CHECKING:
    from regenhance_data.detectors.base import Detector
    from regenhance_data.tuning.judge import Compared, Upscale
    from regenhance_data.tuning.training import TrainedUpscalers

EXAMPLES = """
python tools/train_upscaler.py --data my_dataset --detector onnx:yolox_nano.onnx --save_dir runs/upscaler
python tools/train_upscaler.py --data my_dataset --minutes 20 --channels 28 --layers 6 --save_dir runs/upscaler
python tools/train_upscaler.py --data my_dataset --compare edsr:edsr_baseline_x3.pt --save_dir runs/upscaler
"""
MOST_VALIDATED, MOST_TESTED = 24, 40  # frames of each split, evenly spread, that the scores come from
EXPORTED, ON_PIXELS, ORIGINALS = "trained for the detector", "trained on pixels alone", "the originals"


def make_parser() -> argparse.ArgumentParser:
    parser = cli.make_parser(__doc__, EXAMPLES)
    parser.add_argument("--data", type=Path, required=True, help="dataset folder with hr_images")
    parser.add_argument("--save_dir", type=Path, required=True, help="for upscaler.onnx, upscaler.ts and upscaler.json")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="of training; they set the number of steps")
    parser.add_argument(
        "--iterations",
        nargs=2,
        type=int,
        metavar=("PIXELS", "DETECTOR"),
        help="steps on pixels alone (0: none, as from the general weights) and with the detector too, in place of "
        "--minutes: the same steps, the same weights",
    )
    parser.add_argument("--channels", type=int, default=CHANNELS, help="of the network's layers")
    parser.add_argument("--layers", type=int, default=LAYERS, help="of 3x3 convolutions before the last one")
    parser.add_argument("--no_pretrained", action="store_true", help="begin with random weights, and with pixels")
    parser.add_argument("--seed", type=int, default=0, help="of the order of the frames, and of random initial weights")
    parser.add_argument(
        "--compare",
        nargs="+",
        default=[],
        metavar="SPEC",
        help=f"further upscalers for the table: {known_specs(KINDS)}",
    )
    add_detector_arguments(parser)
    return parser


def read_frames(dataset: Dataset) -> dict[str, list[Frame]]:
    """The frames of each split. InputError where lists or originals are missing."""
    if not (dataset.root / HR_IMAGES).is_dir():
        raise InputError(
            f"{dataset.root / HR_IMAGES}: no such folder; an upscaler is trained on originals: extract again with "
            "tools/extract.py --keep_hr"
        )
    frames = {name: frames_with_originals(dataset, name) for name in SPLITS}
    refuse_no_frame(dataset, "val", frames["val"])  # the weights that are kept are chosen on them
    return frames


def training_digest(dataset: Dataset, frames: Mapping[str, list[Frame]], detector: "Detector", settings: Any) -> str:
    """Identifies all that the weights depend on."""
    from regenhance_data.detectors.loading import detector_record
    from regenhance_data.evaluation.kept import frame_key, inputs_digest

    used = {name: frames[name] for name in ("train", "val")}
    record = detector_record(detector.settings)
    inputs = InputSettings(str(dataset.root), "all", 1, HR_IMAGES, dataset.scale, dataset.mb_size, record)
    begins = sha256(general_weights(dataset.scale)) if settings.begins_general(dataset.scale) else None
    more = [{name: list(map(frame_key, some)) for name, some in used.items()}, vars(settings), begins]
    return inputs_digest(dataset, [*used["train"], *used["val"]], inputs, (), {}, more=more)


def export(trained: "TrainedUpscalers", folder: Path) -> UpscalerSettings:
    """Write the best network as TorchScript and as ONNX, compared with each other; the settings of the second."""
    from deploy.export.upscaler import export_upscaler
    from regenhance_data.learning.upscaler import save_script

    scale, script, graph = trained.best.scale, folder / f"{NAME}.ts", folder / f"{NAME}.onnx"
    save_script(trained.best, script)
    export_upscaler(UpscalerSettings(f"torchscript:{script}", scale), graph)
    print(f"wrote {script}")
    return UpscalerSettings(f"onnx:{graph}", scale)


def results(
    upscalers: Mapping[str, "Upscale"],
    compared: Mapping[str, "Compared | None"],
    about: Mapping[str, dict[str, Any]],
    lr: Any,
) -> list[dict[str, Any]]:
    """A row for each upscaler, and for nothing and the originals: its scores on the validation and the test frames."""
    from regenhance_data.tuning.judge import NOTHING, median_ms

    rows = []
    for name in (NOTHING, *upscalers, ORIGINALS):
        row: dict[str, Any] = {"name": name}
        for split, of_split in compared.items():
            scores = of_split.scores if of_split else None
            ends = {NOTHING: scores.none, ORIGINALS: scores.all} if scores else {}
            estimate = ends.get(name) or scores.curves[name][1.0] if scores else None
            row[split] = estimate.json_value() if estimate else None
            row[f"{split}_interval_95"] = estimate.json_interval() if estimate else None
            row[f"{split}_of_gap"] = scores.recovered(name, 1.0) if scores and name in upscalers else None
        timed = upscalers.get(EXPORTED if name == ON_PIXELS else name)  # the same network in the same engine
        row["ms"] = median_ms(timed, lr) if timed else None
        rows.append({**row, **about.get(name, {})})
    return rows


def table(rows: list[dict[str, Any]], metric: str) -> str:
    """The rows for the terminal."""

    def cell(value: float | None, form: str) -> str:
        return "–" if value is None else format(value, form)

    lines = [["upscaler", f"{metric} val", f"{metric} test", "95 %", "of the gap", "ms", "parameters", "halo px"]]
    for row in rows:
        interval = "–" if row["test_interval_95"] is None else "{:.2f}-{:.2f}".format(*row["test_interval_95"])
        scores = [cell(row["val"], ".3f"), cell(row["test"], ".3f"), interval, cell(row["test_of_gap"], ".0%")]
        size = [cell(row.get("parameters"), ",d"), cell(row.get("halo_px"), "d")]
        lines.append([row["name"], *scores, cell(row["ms"], ".1f"), *size])
    return text_table(lines)


def loaded_for_comparison(specs: list[str], scale: int) -> dict[str, "Upscale"]:
    """The upscalers of --compare. InputError for one that does not load."""
    from deploy.online.upscalers import load_online_upscaler

    with in_words_of_upscaler_flags("--compare"):
        return {spec: load_online_upscaler(UpscalerSettings(spec, scale)) for spec in specs}


@alone("train_upscaler")
def main(args: argparse.Namespace) -> None:
    iterations = tuple(args.iterations) if args.iterations else None
    settings = UpscalerTrainSettings(
        args.minutes, iterations, args.channels, args.layers, args.seed, not args.no_pretrained
    )
    dataset = Dataset.open(args.data)
    refuse_without_detector(args, dataset.record.detector)
    frames = read_frames(dataset)
    warn_of_shared_frames(
        dataset.root, {"training": frames["train"], "validation": frames["val"], "test": frames["test"]}
    )
    training = read_training_pairs(dataset, frames["train"])
    validation = read_pairs_of(dataset, frames["val"], MOST_VALIDATED)
    test = read_pairs_of(dataset, frames["test"], MOST_TESTED)
    begins_general = settings.begins_general(dataset.scale)
    others = ["bicubic", *(["general"] if dataset.scale in GENERAL_SCALES else []), *args.compare]
    compared = loaded_for_comparison(list(dict.fromkeys(others)), dataset.scale)
    # these import PyTorch
    from regenhance_data.learning.upscaler import upscale
    from regenhance_data.tuning.judge import Judge
    from regenhance_data.tuning.training import train_upscaler, training_state

    detector = load_given_detector(args, dataset)
    refuse_blind(detector, dataset, frames["train"])
    judges = {"val": Judge(detector, validation), "test": Judge(detector, test)}
    if not judges["val"].objects:
        warn(f"{args.data}/val.txt: no validation frame has an object, so the last weights are kept, not the best")
    inputs = training_digest(dataset, frames, detector, settings)
    trained = train_upscaler(training, judges["val"], detector, settings, args.save_dir, inputs)
    exported = export(trained, args.save_dir)
    parameters = sum(weights.numel() for weights in trained.best.parameters())
    size = {"parameters": parameters, "halo_px": trained.best.halo_px}
    upscalers: dict[str, Callable[[Any], Any]] = {
        **compared,
        **({ON_PIXELS: partial(upscale, trained.on_pixels)} if trained.on_pixels else {}),
        EXPORTED: loaded_for_comparison([exported.spec], dataset.scale)[exported.spec],
    }
    metric = METRIC_NAMES[judges["val"].metric]
    tell(f"measures {metric} of {len(upscalers)} upscalers on {len(validation)} validation and {len(test)} test frames")
    of_splits = {split: judge.compare(upscalers) for split, judge in judges.items()}
    rows = results(upscalers, of_splits, dict.fromkeys((ON_PIXELS, EXPORTED), size), training[0][0])
    verdict = (
        of_splits["test"].verdict(EXPORTED, compared) if of_splits["test"] else "has no test frame to be judged by"
    )
    about = {"metric": judges["val"].metric, "iterations": list(trained.iterations), "seed": settings.seed}
    about |= {"scale": dataset.scale, "begins_with": "general weights" if begins_general else "random weights"}
    write_json(args.save_dir / f"{NAME}.json", {**about, "upscalers": rows, "verdict": verdict})
    write_json(args.save_dir / LOG, trained.log)
    training_state(args.save_dir).unlink(missing_ok=True)
    print(table(rows, metric))
    print(f"{len(validation)} validation and {len(test)} test frames, against the detector's results on the originals")
    print(f"the trained upscaler {verdict}")
    flags = ["--predictor", "runs/predictor/mb_nano.onnx", "--upscaler", exported.spec, "--save_dir", "runs/online"]
    cli.suggest(["python", "tools/evaluate_online.py", "--data", args.data, *flags])


if __name__ == "__main__":
    cli.run(main, make_parser())
