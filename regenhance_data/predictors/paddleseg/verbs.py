"""What `paddleseg` does: train a predictor with a PaddleSeg config, validate it, predict pictures,
export it for Paddle Inference.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from regenhance_data import cli
from regenhance_data.console import tell, warn
from regenhance_data.dataset.folder import Dataset
from regenhance_data.dataset.learnt_frames import warn_of_learnt_frames, warn_of_shared_frames
from regenhance_data.errors import InputError
from regenhance_data.io.files import alone, write_json
from regenhance_data.predictors.paddleseg.arguments import (
    SAVE_DIR,
    VERBS,
    flags_of_other_verbs,
    make_parser,
    refuse_what_means_nothing,
)
from regenhance_data.predictors.paddleseg.checkpoints import (
    WEIGHTS,
    load_trained_weights,
    refuse_missing_weights,
    trained_input_scale,
    trained_scale,
)
from regenhance_data.predictors.paddleseg.config_file import read_config, shrink_of, value_in_opts
from regenhance_data.predictors.paddleseg.paddle_import import import_paddle
from regenhance_data.predictors.paddleseg.settings import TrainSettings

if TYPE_CHECKING:
    from regenhance_data.predictors.paddleseg.config import PredictorConfig
    from regenhance_data.predictors.samples import Samples

# Paddle takes seconds to import: each command first refuses what it can without it.

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")


def run_command(args: argparse.Namespace) -> None:
    """Run the command of the parsed arguments. InputError for bad usage or input."""
    for name in ("iters", "batch_size", "learning_rate", "keep_checkpoint_max"):
        value = getattr(args, name)
        if value is not None and not value > 0:
            raise InputError(f"--{name} {value}: expected more than 0")
    if args.precision == "fp16" and args.device == "cpu":
        raise InputError("--precision fp16: needs --device gpu")
    refuse_what_means_nothing(args)
    if args.save_dir is None and args.command != "val":
        args.save_dir = SAVE_DIR
    if left_out := flags_of_other_verbs(args):
        warn(f"{', '.join(left_out)}: {args.command} leaves {'them' if len(left_out) > 1 else 'it'} out")
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
    paddle = import_paddle()
    from regenhance_data.predictors.paddleseg.config import PredictorConfig

    if args.device == "gpu" and not paddle.is_compiled_with_cuda():
        raise InputError("--device gpu: this Paddle is built for the CPU; install paddlepaddle-gpu or use --device cpu")
    paddle.set_device(args.device)
    if args.command == "train" and paddle.distributed.ParallelEnv().nranks > 1:
        paddle.distributed.init_parallel_env()
    config = PredictorConfig(
        args.config,
        scale,
        learning_rate=args.learning_rate,
        batch_size=args.batch_size,
        iters=args.iters,
        opts=args.opts,
    )
    root = _dataset_root(args, config)
    config.follow(None if args.command == "train" else args.model_path, Dataset(root) if root else None)
    if args.command == "train":
        config.shorten_warmup()
    return config


def _dataset_root(args: argparse.Namespace, config: "PredictorConfig") -> Path | None:
    """The dataset of the command; that of the config only where the command reads one."""
    if args.dataset_root or args.command not in ("train", "val"):
        return args.dataset_root
    return Path(str(config.seg.dic[f"{args.command}_dataset"].get("dataset_root", ".")))


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
    """The frames of the config's train_path or val_path; --dataset_root moves the list of the file into that folder."""
    from regenhance_data.predictors.samples import Samples

    key, settings = f"{split}_dataset", config.seg.dic[f"{split}_dataset"]
    root = args.dataset_root or Path(str(settings.get("dataset_root", ".")))
    named_root = value_in_opts(args.opts, f"{key}.dataset_root")
    if named_root is not None and Path(named_root).resolve() != root.resolve():
        raise InputError(f"--opts {key}.dataset_root={named_root}: is not --dataset_root {root}; give one of them")
    listed = Path(str(settings.get(f"{split}_path", f"{split}.txt")))
    is_moved = args.dataset_root is not None and value_in_opts(args.opts, f"{key}.{split}_path") is None
    if listed.suffix != ".txt" or not (is_moved or listed.parent.resolve() == root.resolve()):
        raise InputError(f"{listed}: a list of frames is a .txt file in its dataset folder, {root}")
    dataset = Dataset.open(root)
    levels, classes = dataset.levels, config.num_classes
    if args.command != "train" and not dataset.record.is_empty and levels != classes:
        raise InputError(
            f"{dataset.record.path}: has {levels} levels, the network of {args.model_path} has {classes}; give a "
            f"dataset whose labels were made with --levels {classes}"
        )
    config.refuse_cut_macroblocks(dataset.mb_size)
    separator = settings.get("separator")
    return Samples(dataset, listed.stem, classes, separator if isinstance(separator, str) else None)


def _is_first() -> bool:
    """Whether this is the first of the launcher's processes, which alone writes."""
    return os.environ.get("PADDLE_TRAINER_ID", "0") == "0"


def _train(args: argparse.Namespace) -> None:
    (alone("train")(_train_here) if _is_first() else _train_here)(args)


