"""Export a trained predictor to ONNX: camera pixels in, the importance of every macroblock out.

Input `frames` uint8 [N, H, W, 3] BGR, output `importance` float32 [N, rows, cols] in [0, 1] (--head pixels: [N, H, W]).
Precision is part of the graph: fp16 casts, or int8 calibrated on training frames; input and output stay the same.
The file is compared with Paddle on several frames, in every installed backend, before it is written. Its name is that
of the config and of the flags that make a difference: CONFIG.onnx, CONFIG_fp16.onnx, CONFIG_640x360_dynamic.onnx.
"""

import argparse
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

with suppress(ImportError):  # a script has it beside itself: it checks the installation
    import _environment  # noqa: F401

from deploy.contract import HEADS, PRECISIONS
from regenhance_data import cli, console
from regenhance_data.defaults import SCALE
from regenhance_data.errors import InputError, refuse_scale
from regenhance_data.io.files import alone, atomic_write, refuse_missing
from regenhance_data.predictors.paddleseg.checkpoints import (
    refuse_missing_weights,
    trained_input_scale,
    trained_scale,
)
from regenhance_data.predictors.paddleseg.config_file import (
    names_pretrained,
    pretrained_sources,
    read_config,
    shrink_of,
)
from regenhance_data.predictors.paddleseg.paddle_import import import_paddle

if TYPE_CHECKING:
    import onnx

    from regenhance_data.dataset.folder import Dataset
    from regenhance_data.predictors.paddleseg.config import PredictorConfig

EXAMPLES = """
python deploy/export_onnx.py --config C.yml --model_path S/best_model/model.pdparams --dataset_root D --save_dir S
python deploy/export_onnx.py --config C.yml --model_path M.pdparams --input_size 360 640 --save_dir S --head pixels
python deploy/export_onnx.py --config C.yml --model_path M.pdparams --dataset_root D --save_dir S --precision int8
python deploy/export_onnx.py --config paddleseg_configs/mb_nano.yml --zero_shot --input_size 180 320 --save_dir S
python deploy/export_onnx.py --config C.yml --random_weights --input_size 360 640 --save_dir S --dynamic_batch
"""


def make_parser() -> argparse.ArgumentParser:
    parser = cli.make_parser(__doc__, EXAMPLES)
    parser.add_argument("--config", type=Path, required=True, help="the PaddleSeg YAML of the training")
    weights = parser.add_mutually_exclusive_group(required=True)
    weights.add_argument("--model_path", type=Path, help="trained weights, .pdparams")
    weights.add_argument(
        "--zero_shot", action="store_true", help="the config's general weights, without a training on your camera"
    )
    weights.add_argument("--random_weights", action="store_true", help="for measuring latency only; the file says so")
    parser.add_argument("--dataset_root", type=Path, help="dataset with the frame size and the frames to compare on")
    parser.add_argument(
        "--input_size", nargs=2, type=int, metavar=("H", "W"), help="frame height and width (default: the dataset's)"
    )
    parser.add_argument(
        "--scale", type=int, help=f"of the upscaler, without --dataset_root (default: of the training, or {SCALE})"
    )
    parser.add_argument(
        "--all_sizes", action="store_true", help="a file for each frame size of a dataset that has several"
    )
    parser.add_argument("--save_dir", type=Path, required=True, help="folder for the ONNX file and its parity report")
    parser.add_argument("--head", choices=HEADS, default="macroblock")
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32", help="of the network inside the graph")
    parser.add_argument("--calibration_frames", type=int, default=32, help="training frames for fp16 and int8")
    parser.add_argument("--batch_size", type=int, default=1, help="frames the graph takes at once")
    parser.add_argument("--dynamic_batch", action="store_true", help="take any number of frames at once")
    parser.add_argument("--with_paddle", action="store_true", help="also write PaddleSeg's own form, with float input")
    parser.add_argument("--input_scale", type=float, help="of the training (default: predictor.yaml's, or 1)")
    parser.add_argument("--opts", nargs="+", help="config entries to change: key.subkey=value")
    return parser


