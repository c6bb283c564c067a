"""Train a predictor with a PaddleSeg config, validate it, predict pictures, export it for Paddle Inference."""

import argparse
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regenhance_data import cli
from regenhance_data.dataset.folder import Dataset
from regenhance_data.defaults import MB_SIZE, SCALE
from regenhance_data.errors import InputError
from regenhance_data.io.files import write_json
from regenhance_data.predictors.paddleseg.checkpoints import (
    WEIGHTS,
    load_trained_weights,
    refuse_missing_weights,
    trained_input_scale,
)
from regenhance_data.predictors.paddleseg.config_file import read_config, shrink_of
from regenhance_data.predictors.paddleseg.networks import NETWORKS
from regenhance_data.predictors.paddleseg.settings import TrainSettings

if TYPE_CHECKING:
    from regenhance_data.predictors.paddleseg.config import PredictorConfig
    from regenhance_data.predictors.samples import Samples

# Paddle takes seconds to import: each command first refuses what it can without it.

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
EXAMPLES = """
paddleseg train --config paddleseg_configs/mb_nano.yml --dataset_root my_dataset --save_dir runs/predictor --use_ema
paddleseg train --config C.yml --dataset_root D --save_dir S --iters 2000 --resume_model S/iter_500
paddleseg val --config C.yml --dataset_root D --save_dir S --model_path S/best_model/model.pdparams
paddleseg val --config C.yml --save_dir S --model_path M.pdparams --opts val_dataset.val_path=my_dataset/test.txt
paddleseg predict --config C.yml --model_path M.pdparams --image_path my_dataset/origin_images --save_dir S
paddleseg export --config C.yml --model_path M.pdparams --input_shape 1 3 360 640 --save_dir S
python -m paddle.distributed.launch --gpus 0,1 .venv/bin/paddleseg train --device gpu --config C.yml --dataset_root D
"""


def make_parser() -> argparse.ArgumentParser:
    """The parser of the console command `paddleseg`; flags have PaddleSeg's names."""
    parser = cli.make_parser(__doc__ or "", EXAMPLES)
    parser.prog = "paddleseg"
    parser.add_argument("command", choices=list(COMMANDS))
    parser.add_argument(
        "--config", type=Path, required=True, help=f"a PaddleSeg YAML; paddleseg_configs/ has {_networks()}"
    )
    parser.add_argument("--dataset_root", type=Path, help="dataset folder (default: the config's)")
    parser.add_argument("--save_dir", type=Path, default=Path("output"), help="folder for checkpoints and results")
    parser.add_argument("--device", choices=["cpu", "gpu"], default="cpu")
    parser.add_argument(
        "--input_scale",
        type=float,
        help="scale of the network's input: 1, 0.5, 0.25, … (default: 1, or that of --model_path)",
    )
    parser.add_argument("--opts", nargs="+", help="config entries to change: key.subkey=value")

    training = parser.add_argument_group("train")
    training.add_argument("--iters", type=int, help="iterations (default: the config's)")
    training.add_argument("--batch_size", type=int, help="frames of a batch, on each device (default: the config's)")
    training.add_argument("--learning_rate", type=float, help="(default: the config's)")
    training.add_argument("--seed", type=int, default=0)
    training.add_argument("--save_interval", type=int, default=100, help="iterations between checkpoints")
    training.add_argument("--keep_checkpoint_max", type=int, default=5, help="newest iter_N folders to keep")
    training.add_argument("--log_iters", type=int, default=20, help="iterations between rows of the log")
    training.add_argument("--num_workers", type=int, default=0, help="processes that read frames")
    training.add_argument("--resume_model", type=Path, help="folder iter_N to resume from")
    training.add_argument("--overwrite", action="store_true", help="replace the earlier training in --save_dir")
    training.add_argument("--no_pretrained", action="store_true", help="start from random weights; download nothing")
    training.add_argument("--use_ema", action="store_true", help="validate and keep the moving average of the weights")
    training.add_argument(
        "--early_stop_intervals", type=int, help="stop after this many validations without a better one"
    )
    training.add_argument("--accumulate_steps", type=int, default=1, help="batches in one iteration")
    training.add_argument(
        "--precision", choices=["fp32", "fp16"], default="fp32", help="fp16: mixed precision, on a GPU"
    )
    training.add_argument("--use_vdl", action="store_true", help="log for VisualDL: visualdl --logdir SAVE_DIR")

    trained = parser.add_argument_group("val, predict, export")
    trained.add_argument("--model_path", type=Path, help="trained weights, .pdparams")
    trained.add_argument("--image_path", type=Path, help="predict: a picture, or a folder of them")
    trained.add_argument("--budget", type=float, default=0.1, help="predict: share of the macroblocks to outline")
    trained.add_argument("--input_shape", type=int, nargs=4, metavar=("N", "C", "H", "W"), help="export (default: any)")
    trained.add_argument(
        "--output_op", choices=["argmax", "softmax", "none"], default="argmax", help="export: the last operator"
    )
    return parser


