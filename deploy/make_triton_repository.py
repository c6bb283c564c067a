"""Write predictors into a model repository for NVIDIA Triton Inference Server, each as a new model or a new version.

A predictor is an .onnx of deploy/export_onnx.py or an .engine of deploy/onnx2trt.py with its JSON beside it.
Each becomes REPOSITORY/NAME/config.pbtxt and REPOSITORY/NAME/VERSION/model.onnx (or model.plan). Preprocessing is
part of the graph, so no ensemble is needed. A version gets its name when it is complete: a server that polls never
sees half of one. What no flag says of a model that is there stays as its config.pbtxt has it.
"""

import argparse
import re
from contextlib import suppress
from pathlib import Path

with suppress(ImportError):  # a script has it beside itself: it checks the installation
    import _environment  # noqa: F401

from deploy.serving.settings import DEVICE_OF, MAX_BATCH_SIZE, NO_ACCELERATOR, Serving
from regenhance_data import cli
from regenhance_data.errors import InputError, refuse_below_one
from regenhance_data.io.files import alone

EXAMPLES = """
python deploy/make_triton_repository.py --models runs/predictor/mb_nano.onnx --repository runs/triton
python deploy/make_triton_repository.py --models A.onnx B.onnx --repository R --max_batch_size 16
python deploy/make_triton_repository.py --models M.engine --repository R --name street --instances 2
python deploy/make_triton_repository.py --models M.onnx --repository R --device gpu --accelerator tensorrt
"""


def make_parser() -> argparse.ArgumentParser:
    parser = cli.make_parser(__doc__, EXAMPLES)
    parser.add_argument("--models", nargs="+", type=Path, required=True, help="predictors: .onnx, or .engine with JSON")
    parser.add_argument("--repository", type=Path, required=True, help="folder of the server; created if missing")
    parser.add_argument("--name", help="name of the model on the server (default: the file's, without its suffix)")
    parser.add_argument("--version", type=int, help="above the existing versions (default: the next)")
    parser.add_argument("--num_versions", type=int, help="number of latest versions that are served (default: 1)")
    parser.add_argument("--device", choices=["cpu", "gpu"], help="(default: cpu for .onnx, gpu for .engine)")
    parser.add_argument("--instances", type=int, help="parallel executions, on each GPU or on the CPU (default: 1)")
    accelerators = [*DEVICE_OF, NO_ACCELERATOR]
    parser.add_argument("--accelerator", choices=accelerators, help="execution accelerator of ONNX Runtime")
    parser.add_argument("--max_batch_size", type=int, help=f"in frames (default: the engine's, or {MAX_BATCH_SIZE})")
    parser.add_argument("--preferred_batch_size", nargs="*", type=int, help="batch sizes that run without waiting")
    parser.add_argument("--max_queue_delay_us", type=int, help="microseconds a frame may wait for others (default: 0)")
    return parser


@alone("make_triton_repository", "repository")
def main(args: argparse.Namespace) -> None:
    refuse_below_one(version=args.version)
    if args.name and len(args.models) > 1:
        raise InputError("--name: is for one model; give one file in --models")
    names = [args.name or path.stem for path in args.models]
    for name in names:
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", name):  # a folder's name and a part of a URL
            raise InputError(f"{name}: expected a name of letters, digits, '.', '_' and '-'; give one with --name")
        if names.count(name) > 1:
            raise InputError(f"--models: two files are called {name}; add them one by one, with --name")
    serving = Serving(**{field: getattr(args, field) for field in Serving.__dataclass_fields__})
    from deploy.serving.triton import (
        CONFIG,
        add_version,
        kept_config,
        model_config,
        read_served,
        remove_leftovers,
        same_version,
    )

    remove_leftovers(args.repository)
    served = [read_served(path) for path in args.models]
    configs = [
        model_config(name, file, serving, kept_config(args.repository / name))
        for name, file in zip(names, served, strict=True)
    ]
    for config, file in zip(configs, served, strict=True):
        same = same_version(args.repository, config, file.path) if args.version is None else None
        if same is None:
            path = add_version(args.repository, config, file.path, args.version)
            print(f"wrote {path}, {CONFIG} beside its folder")
        else:
            print(f"{file.path}: is version {same} already; {CONFIG} in {args.repository / config.name} is up to date")
    uses_gpu = any(group.kind == group.KIND_GPU for config in configs for group in config.instance_group)
    image, folder = "nvcr.io/nvidia/tritonserver:26.07-py3", args.repository.resolve()
    docker = ["docker", "run", "--rm", *(["--gpus", "all"] if uses_gpu else []), "-p", "8000:8000"]
    url = f"http://localhost:8000/v2/models/{names[0]}"
    cli.suggest(
        [*docker, "-v", f"{folder}:/models:ro", image, "tritonserver", "--model-repository=/models"],
        ["python", "deploy/trt_infer.py", "--model", url, "--video", "VIDEO", "--save_dir", "runs/served"],
    )


if __name__ == "__main__":
    cli.run(main, make_parser())
