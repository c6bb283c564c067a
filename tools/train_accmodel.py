"""Train AccModel, the predictor of AccMPEG (Du et al., MLSys 2022), on a dataset: a baseline in PyTorch.

Missing importance and labels are made first. Writes accmodel.pth (the best epoch on the validation frames),
train_log.json and accmodel.onnx, which runs on the same backends as the other predictors.
"""

import argparse
from contextlib import suppress
from pathlib import Path

with suppress(ImportError):  # a script has it beside itself: it checks the installation
    import _environment  # noqa: F401

from regenhance_data import cli
from regenhance_data.dataset.folder import Dataset
from regenhance_data.dataset.learnt_frames import warn_of_shared_frames
from regenhance_data.dataset.split import SPLITS
from regenhance_data.detectors.arguments import add_detector_arguments
from regenhance_data.evaluation.inputs import load_given_detector
from regenhance_data.importance.formula_spec import DEFAULT_FORMULA
from regenhance_data.io.files import alone
from regenhance_data.parallel.executors import Executor
from regenhance_data.predictors.accmodel.settings import EPOCHS, LEARNING_RATE, NAME, AccModelTrainSettings
from regenhance_data.predictors.samples import Samples
from regenhance_data.stages.make_seg_dataset import make_seg_dataset, recorded_settings

EXAMPLES = """
python tools/train_accmodel.py --data my_dataset --save_dir runs/accmodel
python tools/train_accmodel.py --data my_dataset --save_dir runs/accmodel --pretrained mb2-ssd-lite-mp-0_686.pth
python tools/train_accmodel.py --data my_dataset --save_dir runs/accmodel --detector onnx:yolox_nano.onnx --classes car
"""


def make_parser() -> argparse.ArgumentParser:
    parser = cli.make_parser(__doc__, EXAMPLES)
    parser.add_argument("--data", type=Path, required=True, help="dataset folder")
    parser.add_argument("--save_dir", type=Path, required=True, help="for accmodel.pth, accmodel.onnx, train_log.json")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="passes over the training frames")
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--learning_rate", type=float, default=LEARNING_RATE, help="of Adam, the maximum")
    parser.add_argument(
        "--threshold",
        type=float,
        help="normalised importance above which a macroblock is worth enhancing (default: the one that a tenth of the "
        "training macroblocks exceed)",
    )
    parser.add_argument(
        "--pretrained",
        metavar="imagenet|PATH",
        help="start from torchvision's MobileNetV2 (downloaded), or from a file of pytorch-ssd's MobileNetV2-SSD-lite "
        "(default: random weights)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of weights, order of frames, mirroring")
    parser.add_argument("--device", choices=["cpu", "gpu"], help="(default: the GPU if there is one)")
    parser.add_argument("--overwrite", action="store_true", help="replace the earlier training in --save_dir")
    add_detector_arguments(parser)
    return parser


def make_missing(dataset: Dataset, args: argparse.Namespace) -> None:
    """Make missing importance, then labels and split lists if they are missing or importance was made."""
    missing = [clip for clip in dataset.clips() if not dataset.importance_path(clip).is_file()]
    if missing:
        no_detector = f"{dataset.importance_path(missing[0])}: is missing, and so is --detector to make it"
        settings = load_given_detector(args, dataset, no_detector).settings
        hr_folder = dataset.hr_folder(dataset.record.importance.hr_folder)
        formula = dataset.record.importance.formula or DEFAULT_FORMULA
        from regenhance_data.stages.make_importance import make_importance

        print(f"{args.data}/importance: {len(missing)} clips have none; made first, with {settings.spec}", flush=True)
        make_importance(dataset, settings, formula, hr_folder, Executor())
    if missing or not all((dataset.root / f"{name}.txt").is_file() for name in SPLITS):
        known = recorded_settings(dataset)
        of = "the settings in dataset.yaml" if known else "the defaults of tools/make_seg_dataset.py"
        print(f"{args.data}/labels, train.txt, val.txt, test.txt: made with {of}", flush=True)
        make_seg_dataset(dataset, **known)


@alone("train")
def main(args: argparse.Namespace) -> None:
    settings = AccModelTrainSettings(
        args.save_dir,
        args.epochs,
        args.batch_size,
        args.learning_rate,
        args.threshold,
        args.pretrained,
        args.seed,
        args.device,
        args.overwrite,
    )
    Dataset.open(args.data)
    # PyTorch takes seconds to import: what can be refused without it has been refused
    from deploy.export.accmodel import export_accmodel
    from regenhance_data.predictors.accmodel.checkpoint import load_accmodel
    from regenhance_data.predictors.accmodel.training import refuse_diverged_model, torch_device, train

    torch_device(args.device)
    with Dataset.writing(args.data) as dataset:
        make_missing(dataset, args)
    training, validation = (Samples(dataset, name, dataset.levels) for name in ("train", "val"))
    warn_of_shared_frames(dataset.root, {"training": training.frames, "validation": validation.frames})
    path = args.save_dir / f"{NAME}.pth"
    best = train(training, validation, settings)
    ranking = f", ranking {best['ranking']:.3f}" if best["frames"] else ""
    print(f"wrote {path} (epoch {best['epoch']}{ranking}), {args.save_dir}/train_log.json")
    onnx_path = path.with_suffix(".onnx")
    model = load_accmodel(path).cpu()  # a GPU multiplies with 10 bits of mantissa, and the comparison would find that
    refuse_diverged_model(model, validation, path)
    export_accmodel(model, dataset, onnx_path, path)
    cli.suggest(
        ["python", "tools/evaluate.py", "--data", args.data, "--model", onnx_path, "--save_dir", args.save_dir],
        ["python", "tools/predict_importance.py", "--model", path, "--video", "VIDEO", "--save_dir", args.save_dir],
    )


if __name__ == "__main__":
    cli.run(main, make_parser())