def _networks() -> str:
    return ", ".join(f"{name} ({network.parameters / 1e6:.2g} M parameters)" for name, network in NETWORKS.items())


def run_command(args: argparse.Namespace) -> None:
    """Run the command of the parsed arguments. InputError for bad usage or input."""
    for name in ("iters", "batch_size", "learning_rate", "keep_checkpoint_max"):
        value = getattr(args, name)
        if value is not None and not value > 0:
            raise InputError(f"--{name} {value}: expected more than 0")
    if args.precision == "fp16" and args.device == "cpu":
        raise InputError("--precision fp16: needs --device gpu")
    read_config(args.config)
    if args.command != "train":
        if args.model_path is None:
            raise InputError(f"--model_path is missing; paddleseg {args.command} needs a trained .pdparams")
        refuse_missing_weights(args.model_path)
    COMMANDS[args.command](args)


def _config(args: argparse.Namespace) -> "PredictorConfig":
    """The config with what the arguments change in it; sets Paddle's device."""
    trained = args.model_path if args.command != "train" else args.resume_model and args.resume_model / WEIGHTS
    scale = trained_input_scale(trained, args.input_scale) if trained else args.input_scale
    scale = 1.0 if scale is None else scale
    shrink_of(scale)
    # Paddle warns of a compiler cache that only its C++ extensions would use
    warnings.filterwarnings("ignore", message="No ccache found")
    warnings.filterwarnings("ignore", message="When training, we now always track global mean and variance")
    import paddle

    from regenhance_data.predictors.paddleseg.config import PredictorConfig

    if args.device == "gpu" and not paddle.is_compiled_with_cuda():
        raise InputError("--device gpu: this Paddle is built for the CPU; install paddlepaddle-gpu or use --device cpu")
    paddle.set_device(args.device)
    if args.command == "train" and paddle.distributed.ParallelEnv().nranks > 1:
        paddle.distributed.init_parallel_env()
    return PredictorConfig(
        args.config,
        scale,
        learning_rate=args.learning_rate,
        batch_size=args.batch_size,
        iters=args.iters,
        opts=args.opts,
    )


def _trained(args: argparse.Namespace, config: "PredictorConfig") -> Any:
    model = config.build("model")
    load_trained_weights(model, args.model_path)
    return model


def _refuse_missing_dataset(args: argparse.Namespace) -> None:
    """InputError where the dataset is missing, as far as that is known before PaddleSeg applies --opts."""
    if args.dataset_root:
        Dataset.open(args.dataset_root)
    elif not args.opts:
        settings = read_config(args.config).get("val_dataset")
        if isinstance(settings, dict):  # PaddleSeg refuses anything else
            Dataset.open(str(settings.get("dataset_root", ".")))


def _samples(args: argparse.Namespace, config: "PredictorConfig", split: str) -> "Samples":
    """The frames of the config's train_path or val_path; --dataset_root moves the list into that folder."""
    from regenhance_data.predictors.samples import Samples

    settings = config.seg.dic[f"{split}_dataset"]
    root = args.dataset_root or Path(str(settings.get("dataset_root", ".")))
    listed = Path(str(settings.get(f"{split}_path", f"{split}.txt")))
    if listed.suffix != ".txt" or (args.dataset_root is None and listed.parent.resolve() != root.resolve()):
        raise InputError(f"{listed}: a list of frames is a .txt file in its dataset folder, {root}")
    dataset = Dataset.open(root)
    config.refuse_cut_macroblocks(dataset.mb_size)
    return Samples(dataset, listed.stem, config.num_classes)


