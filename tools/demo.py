"""Run the whole pipeline, from a video to a deployed predictor and a report, with the commands that a user would type.

Without --video it renders the built-in street, which has its own detector and upscaler. The frames of your own video
are the HR frames if they are at least 480 pixels high; the LR frames are a third of their size. The frames of a smaller
video are the LR frames, and the built-in upscaler makes the HR frames.
"""

import argparse
import hashlib
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import _environment  # noqa: F401 (checks the installation)

from regenhance_data import cli, errors
from regenhance_data.dataset.folder import Dataset
from regenhance_data.defaults import SCALE
from regenhance_data.detectors.arguments import detector_settings_from
from regenhance_data.detectors.kinds import KINDS
from regenhance_data.detectors.loading import load_detector
from regenhance_data.io.files import read_json, sha256, write_json
from regenhance_data.kinds import kind_of

EXAMPLES = """
python tools/demo.py --save_dir runs/demo
python tools/demo.py --save_dir runs/mine --video my.mp4 --detector onnx:yolox_nano.onnx --classes person car truck
make demo VIDEO=my.mp4 DETECTOR=onnx:yolox_nano.onnx
"""
ROOT = Path(__file__).resolve().parent.parent
KIT_FOLDERS = ("regenhance_data", "tools", "deploy", "paddleseg_configs")
JOURNAL = "stages.json"  # the finished stages, in the demo's folder
CONFIG = "paddleseg_configs/mb_nano.yml"
ORIGINAL_HEIGHT_PX = 480  # smaller videos are taken as LR frames


def make_parser() -> argparse.ArgumentParser:
    parser = cli.make_parser(__doc__, EXAMPLES)
    parser.add_argument(
        "--save_dir", type=Path, default=Path("runs/demo"), help="folder for all results, report.html included"
    )
    parser.add_argument("--video", type=Path, help="your own video instead of the built-in street")
    parser.add_argument("--detector", default="builtin", help="as in tools/make_importance.py, which lists the kinds")
    parser.add_argument("--classes", nargs="+", help="names or numbers of the detector's classes that count")
    parser.add_argument("--max_frames", type=int, default=360, help="frames to work on, evenly over the video")
    parser.add_argument("--iters", type=int, help="training iterations (default: the config's)")
    parser.add_argument("--restart", action="store_true", help="run every stage again")
    return parser


def check_detector(args: argparse.Namespace) -> None:
    """Refuse an unknown detector or class now, not after the frames are made."""
    given = {"spec": args.detector, **({"classes": args.classes} if args.classes else {})}
    load_detector(detector_settings_from(argparse.Namespace(**given)))


