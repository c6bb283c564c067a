"""Train a predictor with a PaddleSeg config, validate it, look at what it says, export it for Paddle Inference."""

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

if TYPE_CHECKING:
    from regenhance_data.predictors.paddleseg.config import PredictorConfig
    from regenhance_data.predictors.samples import Samples

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
    parser.add_argument("--config", type=Path, required=True, help="a PaddleSeg YAML, see paddleseg_configs/")
    parser.add_argument("--dataset_root", type=Path, help="dataset folder (default: the config's)")
    parser.add_argument("--save_dir", type=Path, default=Path("output"), help="folder for checkpoints and results")
    parser.add_argument("--device", choices=["cpu", "gpu"], default="cpu")
    parser.add_argument("--input_scale", type=float, help="what the network sees of a frame: 1, 0.5, 0.25 of its size")
    parser.add_argument("--opts", nargs="+", help="config entries to change: key.subkey=value")

    training = parser.add_argument_group("train")
    training.add_argument("--iters", type=int, help="iterations (default: the config's)")
    training.add_argument("--batch_size", type=int, help="frames a step and device (default: the config's)")
    training.add_argument("--learning_rate", type=float, help="(default: the config's)")
    training.add_argument("--seed", type=int, default=0)
    training.add_argument("--save_interval", type=int, default=100, help="iterations between checkpoints")
    training.add_argument("--keep_checkpoint_max", type=int, default=5, help="newest iter_N folders to keep")
    training.add_argument("--log_iters", type=int, default=20, help="iterations between lines of the log")
    training.add_argument("--num_workers", type=int, default=0, help="processes that read frames")
    training.add_argument("--resume_model", type=Path, help="folder iter_N of an interrupted training")
    training.add_argument("--overwrite", action="store_true", help="begin anew in the folder of an earlier training")
    training.add_argument("--no_pretrained", action="store_true", help="fetch no weights of a backbone to begin with")
    training.add_argument("--use_ema", action="store_true", help="keep the moving average of the weights as the best")
    training.add_argument("--early_stop_intervals", type=int, help="stop after so many validations no better")
    training.add_argument("--accumulate_steps", type=int, default=1, help="steps that make one iteration")
    training.add_argument("--precision", choices=["fp32", "fp16"], default="fp32", help="fp16: mixed, on a GPU")
    training.add_argument("--use_vdl", action="store_true", help="log for VisualDL: visualdl --logdir SAVE_DIR")

    trained = parser.add_argument_group("val, predict, export")
    trained.add_argument("--model_path", type=Path, help="the trained weights, .pdparams")
    trained.add_argument("--image_path", type=Path, help="predict: a picture, or a folder of them")
    trained.add_argument("--budget", type=float, default=0.1, help="predict: share of the macroblocks to outline")
    trained.add_argument("--input_shape", type=int, nargs=4, metavar=("N", "C", "H", "W"), help="export (default: any)")
    trained.add_argument(
        "--output_op", choices=["argmax", "softmax", "none"], default="argmax", help="export: the last operator"
    )
    return parser


def run_command(args: argparse.Namespace) -> None:
    """Do what the parsed arguments say. InputError for what cannot be done."""
    for name in ("iters", "batch_size", "learning_rate", "keep_checkpoint_max"):
        value = getattr(args, name)
        if value is not None and not value > 0:
            raise InputError(f"--{name} {value}: expected more than 0")
    if args.command != "train" and args.model_path is None:
        raise InputError(f"--model_path is missing; paddleseg {args.command} needs a trained .pdparams")
    # Paddle warns of a compiler cache that only its C++ extensions would use
    warnings.filterwarnings("ignore", message="No ccache found")
    warnings.filterwarnings("ignore", message="When training, we now always track global mean and variance")
    import paddle

    from regenhance_data.predictors.paddleseg.checkpoints import trained_input_scale
    from regenhance_data.predictors.paddleseg.config import PredictorConfig

    if args.device == "gpu" and not paddle.is_compiled_with_cuda():
        raise InputError("--device gpu: this Paddle is built for the CPU; install paddlepaddle-gpu or use --device cpu")
    if args.precision == "fp16" and args.device == "cpu":
        raise InputError("--precision fp16: needs --device gpu")
    paddle.set_device(args.device)
    if args.command == "train" and paddle.distributed.ParallelEnv().nranks > 1:
        paddle.distributed.init_parallel_env()
    known = args.model_path if args.command != "train" else args.resume_model and args.resume_model / "model.pdparams"
    scale = trained_input_scale(known, args.input_scale) if known else args.input_scale
    config = PredictorConfig(
        args.config,
        1.0 if scale is None else scale,
        learning_rate=args.learning_rate,
        batch_size=args.batch_size,
        iters=args.iters,
        opts=args.opts,
    )
    COMMANDS[args.command](args, config)


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


