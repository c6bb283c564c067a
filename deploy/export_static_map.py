"""Export the static map of a clip, the mean importance of its training frames, as a predictor that costs nothing.

Where a fixed camera sees the same kind of scene at the same places, this may be as good as a network; verdicts say so.
The file is a predictor as any other: run_cameras.py, plan.py, evaluate_online.py and evaluate.py take it.

--flat makes one without a dataset, to which all macroblocks are alike: with --feedback of run_cameras.py, what was
found in a camera's last frame says where to enhance.
"""

import argparse
from contextlib import suppress
from pathlib import Path

with suppress(ImportError):  # a script has it beside itself: it checks the installation
    import _environment  # noqa: F401

from regenhance_data import cli
from regenhance_data.dataset.folder import Dataset
from regenhance_data.defaults import SCALE
from regenhance_data.errors import InputError, refuse_below_one, refuse_scale
from regenhance_data.io.files import alone

EXAMPLES = """
python deploy/export_static_map.py --data my_dataset --save_dir runs/static
python deploy/export_static_map.py --data my_dataset --clip gate --save_dir runs/static
python deploy/export_static_map.py --flat 360 640 --save_dir runs/flat
"""


def make_parser() -> argparse.ArgumentParser:
    parser = cli.make_parser(__doc__, EXAMPLES)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path, help="dataset folder with importance and train.txt")
    source.add_argument("--flat", nargs=2, type=int, metavar=("H", "W"), help="LR frames of this size, all alike")
    parser.add_argument("--scale", type=int, help=f"of the upscaler, with --flat (default: {SCALE})")
    parser.add_argument("--clip", help="whose map (default: of the only clip)")
    parser.add_argument("--save_dir", type=Path, required=True, help="folder for the ONNX file and its parity report")
    return parser


@alone("export_static_map")
def main(args: argparse.Namespace) -> None:
    if args.flat:
        write_flat(args)
        return
    if args.scale is not None:
        raise InputError("--scale is for --flat; a dataset has its own")
    dataset = Dataset.open(args.data)
    clips = dataset.clips()
    if args.clip is None and len(clips) > 1:
        raise InputError(
            f"{args.data}: has {len(clips)} clips, each with its own map; give --clip one of {', '.join(clips)}"
        )
    clip = clips[0] if args.clip is None else args.clip
    if clip not in clips:
        raise InputError(f"--clip {clip}: {args.data} has no such clip; there are: {', '.join(clips)}")
    from deploy.export.static_map import export_static_map

    path = args.save_dir / f"static_{clip or 'map'}.onnx"
    export_static_map(dataset, clip, path)
    flags = ["--predictor", path, "--upscaler", "general", "--save_dir", "runs/online"]
    cli.suggest(["python", "tools/evaluate_online.py", "--data", args.data, *flags])


def write_flat(args: argparse.Namespace) -> None:
    """Write the predictor of --flat."""
    if args.clip is not None:
        raise InputError("--clip is for --data; --flat is of no clip")
    refuse_below_one(flat=min(args.flat))
    refuse_scale(args.scale)
    from deploy.export.frames import warn_if_high
    from deploy.export.static_map import export_flat_map

    (height, width), scale = args.flat, args.scale or SCALE
    warn_if_high((height, width), "--flat")
    path = args.save_dir / f"flat_{width}x{height}{'' if scale == SCALE else f'_x{scale}'}.onnx"
    export_flat_map((height, width), scale, path)
    flags = ["--upscaler", "general", "--detector", "onnx:D.onnx", "--save_dir", "runs/cameras"]
    cli.suggest(["python", "deploy/run_cameras.py", "--video", "V.mp4", "--predictor", path, "--feedback", 1, *flags])


if __name__ == "__main__":
    cli.run(main, make_parser())
