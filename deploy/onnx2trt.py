"""Build a TensorRT engine from a predictor's ONNX file, for the GPU of this machine.

The engine has the precision of the file: export it with --precision fp16 or int8. --dry_run checks what can be checked
without TensorRT and without a GPU: opset, operators, types, quantisation, shapes. M.engine.json beside M.engine records
the file, the TensorRT version and the GPU that it was built for; deploy/trt_infer.py checks them.
"""

import argparse
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

with suppress(ImportError):  # a script has it beside itself: it checks the installation
    import _environment  # noqa: F401

from deploy.backends.registry import BACKENDS, refuse_missing_predictor
from deploy.contract import ENGINE_SUFFIX
from regenhance_data import cli
from regenhance_data.errors import InputError, refuse_below_one
from regenhance_data.io.files import refuse_unwritable

if TYPE_CHECKING:
    from deploy.artifacts.onnx import OnnxPredictor

EXAMPLES = """
python deploy/onnx2trt.py --onnx runs/predictor/mb_nano.onnx --dry_run
python deploy/onnx2trt.py --onnx mb_nano_fp16.onnx --engine mb_nano_fp16.engine --timing_cache trt.cache
python deploy/onnx2trt.py --onnx open_batch.onnx --engine M.engine --batch 1 4 16
"""


def make_parser() -> argparse.ArgumentParser:
    parser = cli.make_parser(__doc__, EXAMPLES)
    parser.add_argument("--onnx", type=Path, required=True, help="a predictor of deploy/export_onnx.py")
    parser.add_argument("--engine", type=Path, help="file to write, M.engine (default: beside the ONNX file)")
    parser.add_argument(
        "--batch",
        type=int,
        nargs=3,
        metavar=("SMALLEST", "USUAL", "LARGEST"),
        help="batch sizes of a file with --dynamic_batch (default: 1 1 8)",
    )
    parser.add_argument("--workspace_mib", type=int, default=1024, help="most GPU memory for building, MiB")
    parser.add_argument("--timing_cache", type=Path, help="file of kernel timings: the next build takes seconds")
    parser.add_argument("--tf32", action="store_true", help="allow rounding of float32 to TF32 where that is faster")
    parser.add_argument("--dry_run", action="store_true", help="check the file and write nothing; needs no TensorRT")
    return parser


def main(args: argparse.Namespace) -> None:
    engine = args.engine or args.onnx.with_suffix(ENGINE_SUFFIX)
    if engine.suffix != ENGINE_SUFFIX:
        raise InputError(f"--engine {engine}: expected a name that ends in {ENGINE_SUFFIX}")
    refuse_below_one(workspace_mib=args.workspace_mib)
    refuse_missing_predictor(args.onnx)
    if not args.dry_run:
        refuse_unwritable(engine.parent, "--engine")
    from deploy.artifacts.engine import sidecar_path
    from deploy.artifacts.onnx import read_onnx
    from deploy.export.tensorrt_build import build_engine
    from deploy.export.tensorrt_check import problems, problems_of
    from regenhance_data.parallel.limits import run_limited

    file = read_onnx(args.onnx)
    batches = profile(file, args.batch)
    what = f"{args.onnx}: the check for TensorRT"
    found = problems(file.model) if file.is_moderate else run_limited(problems_of, file.content, what=what)
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise InputError(f"{args.onnx}: TensorRT would refuse it: {found[0]}{more}; export it again")
    if args.dry_run:
        print_checked(file, batches)
        cli.suggest(["python", "deploy/onnx2trt.py", "--onnx", args.onnx, "--engine", engine])
        return
    if not BACKENDS["tensorrt"].is_installed():
        raise InputError("TensorRT is not installed; pip install -e '.[tensorrt]', or check the file with --dry_run")
    sidecar = build_engine(file, engine, batches, args.workspace_mib, args.timing_cache, args.tf32)
    print(f"built with TensorRT {sidecar.tensorrt} for {sidecar.gpu}, {sidecar.precision}, batch {batches}")
    print(f"wrote {engine}, {sidecar_path(engine)}")
    cli.suggest(["python", "deploy/trt_infer.py", "--model", engine, "--video", "VIDEO", "--save_dir", engine.parent])


def profile(file: "OnnxPredictor", asked: list[int] | None) -> tuple[int, int, int]:
    """The (smallest, usual, largest) batch. InputError where the file has another, or the order is wrong."""
    if file.batch:
        if asked and set(asked) != {file.batch}:
            raise InputError(f"{file.path}: takes {file.batch} frames at once; export it with --dynamic_batch")
        return file.batch, file.batch, file.batch
    smallest, usual, largest = asked or (1, 1, 8)
    if not 1 <= smallest <= usual <= largest:
        raise InputError(f"--batch {smallest} {usual} {largest}: expected 1 ≤ smallest ≤ usual ≤ largest")
    return smallest, usual, largest


def print_checked(file: "OnnxPredictor", batches: tuple[int, int, int]) -> None:
    """Print the checks of a dry run."""
    from deploy.export.tensorrt_check import OPSETS

    height, width = file.input_hw
    nodes = file.model.graph.node
    kinds = len({node.op_type for node in nodes})
    pairs = sum(node.op_type == "QuantizeLinear" for node in nodes)
    name = file.metadata.get("model", "a network without a name")
    print(f"{file.path}: {name}, {file.metadata['precision']}, {width}x{height} frames")
    print(f"opset      within {OPSETS[0]} to {OPSETS[-1]}, which TensorRT 8.6, 10 and 11 read")
    print(f"operators  {len(nodes)} nodes of {kinds} kinds, all of them known to TensorRT 8.6")
    print("types      one float type at each operator; uint8 read by a Cast alone")
    print(f"int8       {f'{pairs} activations, symmetric, in pairs' if pairs else 'not quantised'}")
    print(f"batch      {' to '.join(map(str, sorted({batches[0], batches[2]})))}, all other sizes fixed")
    print("nothing was built: that needs TensorRT and a GPU")


if __name__ == "__main__":
    cli.run(main, make_parser())