def _train(args: argparse.Namespace, config: "PredictorConfig") -> None:
    from regenhance_data.predictors.paddleseg.training import TrainSettings, train
    from regenhance_data.predictors.paddleseg.validation import describe

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
    best = train(config, _samples(args, config, "train"), _samples(args, config, "val"), settings)
    if not best:  # of several processes the first one speaks
        return
    model_path = args.save_dir / "best_model" / "model.pdparams"
    print(f"wrote {model_path} (iteration {best['iter']}: {describe(best)}), {args.save_dir}/train_log.json")
    where = ["--dataset_root", args.dataset_root] if args.dataset_root else []
    where += ["--save_dir", args.save_dir, *(["--opts", *args.opts] if args.opts else [])]
    cli.suggest(["python", "deploy/export_onnx.py", "--config", args.config, "--model_path", model_path, *where])


def _trained(args: argparse.Namespace, config: "PredictorConfig") -> Any:
    from regenhance_data.predictors.paddleseg.checkpoints import load_parameters

    model = config.build("model")
    load_parameters(model, args.model_path)
    return model


def _validate(args: argparse.Namespace, config: "PredictorConfig") -> None:
    from regenhance_data.predictors.paddleseg.validation import describe, validate

    result = validate(_trained(args, config), config, _samples(args, config, "val"))
    write_json(args.save_dir / "val.json", result)
    print(describe(result))
    print(f"wrote {args.save_dir}/val.json")


def _predict(args: argparse.Namespace, config: "PredictorConfig") -> None:
    from regenhance_data.predictors.paddleseg.prediction import predict

    if args.image_path is None:
        raise InputError("--image_path is missing; paddleseg predict needs a picture or a folder of them")
    if not 0 < args.budget <= 1:
        raise InputError(f"--budget {args.budget}: expected a share of the macroblocks, more than 0 and at most 1")
    mb_size = Dataset.open(args.dataset_root).mb_size if args.dataset_root else MB_SIZE
    config.refuse_cut_macroblocks(mb_size)
    count = predict(_trained(args, config), config, args.image_path, args.save_dir, mb_size, args.budget)
    print(
        f"{count} pictures: wrote {args.save_dir}/predictions.npz, {args.save_dir}/added_prediction (to look at), "
        f"{args.save_dir}/pseudo_color_prediction (levels)"
    )


def _export(args: argparse.Namespace, config: "PredictorConfig") -> None:
    from regenhance_data.predictors.paddleseg.inference_model import save_inference_model

    if config.shrink > 1:
        raise InputError(
            f"{args.model_path}: sees a smaller frame, which PaddleSeg's form does not say; use deploy/export_onnx.py"
        )
    shape = args.input_shape or [None, 3, None, None]
    if args.input_shape and (min(shape) < 1 or shape[1] != 3):
        raise InputError(f"--input_shape {' '.join(map(str, shape))}: expected N 3 H W, each at least 1")
    dataset = Dataset.open(args.dataset_root) if args.dataset_root else None
    made_for = (dataset.mb_size, dataset.scale) if dataset else (MB_SIZE, SCALE)
    save_inference_model(_trained(args, config), config, args.save_dir, shape, args.output_op, *made_for)
    print(f"wrote {args.save_dir}/model.json, model.pdiparams, deploy.yaml ({args.output_op})")


COMMANDS = {"train": _train, "val": _validate, "predict": _predict, "export": _export}


def main(argv: Sequence[str] | None = None) -> None:
    """The console command `paddleseg`."""
    cli.run(run_command, make_parser(), argv)


if __name__ == "__main__":
    main()
