"""Render the built-in street as a camera delivers it: a small H.264 clip, and a file with the true boxes."""

import argparse
from contextlib import suppress
from pathlib import Path

with suppress(ImportError):  # a script has it beside itself: it checks the installation
    import _environment  # noqa: F401

import cv2

from regenhance_data import cli, console, errors
from regenhance_data.io.files import alone, write_json
from regenhance_data.street.scene import CLASS_NAMES, render_scene

EXAMPLES = """
python tools/render_scene.py --save_dir runs/street
python tools/render_scene.py --save_dir runs/street --seed 7 --frames 100 --height 1080 --scale 3 --crf 35
"""


def make_parser() -> argparse.ArgumentParser:
    parser = cli.make_parser(__doc__, EXAMPLES)
    parser.add_argument("--save_dir", type=Path, required=True, help="folder for camera.mp4 and truth.json")
    parser.add_argument("--seed", type=int, default=1000, help="each seed gives another street and other traffic")
    parser.add_argument("--frames", type=int, default=360)
    parser.add_argument("--fps", type=int, default=10, help="frames per second")
    parser.add_argument("--height", type=int, default=540, help="height of the HR frames in pixels; they are 16:9")
    parser.add_argument("--scale", type=int, default=3, help="the clip has LR frames of 1/scale of that size")
    parser.add_argument("--crf", type=int, default=26, help="x264's constant rate factor: a higher one compresses more")
    return parser


@alone("render_scene")
def main(args: argparse.Namespace) -> None:
    for flag, least, most in (
        ("frames", 1, 10**6),
        ("fps", 1, 120),
        ("scale", 1, 8),
        ("crf", 0, 51),
    ):
        if not least <= getattr(args, flag) <= most:
            raise errors.InputError(f"--{flag} {getattr(args, flag)}: expected {least} to {most}")
    if args.seed < 0 or not 32 <= args.height // args.scale <= 2160:
        raise errors.InputError(
            "--seed is at least 0, and the camera's picture, height / scale, 32 to 2160 pixels high"
        )
    from regenhance_data.io.video import VideoWriter  # PyAV

    lr_height = args.height // args.scale // 2 * 2
    lr_width = round(lr_height * 16 / 9 / 2) * 2
    boxes_of: dict[str, list[list[float]]] = {}
    scene = render_scene(args.seed, args.frames, lr_height * args.scale, lr_width * args.scale, args.fps)
    with VideoWriter(args.save_dir / "camera.mp4", args.fps, args.crf) as video:
        for number, (frame, boxes, labels) in enumerate(console.progress(scene, "render", args.frames)):
            video.write(cv2.resize(frame, (lr_width, lr_height), interpolation=cv2.INTER_AREA))
            boxes_of[str(number)] = [
                [*(round(float(edge), 2) for edge in box), int(label)] for box, label in zip(boxes, labels, strict=True)
            ]
    truth = {
        "classes": list(CLASS_NAMES),
        "frame_hw": [lr_height * args.scale, lr_width * args.scale],
        "frames": boxes_of,
    }
    write_json(args.save_dir / "truth.json", truth)
    print(f"{args.save_dir}/camera.mp4: {args.frames} frames of {lr_width}x{lr_height}")
    print(f"{args.save_dir}/truth.json: the true boxes, in pixels of the HR frame ({args.scale} times as large)")
    video, data = args.save_dir / "camera.mp4", args.save_dir / "dataset"
    cli.suggest(["python", "tools/extract.py", "--video", video, "--data", data, "--height", lr_height])


if __name__ == "__main__":
    cli.run(main, make_parser())