@alone("export_onnx")
def main(args: argparse.Namespace) -> None:
    if args.zero_shot:
        args.model_path = zero_shot_weights(args)
    args.input_scale = scale = checked_input_scale(args)
    from deploy.artifacts.onnx import refuse_overwriting_others
    from deploy.export.frames import asked_sizes
    from regenhance_data.dataset.folder import Dataset

    dataset = Dataset.open(args.dataset_root) if args.dataset_root else None
    sizes = asked_sizes(dataset, tuple(args.input_size) if args.input_size else None, args.all_sizes)
    names = [name_of(args, dataset, named_hw) for _, named_hw in sizes]
    for name in names:
        refuse_overwriting_others(path_of(args, name))
    config = predictor_config(args, scale, dataset)
    from deploy.export.paddle import built_network

    model = built_network(config, args.model_path)
    paths = [export(args, config, model, dataset, hw, name) for (hw, _), name in zip(sizes, names, strict=True)]
    cli.suggest(
        *(
            ["python", "deploy/trt_infer.py", "--model", path, "--video", "VIDEO", "--save_dir", args.save_dir]
            for path in paths
        ),
        ["python", "deploy/onnx2trt.py", "--onnx", paths[0], "--dry_run"],
    )


def export(
    args: argparse.Namespace,
    config: "PredictorConfig",
    model: Any,
    dataset: "Dataset | None",
    size_hw: tuple[int, int],
    name: str,
) -> Path:
    """Export for frames of one size; the path of the ONNX file. name: see `name_of`."""
    from deploy.export.frames import compared_frames
    from deploy.export.graph import predictor_graph
    from deploy.export.paddle import normalisation, paddle_importance, paddle_network_onnx
    from deploy.export.parity import described, write_compared
    from regenhance_data.grid import MacroblockGrid

    normalise = normalisation(config)
    frames, (height, width) = compared_frames(dataset, size_hw), size_hw
    grid = MacroblockGrid(height, width, config.mb_size)
    reference = paddle_importance(model, config, frames, grid)
    if args.head == "macroblock" and not reference["macroblock"].size:
        raise InputError(f"{config.path}: this network does not end in an upsampling; export it with --head pixels")
    scale = args.input_scale
    about = described(config.name, args.head, config.num_classes, grid, dataset, scale, args.precision, args.model_path)
    if args.zero_shot:
        about["weights"] = "general"
    about["scale"] = scale_of(args, dataset)
    batch_size = None if args.dynamic_batch else args.batch_size
    network = paddle_network_onnx(model, batch_size, (-(-height // config.shrink), -(-width // config.shrink)))
    graph = predictor_graph(network, normalise, args.head, grid, about, config.shrink)
    graph, kept = in_asked_precision(graph, args, dataset, size_hw)
    path = path_of(args, name)
    write_compared(path, graph, about, frames, reference, further={"kept_in_fp32": kept})
    if args.random_weights:
        console.warn(f"{path}: has random weights; its importance means nothing")
    if args.zero_shot:
        console.warn(
            f"{path}: has general weights, of other cameras; a training on 15 frames of yours is better, and so is "
            "--feedback of deploy/run_cameras.py"
        )
    if args.with_paddle:
        write_paddle_forms(model, config, network, [batch_size, 3, height, width], about, args.save_dir / name)
    if kept:
        print(f"{len(kept)} nodes stay float32: {', '.join(kept[:3])}{' …' if len(kept) > 3 else ''}")
    return path


def name_of(args: argparse.Namespace, dataset: "Dataset | None", named_hw: tuple[int, int] | None) -> str:
    """How the names of the files of an export begin; `named_hw`: the frame size (height, width) where they tell it."""
    from deploy.export.parity import export_name

    model = args.config.stem + ("_zero_shot" if args.zero_shot else "_random" if args.random_weights else "")
    batch_size = None if args.dynamic_batch else args.batch_size
    # weights are trained for one input scale; random ones are of any
    input_scale = 1.0 if args.model_path else args.input_scale
    return export_name(model, named_hw, batch_size, input_scale, SCALE if dataset else scale_of(args, dataset))


def path_of(args: argparse.Namespace, name: str) -> Path:
    """The path of the ONNX file of an export, by its `name_of`."""
    from deploy.export.parity import file_name

    path: Path = args.save_dir / file_name(name, args.precision, args.head)
    return path


def scale_of(args: argparse.Namespace, dataset: "Dataset | None") -> int:
    """The scale of the upscaler that an export is for."""
    if dataset:
        return dataset.scale
    return args.scale or (trained_scale(args.model_path) if args.model_path else SCALE)


def zero_shot_weights(args: argparse.Namespace) -> Path:
    """The file of the config's general weights. InputError where it has none."""
    if names_pretrained(args.opts):
        raise InputError("--zero_shot: takes the weights that the config names; give others with --model_path")
    source = pretrained_sources(args.config).get("")
    if source is None or "://" in source:
        raise InputError(f"--zero_shot: {args.config} names no file of general weights (model.pretrained); train it")
    refuse_missing(Path(source), f"general weights that {args.config} names")
    return Path(source)


def checked_input_scale(args: argparse.Namespace) -> float:
    """The input scale of the training. InputError for flags that do not go together and for missing files, before
    Paddle is imported.
    """
    if args.dataset_root is None and args.input_size is None:
        raise InputError("--dataset_root or --input_size is missing; a graph has one frame size")
    if min(args.batch_size, args.calibration_frames, *(args.input_size or [])) < 1:
        raise InputError("--batch_size, --input_size and --calibration_frames: expected at least 1")
    refuse_scale(args.scale)
    if args.scale and args.dataset_root:
        raise InputError("--scale is for an export without --dataset_root; a dataset has its own")
    if args.all_sizes and (args.input_size or not args.dataset_root):
        raise InputError("--all_sizes: takes the sizes from --dataset_root; leave out --input_size")
    if args.dynamic_batch and args.batch_size != 1:
        raise InputError("--dynamic_batch: leaves the batch open; give no --batch_size with it")
    if args.precision == "int8" and args.dataset_root is None and not args.random_weights:
        raise InputError("--precision int8: is calibrated on training frames; give --dataset_root")
    read_config(args.config)
    if args.model_path:
        refuse_missing_weights(args.model_path)
        scale = trained_input_scale(args.model_path, args.input_scale)
    else:
        scale = 1.0 if args.input_scale is None else args.input_scale
    if shrink_of(scale) > 1 and args.with_paddle:
        raise InputError("--with_paddle: PaddleSeg's form has no --input_scale")
    return scale


def predictor_config(args: argparse.Namespace, scale: float, dataset: "Dataset | None") -> "PredictorConfig":
    """The config of the flags, with the levels and macroblocks of the weights and the dataset. Imports Paddle."""
    import_paddle()
    from regenhance_data.predictors.paddleseg.config import PredictorConfig

    config = PredictorConfig(args.config, scale, opts=args.opts)
    config.follow(args.model_path, dataset)
    config.refuse_cut_macroblocks(config.mb_size)
    return config


def in_asked_precision(
    graph: "onnx.ModelProto", args: argparse.Namespace, dataset: "Dataset | None", size_hw: tuple[int, int]
) -> tuple["onnx.ModelProto", list[str]]:
    """(the graph in --precision, names of the nodes that stay float32)."""
    if args.precision == "fp32":
        return graph, []
    from deploy.export.frames import training_frames
    from deploy.export.precision import in_precision

    if dataset is None and args.model_path:
        console.warn("without --dataset_root, values that overflow half precision are looked for on noise")
    return in_precision(graph, args.precision, training_frames(dataset, size_hw, args.calibration_frames))


def write_paddle_forms(
    model: Any,
    config: "PredictorConfig",
    network: "onnx.ModelProto",
    shape: list[int | None],
    about: dict[str, Any],
    stem: Path,
) -> None:
    """Write PaddleSeg's own form for input `shape` [N, 3, H, W] (N None: any), and the ONNX of the network alone.

    stem: how the names of both folders begin.
    """
    import onnx

    from regenhance_data.predictors.paddleseg.inference_model import save_inference_model

    folder = stem.with_name(f"{stem.name}_paddle")
    save_inference_model(model, config, folder, shape, "argmax", about["mb_size"], about["scale"], about["weights"])
    print(f"wrote {folder}, the levels of all {'macroblocks' if config.is_on_grid else 'pixels'}, for Paddle Inference")
    bare = stem.with_name(f"{stem.name}_network") / "model.onnx"  # in its own folder, since it is not a predictor
    with atomic_write(bare) as temporary:
        onnx.save(network, str(temporary))
    print(f"wrote {bare}, the network alone: normalised float32 [N, 3, H, W] → logits")


if __name__ == "__main__":
    cli.run(main, make_parser())
