"""Train or validate a predictor with a PaddleSeg config."""

import argparse
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from regenhance_data import cli
from regenhance_data.cli import InputError
from regenhance_data.dataset import Dataset
from regenhance_data.files import write_json

if TYPE_CHECKING:
    from regenhance_data.predictors import PredictorConfig
    from regenhance_data.samples import Samples

EXAMPLES = """
paddleseg train --config paddleseg_configs/pp_mobileseg_tiny.yml --dataset_root my_dataset --save_dir runs/predictor
paddleseg train --config C.yml --dataset_root D --save_dir S --iters 2000 --resume_model S/iter_500
paddleseg val --config C.yml --dataset_root D --save_dir S --model_path S/best_model/model.pdparams
paddleseg val --config C.yml --save_dir S --model_path M.pdparams --opts val_dataset.val_path=my_dataset/test.txt
"""


def make_parser() -> argparse.ArgumentParser:
    """The parser of the console command `paddleseg`; flags have PaddleSeg's names."""
    parser = cli.make_parser(__doc__ or "", EXAMPLES)
    parser.prog = "paddleseg"
    parser.add_argument("command", choices=["train", "val"])
    parser.add_argument("--config", type=Path, required=True, help="a PaddleSeg YAML, see paddleseg_configs/")
    parser.add_argument("--dataset_root", type=Path, help="dataset folder (default: the config's)")
    parser.add_argument("--save_dir", type=Path, default=Path("output"), help="folder for checkpoints and results")
    parser.add_argument("--model_path", type=Path, help="val: the .pdparams to validate")
    parser.add_argument("--device", choices=["cpu", "gpu"], default="cpu")
    parser.add_argument("--iters", type=int, help="iterations (default: the config's)")
    parser.add_argument("--batch_size", type=int, help="frames an iteration (default: the config's)")
    parser.add_argument("--learning_rate", type=float, help="(default: the config's)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save_interval", type=int, default=100, help="iterations between checkpoints")
    parser.add_argument("--keep_checkpoint_max", type=int, default=5, help="newest iter_N folders to keep")
    parser.add_argument("--log_iters", type=int, default=20, help="iterations between lines of the log")
    parser.add_argument(
        "--ema_decay", type=float, default=0.0, help="of averaged weights, to be kept as the best: 0.99"
    )
    parser.add_argument("--num_workers", type=int, default=0, help="processes that read frames")
    parser.add_argument("--resume_model", type=Path, help="folder iter_N of an interrupted training")
    parser.add_argument("--opts", nargs="+", help="config entries to change: key.subkey=value")
    return parser


def run_command(args: argparse.Namespace) -> None:
    """Do what the parsed arguments say. InputError for what cannot be done."""
    for name in ("iters", "batch_size", "learning_rate", "keep_checkpoint_max"):
        value = getattr(args, name)
        if value is not None and not value > 0:
            raise InputError(f"--{name} {value}: expected more than 0")
    if args.command == "val" and args.model_path is None:
        raise InputError("--model_path is missing; paddleseg val needs the .pdparams to validate")
    # Paddle warns of a compiler cache that only its C++ extensions would use
    warnings.filterwarnings("ignore", message="No ccache found")
    warnings.filterwarnings("ignore", message="When training, we now always track global mean and variance")
    import paddle

    from regenhance_data.predictors import PredictorConfig

    if args.device == "gpu" and not paddle.is_compiled_with_cuda():
        raise InputError("--device gpu: this Paddle is built for the CPU; install paddlepaddle-gpu or use --device cpu")
    paddle.set_device(args.device)
    config = PredictorConfig(
        args.config,
        learning_rate=args.learning_rate,
        batch_size=args.batch_size,
        iters=args.iters,
        opts=args.opts,
    )
    (_train if args.command == "train" else _validate)(args, config)


def _samples(args: argparse.Namespace, config: "PredictorConfig", split: str) -> "Samples":
    """The frames of the config's train_path or val_path; --dataset_root moves the list into that folder."""
    from regenhance_data.samples import Samples

    settings = config.seg.dic[f"{split}_dataset"]
    root = args.dataset_root or Path(str(settings.get("dataset_root", ".")))
    listed = Path(str(settings.get(f"{split}_path", f"{split}.txt")))
    if listed.suffix != ".txt" or (args.dataset_root is None and listed.parent.resolve() != root.resolve()):
        raise InputError(f"{listed}: a list of frames is a .txt file in its dataset folder, {root}")
    return Samples(Dataset.open(root), listed.stem, config.num_classes)


def _train(args: argparse.Namespace, config: "PredictorConfig") -> None:
    from regenhance_data.training import TrainSettings, describe, train

    settings = TrainSettings(
        args.save_dir,
        args.seed,
        args.save_interval,
        args.log_iters,
        args.num_workers,
        args.keep_checkpoint_max,
        args.resume_model,
        args.ema_decay,
    )
    best = train(config, _samples(args, config, "train"), _samples(args, config, "val"), settings)
    model_path = args.save_dir / "best_model" / "model.pdparams"
    print(f"wrote {model_path} (iteration {best['iter']}: {describe(best)}), {args.save_dir}/train_log.json")
    where = ["--dataset_root", args.dataset_root] if args.dataset_root else []
    where += ["--save_dir", args.save_dir]
    cli.suggest(["python", "deploy/export_onnx.py", "--config", args.config, "--model_path", model_path, *where])


def _validate(args: argparse.Namespace, config: "PredictorConfig") -> None:
    from regenhance_data.predictors import load_weights
    from regenhance_data.training import describe, validate

    model = config.build("model")
    load_weights(model, args.model_path)
    result = validate(model, config, _samples(args, config, "val"))
    write_json(args.save_dir / "val.json", result)
    print(describe(result))
    print(f"wrote {args.save_dir}/val.json")


def main(argv: Sequence[str] | None = None) -> None:
    """The console command `paddleseg`."""
    cli.run(run_command, make_parser(), argv)


if __name__ == "__main__":
    main()
