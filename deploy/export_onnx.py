"""A trained predictor → ONNX that takes camera pixels and says the importance of every macroblock.

Input `frames` uint8 [N, H, W, 3] BGR, output `importance` float32 [N, rows, cols] in [0, 1] (--head pixels: [N, H, W]).
The precision is in the graph: fp16 casts, or int8 calibrated on training frames; what goes in and out stays the same.
The file is compared with Paddle on several frames, in every installed runtime, before it gets its name.
"""

import argparse
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import onnx

from deploy.artifacts.onnx import read_onnx
from deploy.backends.base import HEADS, PRECISIONS
from deploy.export.graph import Normalisation, pooling_matrix, predictor_graph
from deploy.export.precision import in_precision
from deploy.runtime import installed_backends, load_predictor
from regenhance_data import KIT, __version__, cli
from regenhance_data.cli import InputError
from regenhance_data.dataset.folder import MB_SIZE, ORIGIN, SCALE, Dataset
from regenhance_data.dataset.levels import expected_level
from regenhance_data.grid import MacroblockGrid
from regenhance_data.io.files import sha256, write_json, written_whole
from regenhance_data.metrics.ranking import spearman
from regenhance_data.regions.selection import choose

if TYPE_CHECKING:
    from regenhance_data.predictors.accmodel.training import AccModel
    from regenhance_data.predictors.paddleseg.config import PredictorConfig

EXAMPLES = """
python deploy/export_onnx.py --config C.yml --model_path S/best_model/model.pdparams --dataset_root D --save_dir S
python deploy/export_onnx.py --config C.yml --model_path M.pdparams --input_size 360 640 --save_dir S --head pixels
python deploy/export_onnx.py --config C.yml --model_path M.pdparams --dataset_root D --save_dir S --precision int8
python deploy/export_onnx.py --config C.yml --random_weights --input_size 360 640 --save_dir S --dynamic_batch
"""
COMPARED_FRAMES = 4
CALIBRATION_FRAMES = 32
# What an importance in [0, 1] may differ from Paddle's, by precision: the largest |difference|, or the mean.
# fp32: a hundredth of one of 10 levels. Another order of sums differed by less than 1e-5 on PP-MobileSeg-Tiny; a
# misread operator (the epsilon of a normalisation, see Paddle2ONNX issue 1618) is off by far more than this.
# fp16: a tenth of a level. CPUs compute in float32 between values rounded to half, which differed by less than 1e-3 on
# the trained sizes; ONNX's reference, which computes in half, by as much on mb_nano.
# int8: single macroblocks near a border of two levels differ by a level, which no bound on the largest can tell from a
# broken graph; the mean can: a fifth of a level.
TOLERANCES = {"fp32": ("max", 1e-3), "fp16": ("max", 1e-2), "int8": ("mean", 2e-2)}
BUDGET = 0.1
# Of the importance that a budget of 10 % holds, so much has to be in the macroblocks that the export would choose.
LEAST_KEPT = 0.95
_EXPORTERS = {"Paddle": "paddle2onnx", "PyTorch": "torch"}


def make_parser() -> argparse.ArgumentParser:
    parser = cli.make_parser(__doc__, EXAMPLES)
    parser.add_argument("--config", type=Path, required=True, help="the PaddleSeg YAML of the training")
    weights = parser.add_mutually_exclusive_group(required=True)
    weights.add_argument("--model_path", type=Path, help="trained weights, .pdparams")
    weights.add_argument("--random_weights", action="store_true", help="for latency alone; the file says so")
    parser.add_argument("--dataset_root", type=Path, help="dataset: gives the frame size and the frames to compare on")
    parser.add_argument("--input_size", nargs=2, type=int, metavar=("H", "W"), help="frame size, where it is another")
    parser.add_argument("--save_dir", type=Path, required=True, help="folder for the ONNX file and its parity report")
    parser.add_argument("--head", choices=HEADS, default="macroblock")
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32", help="of the network inside the graph")
    parser.add_argument("--calibration_frames", type=int, default=CALIBRATION_FRAMES, help="fp16 and int8: of training")
    parser.add_argument("--batch_size", type=int, default=1, help="frames the graph takes at once")
    parser.add_argument("--dynamic_batch", action="store_true", help="leave that open")
    parser.add_argument("--with_paddle", action="store_true", help="PaddleSeg's own forms beside it, float input")
    parser.add_argument("--input_scale", type=float, help="of the training (default: what predictor.yaml says, or 1)")
    parser.add_argument("--opts", nargs="+", help="config entries to change: key.subkey=value")
    return parser