def stages(args: argparse.Namespace) -> list[list[str]]:
    """The commands, in order, each as the words of a command line."""
    out = args.save_dir
    data, predictor, onnx = f"{out}/dataset", f"{out}/predictor", f"{out}/deploy/{Path(CONFIG).stem}.onnx"
    detector = ["--detector", args.detector, *(["--classes", *args.classes] if args.classes else [])]
    if args.video is None:
        video, hr_folder = f"{out}/camera.mp4", "sr_images"
        begin = [f"tools/render_scene.py --save_dir {out} --frames {args.max_frames}".split()]
        extract = f"tools/extract.py --data {data} --height 180 --video {video}".split()
    else:
        video = str(args.video)
        height, frames = probe(args.video)
        hr_folder = "hr_images" if height >= ORIGINAL_HEIGHT_PX else "sr_images"
        small = max(height // SCALE, 1) if hr_folder == "hr_images" else height
        begin, every = [], -(-frames // args.max_frames)
        extract = f"tools/extract.py --data {data} --height {small} --every {every}".split()
        extract += ["--max_frames", str(args.max_frames), "--video", video]
        extract += ["--keep_hr", "--jpeg_quality", "75"] if hr_folder == "hr_images" else []
    super_resolve = (
        [f"tools/super_resolve.py --data {data} --model builtin".split()] if hr_folder == "sr_images" else []
    )
    truth = ["--truth", f"{out}/truth.json"] if args.video is None else []
    train = (
        f"paddleseg train --config {CONFIG} --dataset_root {data} --save_dir {predictor} --use_ema --overwrite".split()
    )
    best = f"{predictor}/best_model/model.pdparams"
    return [
        *begin,
        extract,
        *super_resolve,
        ["tools/make_importance.py", "--data", data, "--clear", hr_folder, *detector],
        f"tools/make_seg_dataset.py --data {data}".split(),
        f"tools/check_dataset.py --data {data}".split(),
        train + (["--iters", str(args.iters)] if args.iters else []),
        f"paddleseg val --config {CONFIG} --dataset_root {data} --model_path {best} --save_dir {predictor}".split(),
        f"deploy/export_onnx.py --config {CONFIG} --model_path {best} --dataset_root {data} "
        f"--save_dir {out}/deploy".split(),
        ["tools/evaluate.py", "--data", data, "--model", onnx, "--save_dir", str(out), *truth],
        f"deploy/benchmark.py --models {onnx} --data {data} "
        f"--evaluation {out}/evaluation.json --save_dir {out}".split(),
        [*f"deploy/trt_infer.py --model {onnx} --save_dir {out} --max_frames {args.max_frames} --video".split(), video],
    ]


def probe(video: Path) -> tuple[int, int]:
    """(height in pixels, number of frames) of a video, by reading it."""
    from regenhance_data.io.video import read_video

    height = frames = 0
    for frame in read_video(video):
        height, frames = frame.shape[0], frames + 1
    return height, frames


def run_stage(words: list[str]) -> None:
    """Run one command in a process of its own; the demo ends with its exit code when it fails."""
    program = (
        [str(Path(sys.executable).with_name("paddleseg"))] if words[0] == "paddleseg" else [sys.executable, words[0]]
    )
    code = subprocess.run([*program, *words[1:]], check=False).returncode
    if code:
        print(f"demo: stopped at: {shlex.join(words)}", file=sys.stderr)
        raise SystemExit(code)


def command_line(words: list[str]) -> str:
    """The words of a stage as a user would type them."""
    return shlex.join(words if words[0] == "paddleseg" else ["python", *words])


def fingerprint(args: argparse.Namespace) -> str:
    """A hash of all inputs of the stages besides their flags: video, detector, the kit itself."""
    files = [path for folder in KIT_FOLDERS for path in sorted((ROOT / folder).rglob("*")) if path.is_file()]
    files = [path for path in files if path.suffix in (".py", ".yml", ".pt")]
    files += [path for path in (args.video, Path(args.detector.partition(":")[2])) if path and path.is_file()]
    return hashlib.sha256("".join(sha256(path) for path in files).encode()).hexdigest()


def earlier_stages(args: argparse.Namespace, commands: list[str], inputs: str) -> list[dict[str, Any]]:
    """The first stages that an earlier run did by the same commands on the same inputs.

    If there are none, the results of the earlier run are removed: they belong to another video or version.
    """
    journal = args.save_dir / JOURNAL
    if not journal.exists():
        if (args.save_dir / "dataset").exists():
            raise errors.InputError(
                f"{args.save_dir}: has a dataset that the demo did not make; give another --save_dir"
            )
        return []
    kept: list[dict[str, Any]] = []
    for stage, command in zip(read_json(journal), commands, strict=False):
        if (
            args.restart
            or not isinstance(stage, dict)
            or (stage.get("command"), stage.get("inputs")) != (command, inputs)
        ):
            break
        kept.append(stage)
    if not kept:
        for made in ("dataset", "predictor", "deploy"):
            shutil.rmtree(args.save_dir / made, ignore_errors=True)
    return kept


def main(args: argparse.Namespace) -> None:
    kind = kind_of(args.detector, KINDS)
    if args.video and kind is not None and kind.street_only:
        raise errors.InputError(
            f"--detector {args.detector} finds only the objects of the built-in street; give another for your --video"
        )
    if args.max_frames < 60:
        raise errors.InputError(
            f"--max_frames {args.max_frames}: training, validation and test need at least 60 frames"
        )
    if args.video:
        from regenhance_data.io.video import read_video

        next(iter(read_video(args.video)), None)  # an unreadable video is refused now; all of it is read later
    check_detector(args)
    planned, inputs = stages(args), fingerprint(args)
    done = earlier_stages(args, [command_line(words) for words in planned], inputs)
    began = time.monotonic()
    write_json(args.save_dir / JOURNAL, done)  # before the first stage, so that an interrupted run is recognised
    for number, words in enumerate(planned):
        print(f"\n$ {command_line(words)}", flush=True)
        if number < len(done):
            print("  done by an earlier run")
            continue
        started = time.monotonic()
        run_stage(words)
        seconds = round(time.monotonic() - started, 1)
        done.append({"command": command_line(words), "inputs": inputs, "seconds": seconds})
        write_json(args.save_dir / JOURNAL, done)
    from deploy.backends.registry import load_predictor
    from regenhance_data.reports.demo import write_report  # matplotlib

    predictor = load_predictor(args.save_dir / "deploy" / f"{Path(CONFIG).stem}.onnx")
    summary = write_report(args.save_dir, Dataset.open(args.save_dir / "dataset"), predictor.predict_one)
    minutes = (time.monotonic() - began) / 60
    print(f"\n{summary}\n\n{args.save_dir}/report.html is ready ({minutes:.1f} minutes): open it in a browser")


if __name__ == "__main__":
    cli.run(main, make_parser())
