"""Export an upscaler to ONNX, so that OpenVINO and ONNX Runtime run it without PyTorch.

Input `frames` uint8 [N, h, w, 3] RGB of any size, output `hr` uint8 [N, h*scale, w*scale, 3]; a luma network's are
float32 [N, 1, h, w] in 0..1. The file is compared with PyTorch on frames of two sizes, in every installed engine,
before it is written. It tells its exact halo: how many LR pixels around a region an upscaler must see.
"""

import argparse
from contextlib import suppress
from pathlib import Path

with suppress(ImportError):  # a script has it beside itself: it checks the installation
    import _environment  # noqa: F401

from regenhance_data import cli
from regenhance_data.defaults import SCALE
from regenhance_data.errors import InputError
from regenhance_data.io.files import alone
from regenhance_data.kinds import known_specs
from regenhance_data.upscalers.kinds import KINDS
from regenhance_data.upscalers.settings import CHANNEL_ORDERS, UpscalerSettings

EXAMPLES = """
python deploy/export_upscaler.py --model general --save_dir runs/upscaler
python deploy/export_upscaler.py --model edsr:edsr_baseline_x3.pt --save_dir runs/upscaler
python deploy/export_upscaler.py --model spandrel:4x-span.pth --scale 4 --save_dir runs/upscaler
"""


EXPORTABLE = {name: kind for name, kind in KINDS.items() if kind.is_torch}


def make_parser() -> argparse.ArgumentParser:
    parser = cli.make_parser(__doc__, EXAMPLES)
    parser.add_argument("--model", required=True, metavar="SPEC", help=f"the upscaler: {known_specs(EXPORTABLE)}")
    parser.add_argument("--scale", type=int, default=SCALE, help="of the upscaler")
    parser.add_argument("--pixel_range", type=float, help="white in a torchscript: file, 1 or 255 (default: 1)")
    parser.add_argument("--channel_order", choices=CHANNEL_ORDERS, help="of a file's input and output (default: RGB)")
    parser.add_argument("--save_dir", type=Path, required=True, help="folder for the ONNX file and its parity report")
    return parser


@alone("export_upscaler")
def main(args: argparse.Namespace) -> None:
    order = args.channel_order
    settings = UpscalerSettings(args.model, args.scale, pixel_range=args.pixel_range, channel_order=order)
    if settings.kind.name not in EXPORTABLE:
        raise InputError(f"--model {settings.spec}: cannot be exported; there are: {known_specs(EXPORTABLE)}")
    from deploy.export.upscaler import export_upscaler

    path = args.save_dir / f"{name_of(settings)}.onnx"
    export_upscaler(settings, path)
    model = ["--model", f"onnx:{path}", "--scale", args.scale]
    cli.suggest(["python", "tools/super_resolve.py", "--data", "DATASET", *model])


def name_of(settings: UpscalerSettings) -> str:
    """How the file is called: as that of the upscaler, or its kind; with a scale that neither says."""
    name = Path(settings.argument).stem or settings.kind.name
    is_told = settings.argument and (settings.scale == SCALE or name.endswith(f"x{settings.scale}"))
    return name if is_told else f"{name}_x{settings.scale}"


if __name__ == "__main__":
    cli.run(main, make_parser())