def compared_frames(dataset: Dataset | None, input_size_hw: tuple[int, int] | None) -> np.ndarray:
    """Frames to compare on, uint8 RGB [n, H, W, 3]: evenly from the test list, else the training list, else any.

    The first one's size where no other is given; without a dataset, noise of the given size.
    """
    if dataset is None:
        assert input_size_hw is not None
        return np.random.default_rng(0).integers(256, size=(COMPARED_FRAMES, *input_size_hw, 3), dtype=np.uint8)
    lists = [dataset.split_frames(name) for name in ("test", "train") if (dataset.root / f"{name}.txt").is_file()]
    frames = next((listed for listed in lists if listed), None) or dataset.frames(dataset.clips()[0])
    spread = sorted({round(at) for at in np.linspace(0, len(frames) - 1, COMPARED_FRAMES)})
    images = [dataset.read(ORIGIN, frames[at]) for at in spread]
    height, width = input_size_hw or images[0].shape[:2]
    return np.stack([cv2.resize(image, (width, height)) for image in images])


def file_name(model: str, precision: str) -> str:
    """What the ONNX file of a config is called."""
    return f"{model}.onnx" if precision == "fp32" else f"{model}_{precision}.onnx"


def training_frames(dataset: Dataset | None, input_size_hw: tuple[int, int], most: int) -> np.ndarray:
    """Frames to calibrate on, uint8 BGR [n, H, W, 3] of the given size: evenly from the training list, at most `most`.

    From the first clip where the dataset is not split. Without a dataset, noise, which is for random weights.
    """
    if dataset is None:
        return np.random.default_rng(1).integers(256, size=(most, *input_size_hw, 3), dtype=np.uint8)
    is_split = (dataset.root / "train.txt").is_file()
    listed = dataset.split_frames("train") if is_split else dataset.frames(dataset.clips()[0])
    if not listed:
        raise InputError(f"{dataset.root}/train.txt: lists no frame to calibrate on; run tools/make_seg_dataset.py")
    height, width = input_size_hw
    spread = sorted({round(at) for at in np.linspace(0, len(listed) - 1, most)})
    images = [cv2.resize(dataset.read(ORIGIN, listed[at]), (width, height)) for at in spread]
    return np.ascontiguousarray(np.stack(images)[..., ::-1])


def normalisation(config: "PredictorConfig") -> Normalisation:
    """What the config's val_dataset does to a frame. InputError for anything but Normalize, which has no place here."""
    steps = config.transforms("val_dataset").transforms
    if len(steps) != 1 or type(steps[0]).__name__ != "Normalize":
        names = ", ".join(type(step).__name__ for step in steps) or "nothing"
        raise InputError(f"{config.path}: val_dataset transforms are {names}; an export can hold one Normalize alone")
    return Normalisation(*(np.broadcast_to(v, 3).tolist() for v in (steps[0].mean, steps[0].std)))


def network_onnx(model: Any, batch_size: int | None, input_hw: tuple[int, int]) -> onnx.ModelProto:
    """The bare network, [N, 3, H, W] → logits [N, K, H, W]; batch_size None leaves N open.

    InputError where Paddle2ONNX cannot convert it.
    """
    # Paddle2ONNX folds constants with Polygraphy, which would run pip and change the environment.
    os.environ["POLYGRAPHY_AUTOINSTALL_DEPS"] = "0"
    import paddle2onnx

    from regenhance_data.predictors.paddleseg.inference_model import GRAPH, WEIGHTS, save_graph

    with tempfile.TemporaryDirectory() as folder:
        graph, weights, made = (f"{folder}/{name}" for name in (GRAPH, WEIGHTS, "network.onnx"))
        try:
            with cli.quiet_unless_it_fails(), _exact_adaptive_pooling():
                save_graph(model, Path(folder), [batch_size, 3, *input_hw])
                paddle2onnx.export(graph, weights, made, opset_version=17)
        except Exception as error:  # Paddle's and Paddle2ONNX's own errors have no base in common
            reason = " ".join(str(error).split())[-120:]
            raise InputError(f"Paddle2ONNX cannot convert this network ({reason}); what it said is above") from None
        return onnx.load(made)


