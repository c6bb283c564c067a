"""The flags of the console command `paddleseg`, with PaddleSeg's names: those of each verb, those without a meaning."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regenhance_data import cli
from regenhance_data.errors import InputError
from regenhance_data.predictors.paddleseg.networks import NETWORKS

VERBS = ("train", "val", "predict", "export")
TRAINED = VERBS[1:]
EXAMPLES = """
paddleseg train --config paddleseg_configs/mb_nano.yml --dataset_root my_dataset --save_dir runs/predictor --use_ema
paddleseg train --config C.yml --dataset_root D --save_dir S --iters 2000 --resume_model S/iter_500
paddleseg val --config C.yml --dataset_root D --save_dir S --model_path S/best_model/model.pdparams
paddleseg val --config C.yml --model_path M.pdparams --opts val_dataset.val_path=my_dataset/test.txt
paddleseg predict --config C.yml --model_path M.pdparams --image_path my_dataset/origin_images --save_dir S
paddleseg export --config C.yml --model_path M.pdparams --input_shape 1 3 360 640 --save_dir S
python -m paddle.distributed.launch --gpus 0,1 .venv/bin/paddleseg train --device gpu --config C.yml --dataset_root D
"""
SAVE_DIR = Path("output")  # PaddleSeg's default


@dataclass(frozen=True)
class _Flag:
    """A flag of some verbs, and how argparse reads it."""

    verbs: tuple[str, ...]
    name: str
    options: dict[str, Any]


def _flag(verbs: str, name: str, help_text: str, **options: Any) -> _Flag:
    return _Flag(tuple(verbs.split()) or VERBS, name, {"help": help_text, **options})


_SWITCH: dict[str, Any] = {"action": "store_true"}
_FLAGS = (
    _flag(
        "",
        "--config",
        "a PaddleSeg YAML; paddleseg_configs/ has "
        + ", ".join(f"{name} ({network.parameters / 1e6:.2g} M parameters)" for name, network in NETWORKS.items()),
        type=Path,
        required=True,
    ),
    _flag("", "--dataset_root", "dataset folder (default: the config's)", type=Path),
    _flag("", "--save_dir", "folder for checkpoints and results (default: output; val: writes no file)", type=Path),
    _flag("", "--device", "", choices=["cpu", "gpu"], default="cpu"),
    _flag("", "--input_scale", "scale of the network's input: 1, 0.5, … (default: 1, or the model's)", type=float),
    _flag("", "--data_format", "", choices=["NCHW", "NHWC"], default="NCHW"),
    _flag("", "--opts", "config entries to change: key.subkey=value", nargs="+"),
    _flag("train", "--iters", "iterations (default: the config's)", type=int),
    _flag("train", "--batch_size", "frames of a batch, on each device (default: the config's)", type=int),
    _flag("train", "--learning_rate", "(default: the config's)", type=float),
    _flag("train", "--seed", "", type=int, default=0),
    _flag("train", "--do_eval", "accepted: training always validates", **_SWITCH),
    _flag("train", "--save_interval", "iterations between checkpoints", type=int, default=100),
    _flag("train", "--keep_checkpoint_max", "newest iter_N folders to keep", type=int, default=5),
    _flag("train", "--log_iters", "iterations between rows of the log", type=int, default=20),
    _flag("train", "--num_workers", "processes that read frames; 0: a thread", type=int, default=0),
    _flag("train", "--resume_model", "folder iter_N to resume from", type=Path),
    _flag("train", "--overwrite", "replace the earlier training in --save_dir", **_SWITCH),
    _flag("train", "--no_pretrained", "start from random weights; download nothing", **_SWITCH),
    _flag("train", "--use_ema", "validate and keep the moving average of the weights", **_SWITCH),
    _flag("train", "--early_stop_intervals", "stop after this many validations without a better one", type=int),
    _flag("train", "--accumulate_steps", "batches in one iteration", type=int, default=1),
    _flag("train", "--precision", "fp16: mixed precision, on a GPU", choices=["fp32", "fp16"], default="fp32"),
    _flag("train", "--amp_level", "of --precision fp16", choices=["O1", "O2"], default="O1"),
    _flag("train", "--use_vdl", "log for VisualDL: visualdl --logdir SAVE_DIR", **_SWITCH),
    _flag("val predict export", "--model_path", "trained weights, .pdparams", type=Path),
    _flag("predict", "--image_path", "a picture, or a folder of them", type=Path),
    _flag("predict", "--budget", "share of the macroblocks to outline", type=float, default=0.1),
    _flag("predict", "--custom_color", "red, green and blue of each level, 0 to 255", type=int, nargs="+"),
    _flag("export", "--input_shape", "(default: any)", type=int, nargs=4, metavar=("N", "C", "H", "W")),
    _flag("export", "--output_op", "the last operator", choices=["argmax", "softmax", "none"], default="argmax"),
    _flag("export", "--with_softmax", "the same as --output_op softmax", **_SWITCH),
    _flag("export", "--without_argmax", "the same as --output_op none", **_SWITCH),
)
_WHOLE_FRAMES = "a predictor sees each whole frame once; leave it out"
_NOT_HERE = {  # PaddleSeg's flags that mean nothing here, and what to do instead
    "--aug_eval": _WHOLE_FRAMES,
    "--aug_pred": _WHOLE_FRAMES,
    "--scales": f"{_WHOLE_FRAMES} (a smaller input: train with --input_scale)",
    "--flip_horizontal": _WHOLE_FRAMES,
    "--flip_vertical": _WHOLE_FRAMES,
    "--is_slide": _WHOLE_FRAMES,
    "--crop_size": _WHOLE_FRAMES,
    "--stride": _WHOLE_FRAMES,
    "--auc_roc": "levels are judged by their ranking, which val always prints; leave it out",
    "--print_detail": "val always prints all it measures; leave it out",
    "--use_multilabel": "a macroblock has one level; leave it out",
    "--profiler_options": "the log has images/s; to profile, run it under 'python -m cProfile'",
    "--for_fd": "FastDeploy's form is not made; use deploy/export_onnx.py",
    "--repeats": "give more --iters instead",
}


def make_parser(verb: str | None = None) -> argparse.ArgumentParser:
    """The parser of the whole command, whose `command` is the verb; with a verb, one whose help has its flags alone."""
    lines = [line for line in EXAMPLES.strip().splitlines() if verb is None or f"paddleseg {verb} " in line]
    parser = cli.make_parser(_DESCRIPTIONS[verb], "\n".join(lines))
    parser.prog = f"paddleseg {verb}" if verb else "paddleseg"
    if verb is None:
        parser.add_argument("command", choices=VERBS, help="'paddleseg VERB --help' shows the flags of one")
    groups: dict[str, Any] = {", ".join(VERBS): parser}
    for flag in _FLAGS:
        if verb is None or verb in flag.verbs:
            title = ", ".join(flag.verbs)
            group = parser if verb else groups.setdefault(title, None) or parser.add_argument_group(title)
            groups[title] = group
            group.add_argument(flag.name, **flag.options)
    for name in _NOT_HERE:
        parser.add_argument(name, nargs="*", help=argparse.SUPPRESS)
    return parser


_DESCRIPTIONS = {
    None: "Train a predictor with a PaddleSeg config, validate it, predict pictures, export it for Paddle Inference.",
    "train": "Train a predictor on the frames of train.txt, and keep the checkpoint that is best on those of val.txt.",
    "val": "Measure how well a trained predictor ranks the macroblocks of the validation frames.",
    "predict": "Predict the importance of pictures, and draw it.",
    "export": "Write a trained predictor for Paddle Inference, in the form of PaddleSeg.",
}


def refuse_what_means_nothing(args: argparse.Namespace) -> None:
    """InputError for a flag of PaddleSeg that means nothing here; the line says what to do instead."""
    for name, instead in _NOT_HERE.items():
        if getattr(args, name.removeprefix("--")) is not None:
            raise InputError(f"{name}: {instead}")
    if args.data_format == "NHWC":
        raise InputError("--data_format NHWC: networks compute in NCHW here; leave it out")
    if args.amp_level == "O2":
        raise InputError("--amp_level O2: mixed precision is O1 here; leave it out")


def flags_of_other_verbs(args: argparse.Namespace) -> list[str]:
    """The given flags that the verb of `args` does not have, with the verbs that have them: '--iters (of train)'."""
    left_out = []
    for flag in _FLAGS:
        value = getattr(args, flag.name.removeprefix("--"))
        default = flag.options.get("default", False if flag.options.get("action") else None)
        if args.command not in flag.verbs and value != default:
            left_out.append(f"{flag.name} (of {', '.join(flag.verbs)})")
    return left_out