def _train_here(args: argparse.Namespace) -> None:
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

    training, validating = _samples(args, config, "train"), _samples(args, config, "val")
    if _is_first():
        frames, root = len(training.frames), training.dataset.root
        tell(f"trains on {frames} frames of {root}, validates on {len(validating.frames)}")
        warn_of_shared_frames(root, {"training": training.frames, "validation": validating.frames})
    best = train(config, training, validating, settings)
    if not best:  # only the first of several processes has a result
        return
    model_path = args.save_dir / "best_model" / WEIGHTS
    print(f"wrote {model_path} (iteration {best['iter']}: {describe(best)}), {args.save_dir}/train_log.json")
    where = ["--dataset_root", training.dataset.root]
    where += ["--save_dir", args.save_dir, *(["--opts", *args.opts] if args.opts else [])]
    cli.suggest(["python", "deploy/export_onnx.py", "--config", args.config, "--model_path", model_path, *where])


def _validate(args: argparse.Namespace) -> None:
    _refuse_missing_dataset(args)
    config = _config(args)
    from regenhance_data.predictors.paddleseg.validation import describe, validate_frames
    from regenhance_data.predictors.paddleseg.verdict import lead_over, static_map_agreement, verdict

    samples = _samples(args, config, "val")
    warn_of_learnt_frames(samples.dataset, samples.frames, ["train"], "give a list of others as val_dataset.val_path")
    result, per_frame = validate_frames(_trained(args, config), config, samples)
    static = static_map_agreement(samples)
    lead = lead_over(static, per_frame) if static else None
    result["static_map"] = static.mean if static else None
    result["above_static_map"] = lead.to_dict() if lead else None
    result["verdict"] = verdict(result, static, lead)
    print(describe(result))
    if static:
        print(f"{describe(static.mean)}  (the static map)")
    print(result["verdict"])
    if args.save_dir is None:
        print("wrote no file; give --save_dir to write val.json there")
    else:
        write_json(args.save_dir / "val.json", result)
        print(f"wrote {args.save_dir}/val.json")


@alone("predict")
def _predict(args: argparse.Namespace) -> None:
    if args.image_path is None:
        raise InputError("--image_path is missing; paddleseg predict needs a picture or a folder of pictures")
    if not 0 < args.budget <= 1:
        raise InputError(f"--budget {args.budget}: expected a share of the macroblocks, more than 0 and at most 1")
    colours = _colours(args.custom_color)
    if args.save_dir.resolve() == args.image_path.resolve():
        raise InputError(f"{args.save_dir}: has the pictures; give --save_dir another folder for the results")
    pictures = _pictures_at(args.image_path, args.save_dir)
    if args.dataset_root:
        Dataset.open(args.dataset_root)
    config = _config(args)
    from regenhance_data.predictors.paddleseg.prediction import predict

    config.refuse_cut_macroblocks(config.mb_size)
    if colours is not None and len(colours) < config.num_classes:
        raise InputError(f"--custom_color: has {len(colours)} colours, there are {config.num_classes} levels")
    model, weights = _trained(args, config), args.model_path
    predict(model, weights, config, pictures, args.save_dir, config.mb_size, args.budget, colours)
    print(
        f"{len(pictures)} pictures: wrote {args.save_dir}/predictions.npz, {args.save_dir}/added_prediction (to look "
        f"at), {args.save_dir}/pseudo_color_prediction (levels)"
    )


def _colours(numbers: list[int] | None) -> np.ndarray | None:
    """The numbers of --custom_color as colours, uint8 [n, 3]."""
    if numbers is None:
        return None
    if len(numbers) % 3 or not all(0 <= number <= 255 for number in numbers):
        raise InputError("--custom_color: expected three numbers from 0 to 255 for each level")
    return np.array(numbers, np.uint8).reshape(-1, 3)


def _pictures_at(path: Path, save_dir: Path) -> dict[str, Path]:
    """{name without suffix: file} of the picture at `path`, or of those in that folder and its subfolders, by name.

    Files in `save_dir` are left out. InputError where there is none, two have one name, or a name is not printable.
    """
    if path.is_file():
        if path.suffix.lower() not in PICTURES:
            raise InputError(
                f"{path}: is not a picture ({', '.join(PICTURES)}); of a video, extract frames with tools/extract.py, "
                "or export the model and run deploy/trt_infer.py --video"
            )
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


@alone("export")
def _export(args: argparse.Namespace) -> None:
    shape = [None if size == -1 else size for size in args.input_shape or (-1, 3, -1, -1)]
    if shape[1] != 3 or any(size is not None and size < 1 for size in shape):
        raise InputError(
            f"--input_shape {' '.join(map(str, args.input_shape))}: expected N 3 H W, each at least 1 (or -1: any)"
        )
    output_op = "softmax" if args.with_softmax else "none" if args.without_argmax else args.output_op
    dataset = Dataset.open(args.dataset_root) if args.dataset_root else None
    scale = dataset.scale if dataset else trained_scale(args.model_path)
    config = _config(args)
    from regenhance_data.predictors.paddleseg.inference_model import save_inference_model

    if config.shrink > 1:
        raise InputError(
            f"{args.model_path}: sees a smaller frame, which PaddleSeg's form does not say; use deploy/export_onnx.py"
        )
    save_inference_model(_trained(args, config), config, args.save_dir, shape, output_op, config.mb_size, scale)
    print(f"wrote {args.save_dir}/model.json, model.pdiparams, deploy.yaml ({output_op})")


COMMANDS = {"train": _train, "val": _validate, "predict": _predict, "export": _export}


def main(argv: Sequence[str] | None = None) -> None:
    """Run the verb of the command line."""
    words = sys.argv[1:] if argv is None else list(argv)
    verb = next((word for word in words if word in VERBS), None)
    if verb and {"-h", "--help"} & {*words}:
        make_parser(verb).parse_args(["--help"])
    cli.run(run_command, make_parser(), words)