@contextmanager
def _exact_adaptive_pooling() -> Iterator[None]:
    """Adaptive average pooling as two matrix products.

    ONNX has no such operator. Paddle2ONNX takes windows of one size in its place, which is another thing wherever the
    bins do not divide the size: the pyramid of MobileSeg and PP-LiteSeg was off by 0.02 of the importance.
    """
    import paddle
    import paddle.nn.functional as F

    real = F.adaptive_avg_pool2d

    def pooled(x: Any, output_size: Any, data_format: str = "NCHW", name: str | None = None) -> Any:
        if data_format != "NCHW":
            return real(x, output_size, data_format, name)
        rows, cols = (output_size, output_size) if isinstance(output_size, int) else output_size
        height, width = x.shape[2:]
        down = paddle.to_tensor(pooling_matrix(height, rows or height), dtype=x.dtype)
        across = paddle.to_tensor(pooling_matrix(width, cols or width), dtype=x.dtype)
        return paddle.matmul(paddle.matmul(down, x), across, transpose_y=True)

    F.adaptive_avg_pool2d = pooled
    try:
        yield
    finally:
        F.adaptive_avg_pool2d = real


@contextmanager
def _noted_interpolations() -> Iterator[list[tuple[Any, Any, dict[str, Any]]]]:
    """(input, output, keywords) of every F.interpolate that runs inside, in order."""
    import paddle.nn.functional as F

    real, calls = F.interpolate, []

    def noting(x: Any, *args: Any, **keywords: Any) -> Any:
        output = real(x, *args, **keywords)
        calls.append((x, output, keywords))
        return output

    F.interpolate = noting
    try:
        yield calls
    finally:
        F.interpolate = real