def _train(args: argparse.Namespace) -> None:
    settings = TrainSettings(
        args.save_dir,
        seed=args.seed,
        save_interval=args.save_interval,
        log_iters=args.log_iters,
        num_workers=args.num_workers,
        keep_checkpoints=args.keep_checkpoint_max,
        resume_model=args.resume_model,
        use_ema=args.use_ema,
        precision=args.precision,
        accumulate_steps=args.accumulate_steps,
        early_stop_intervals=args.early_stop_intervals,
        use_vdl=args.use_vdl,
        pretrained=not args.no_pretrained,
        overwrite=args.overwrite,
    )
    _refuse_missing_dataset(args)
    config = _config(args)
    from regenhance_data.predictors.paddleseg.training import train
    from regenhance_data.predictors.paddleseg.validation import describe

    best = train(config, _samples(args, config, "train"), _samples(args, config, "val"), settings)
    if not best:  # only the first of several processes has a result
        return
    model_path = args.save_dir / "best_model" / WEIGHTS
    print(f"wrote {model_path} (iteration {best['iter']}: {describe(best)}), {args.save_dir}/train_log.json")
    where = ["--dataset_root", args.dataset_root] if args.dataset_root else []
    where += ["--save_dir", args.save_dir, *(["--opts", *args.opts] if args.opts else [])]
    cli.suggest(["python", "deploy/export_onnx.py", "--config", args.config, "--model_path", model_path, *where])


def _validate(args: argparse.Namespace) -> None:
    _refuse_missing_dataset(args)
    config = _config(args)
    from regenhance_data.predictors.paddleseg.validation import describe, validate

    result = validate(_trained(args, config), config, _samples(args, config, "val"))
    write_json(args.save_dir / "val.json", result)
    print(describe(result))
    print(f"wrote {args.save_dir}/val.json")


def _predict(args: argparse.Namespace) -> None:
    if args.image_path is None:
        raise InputError("--image_path is missing; paddleseg predict needs a picture or a folder of pictures")
    if not 0 < args.budget <= 1:
        raise InputError(f"--budget {args.budget}: expected a share of the macroblocks, more than 0 and at most 1")
    if args.save_dir.resolve() == args.image_path.resolve():
        raise InputError(f"{args.save_dir}: has the pictures; give --save_dir another folder for the results")
    pictures = _pictures_at(args.image_path, args.save_dir)
    mb_size = Dataset.open(args.dataset_root).mb_size if args.dataset_root else MB_SIZE
    config = _config(args)
    from regenhance_data.predictors.paddleseg.prediction import predict

    config.refuse_cut_macroblocks(mb_size)
    predict(_trained(args, config), config, pictures, args.save_dir, mb_size, args.budget)
    print(
        f"{len(pictures)} pictures: wrote {args.save_dir}/predictions.npz, {args.save_dir}/added_prediction (to look "
        f"at), {args.save_dir}/pseudo_color_prediction (levels)"
    )


def _pictures_at(path: Path, save_dir: Path) -> dict[str, Path]:
    """{name without suffix: file} of the picture at `path`, or of those in that folder and its subfolders, by name.

    Files in `save_dir` are left out. InputError where there is none, two have one name, or a name is not printable.
    """
    if path.is_file():
        return {path.stem: path}
    found: dict[str, Path] = {}
    for file in sorted(path.rglob("*")):
        is_drawn = save_dir.resolve() in file.resolve().parents
        if file.suffix.lower() in PICTURES and not file.name.startswith(".") and not is_drawn:
            name = file.relative_to(path).with_suffix("").as_posix()
            if not name.isprintable():
                raise InputError(f"{name.encode(errors='backslashreplace')!r}: is not a name in UTF-8; rename it")
            if name in found:
                raise InputError(f"{file}: has the name of {found[name].name}; rename one of them")
            found[name] = file
    if not found:
        raise InputError(f"{path}: no picture there; give --image_path a picture or a folder of pictures")
    return found


def _export(args: argparse.Namespace) -> None:
    shape = args.input_shape or [None, 3, None, None]
    if args.input_shape and (min(shape) < 1 or shape[1] != 3):
        raise InputError(f"--input_shape {' '.join(map(str, shape))}: expected N 3 H W, each at least 1")
    dataset = Dataset.open(args.dataset_root) if args.dataset_root else None
    mb_size, scale = (dataset.mb_size, dataset.scale) if dataset else (MB_SIZE, SCALE)
    config = _config(args)
    from regenhance_data.predictors.paddleseg.inference_model import save_inference_model

    if config.shrink > 1:
        raise InputError(
            f"{args.model_path}: sees a smaller frame, which PaddleSeg's form does not say; use deploy/export_onnx.py"
        )
    save_inference_model(_trained(args, config), config, args.save_dir, shape, args.output_op, mb_size, scale)
    print(f"wrote {args.save_dir}/model.json, model.pdiparams, deploy.yaml ({args.output_op})")


COMMANDS = {"train": _train, "val": _validate, "predict": _predict, "export": _export}


def main(argv: Sequence[str] | None = None) -> None:
    """The console command `paddleseg`."""
    cli.run(run_command, make_parser(), argv)


if __name__ == "__main__":
    main()