def paddle_importance(
    model: Any, config: "PredictorConfig", frames: np.ndarray, grid: MacroblockGrid
) -> dict[str, np.ndarray]:
    """What Paddle says of the macroblocks, by head: uint8 RGB [n, H, W, 3] → float [n, rows, cols] each.

    The macroblock head's reference takes the long way that its matrices shorten: the expected level of the network's
    low-resolution logits, upsampled to the full frame by Paddle, averaged over each block. A network that goes straight
    to the macroblocks says the same of all pixels of one.
    """
    import paddle
    import paddle.nn.functional as F

    from regenhance_data.predictors.paddleseg.batches import prepared_image

    def level_of(logits: Any) -> np.ndarray:
        return expected_level(F.softmax(logits, axis=1).numpy())

    model.eval()
    blocks, pixels = [], []
    for frame in frames:
        image = prepared_image(frame, config, "val_dataset")
        height, width = image.shape[1:]
        seen = MacroblockGrid(height, width, grid.mb_size // config.shrink)
        with paddle.no_grad(), _noted_interpolations() as calls:
            logits = model(paddle.to_tensor(image[None]))[0]
        with paddle.no_grad():
            level = level_of(logits)[0]
            if level.shape == grid.shape:
                pixels.append(level)
                blocks.append(level)
                continue
            pixels.append(seen.mean(level))
            if calls and calls[-1][1] is logits:
                low, _, keywords = calls[-1]
                align = keywords.get("align_corners", False)
                low_level = paddle.to_tensor(level_of(low)[:, None])
                full = F.interpolate(low_level, image.shape[1:], mode="bilinear", align_corners=align)
                blocks.append(seen.mean(full[0, 0].numpy()))
    return {"macroblock": np.array(blocks), "pixels": np.stack(pixels)}


def parity(
    path: Path,
    head: str,
    frames: np.ndarray,
    reference: dict[str, np.ndarray],
    framework: str = "Paddle",
    precision: str = "fp32",
) -> dict[str, Any]:
    """Compare the ONNX file with `reference`, what the framework says by head (see `paddle_importance`), in every
    runtime that is installed. InputError when one differs by more than the precision's tolerance.
    """
    which, tolerance = TOLERANCES[precision]
    report: dict[str, Any] = {"frames": len(frames), "tolerance": {which: tolerance}, "backends": {}}
    expected = reference[head]
    batch = len(frames) if read_onnx(path).batch == 0 else None
    for backend in installed_backends() or ["auto"]:
        found = load_predictor(path, backend, batch_size=batch).predict(frames[..., ::-1])
        differences = np.abs(found - expected)
        measured = {
            "max": float(differences.max()),
            "mean": float(differences.mean()),
            "kept_at_10": float(np.mean([kept_share(a, b) for a, b in zip(found, expected, strict=True)])),
        }
        report["backends"][backend] = measured
        if not measured[which] <= tolerance:
            raise InputError(
                f"the exported graph in {backend} differs from {framework} by {measured[which]:.2g} ({which}), "
                f"{precision} may differ by {tolerance:g}; no graph was written: {_mend(precision, framework)}"
            )
        if precision != "fp32" and measured["kept_at_10"] < LEAST_KEPT:
            raise InputError(
                f"the macroblocks that the exported graph in {backend} chooses hold {measured['kept_at_10']:.3f} of "
                f"the importance that {framework}'s hold, {LEAST_KEPT:g} is expected; no graph was written: "
                + _mend(precision, framework)
            )
        ranks = [spearman(a, b) for a, b in zip(found, reference["pixels"], strict=True)]
        known = [rank for rank in ranks if rank is not None]
        report["spearman_to_pixels_head"] = float(np.mean(known)) if known else None
    return report


def kept_share(found: np.ndarray, expected: np.ndarray) -> float:
    """Of the expected importance that the best macroblocks of a 10 % budget hold, what those chosen by `found` hold."""
    best = expected[choose(expected, BUDGET)].sum()
    return float(expected[choose(found, BUDGET)].sum() / best) if best > 0 else 1.0


def _mend(precision: str, framework: str) -> str:
    if precision == "int8":
        return "calibrate on more frames (--calibration_frames), or stay with fp16"
    if precision == "fp16":
        return "this network needs float32"
    return f"the exporter misread this network, try another {_EXPORTERS[framework]}"


def described(
    name: str,
    head: str,
    levels: int,
    grid: MacroblockGrid,
    dataset: Dataset | None,
    input_scale: float = 1.0,
    precision: str = "fp32",
    weights: Path | None = None,
) -> dict[str, Any]:
    """What a predictor's file says about it: its metadata, and the head of its parity report.

    weights: the trained ones; None for random ones.
    """
    about = dataset.root / "dataset.yaml" if dataset else None
    return {
        "kit": KIT,
        "kit_version": __version__,
        "model": name,
        "head": head,
        "levels": levels,
        "mb_size": grid.mb_size,
        "scale": dataset.scale if dataset else SCALE,
        "dataset_sha256": sha256(about) if about and about.is_file() else "",
        "input_height": grid.height,
        "input_width": grid.width,
        "input_scale": input_scale,
        "precision": precision,
        "weights": "trained" if weights else "random",
        "weights_sha256": sha256(weights) if weights else "",
    }


def write_compared(
    path: Path,
    graph: onnx.ModelProto,
    about: dict[str, Any],
    frames: np.ndarray,
    reference: dict[str, np.ndarray],
    framework: str = "Paddle",
    further: dict[str, Any] | None = None,
) -> None:
    """Write a predictor's graph and its parity report, and say so; InputError, and no graph, where `parity` says no.

    about: see `described`. further: what else the report says. The rest as `parity`.
    """
    with written_whole(path) as temporary:
        onnx.save(graph, str(temporary))
        report = parity(temporary, about["head"], frames, reference, framework, about["precision"])
    report_path = path.with_suffix(".parity.json")
    write_json(report_path, {**about, **report, **(further or {})})
    for backend, measured in report["backends"].items():
        print(
            f"{backend:12s} differs from {framework} by {measured['max']:.1e} at most, {measured['mean']:.1e} in the "
            f"mean, on {len(frames)} frames; its best {BUDGET:.0%} hold {measured['kept_at_10']:.3f} of the importance"
        )
    if report["spearman_to_pixels_head"] is not None:
        print(f"order of the macroblocks against the pixels head: Spearman {report['spearman_to_pixels_head']:.4f}")
    height, width, (rows, cols) = about["input_height"], about["input_width"], reference["macroblock"].shape[1:]
    print(f"wrote {path} ({width}x{height} frames → {rows}x{cols} macroblocks), {report_path}")


def export_accmodel(model: "AccModel", dataset: Dataset, path: Path, weights: Path | None = None) -> None:
    """Write AccModel as a predictor of frames of the dataset's size, compared with PyTorch as `write_compared` does.

    weights: where it was trained to; None for random ones.
    """
    from regenhance_data.predictors.accmodel.training import MEAN, NAME, STD, network_onnx

    frames = compared_frames(dataset, None)
    height, width = frames.shape[1:3]
    grid = MacroblockGrid(height, width, model.mb_size)
    importance = model.importance(frames)
    about = described(NAME, "macroblock", 2, grid, dataset, weights=weights)
    network = onnx.load_model_from_string(network_onnx(model.network, (height, width)))
    graph = predictor_graph(network, Normalisation([MEAN] * 3, [STD] * 3), "macroblock", grid, about)
    reference = {"macroblock": importance, "pixels": importance}
    write_compared(path, graph, about, frames, reference, "PyTorch")


def main(args: argparse.Namespace) -> None:
    if args.dataset_root is None and args.input_size is None:
        raise InputError("--dataset_root or --input_size is missing; a graph is made for one frame size")
    if min(args.batch_size, args.calibration_frames, *(args.input_size or [])) < 1:
        raise InputError("--batch_size, --input_size and --calibration_frames: expected at least 1")
    if args.dynamic_batch and args.batch_size != 1:
        raise InputError("--dynamic_batch: leaves the batch open; give no --batch_size with it")
    if args.precision == "int8" and args.dataset_root is None and not args.random_weights:
        raise InputError("--precision int8: is calibrated on training frames; give --dataset_root")
    warnings.filterwarnings("ignore", message="No ccache found")
    import paddle

    from regenhance_data.predictors.paddleseg.config import PredictorConfig, load_weights, trained_input_scale
    from regenhance_data.predictors.paddleseg.inference_model import save_inference_model

    scale = trained_input_scale(args.model_path, args.input_scale) if args.model_path else args.input_scale or 1.0
    config = PredictorConfig(args.config, scale, opts=args.opts)
    if args.with_paddle and config.shrink > 1:
        raise InputError("--with_paddle: PaddleSeg's form has no --input_scale")
    dataset = Dataset.open(args.dataset_root) if args.dataset_root else None
    config.refuse_cut_macroblocks(dataset.mb_size if dataset else MB_SIZE)
    frames = compared_frames(dataset, tuple(args.input_size) if args.input_size else None)
    height, width = frames.shape[1:3]
    grid = MacroblockGrid(height, width, dataset.mb_size if dataset else MB_SIZE)
    normalise = normalisation(config)
    paddle.seed(0)  # of random weights: two exports of different precision are of one network
    model = config.build("model")
    if args.model_path:
        load_weights(model, args.model_path)
    reference = paddle_importance(model, config, frames, grid)
    if args.head == "macroblock" and not reference["macroblock"].size:
        raise InputError(f"{config.path}: this network does not end in an upsampling; export it with --head pixels")

    about = described(config.name, args.head, config.num_classes, grid, dataset, scale, args.precision, args.model_path)
    seen = [-(-size // config.shrink) for size in (height, width)]
    network = network_onnx(model, None if args.dynamic_batch else args.batch_size, (seen[0], seen[1]))
    graph = predictor_graph(network, normalise, args.head, grid, about, config.shrink)
    kept: list[str] = []
    if args.precision != "fp32":
        if dataset is None and args.model_path:
            cli.warn("without --dataset_root, what outgrows half precision is looked for on noise")
        calibrating = training_frames(dataset, (height, width), args.calibration_frames)
        graph, kept = in_precision(graph, args.precision, calibrating)
    path = args.save_dir / file_name(config.name, args.precision)
    write_compared(path, graph, about, frames, reference, further={"kept_in_fp32": kept})
    if args.random_weights:
        cli.warn(f"{path}: has random weights; what it says of frames means nothing")
    if args.with_paddle:
        folder = args.save_dir / f"{config.name}_paddle"
        shape = [None if args.dynamic_batch else args.batch_size, 3, height, width]
        save_inference_model(model, config, folder, shape, "argmax", grid.mb_size, about["scale"], about["weights"])
        print(f"wrote {folder}, the whole frame's levels, for Paddle Inference")
        bare = args.save_dir / f"{config.name}_network" / "model.onnx"  # not among the predictors, which it is not
        with written_whole(bare) as temporary:
            onnx.save(network, str(temporary))
        print(f"wrote {bare}, the network alone: normalised float32 [N, 3, H, W] → logits")
    if kept:
        print(f"{len(kept)} nodes stay float32: {', '.join(kept[:3])}{' …' if len(kept) > 3 else ''}")
    cli.suggest(
        ["python", "deploy/trt_infer.py", "--model", path, "--video", "VIDEO", "--save_dir", args.save_dir],
        ["python", "deploy/onnx2trt.py", "--onnx", path, "--dry_run"],
    )


if __name__ == "__main__":
    cli.run(main, make_parser())
