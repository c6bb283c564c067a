"""Run the whole pipeline, from a video to a deployed predictor and a report, with the commands that a user would type.

Without --video it renders the built-in street, which has its own detector and upscaler. The frames of your own video
are the HR frames if they are at least 480 pixels high; the LR frames are a third of their size. The frames of a smaller
video are the LR frames, and the general upscaler makes the HR frames.

Several videos, or a manifest of tools/extract.py, are several cameras: one dataset and one predictor for all of them,
and an exported model, an evaluation and a report for each camera, in a folder of its own.
"""

import argparse
import hashlib
import os
import shlex
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

with suppress(ImportError):  # a script has it beside itself: it checks the installation
    import _environment  # noqa: F401

from regenhance_data import cli, console, errors
from regenhance_data.dataset.folder import Dataset
from regenhance_data.defaults import BUDGET, ORIGINAL_HEIGHT_PX, SCALE
from regenhance_data.detectors.arguments import detector_settings_from
from regenhance_data.detectors.kinds import KINDS
from regenhance_data.detectors.loading import load_detector
from regenhance_data.io.files import alone, read_json, refuse_missing, write_json, write_yaml
from regenhance_data.io.networks import network_sha256
from regenhance_data.kinds import kind_of
from regenhance_data.parallel.commands import program_of, wait_for

EXAMPLES = """
python tools/demo.py --save_dir runs/demo
python tools/demo.py --save_dir runs/mine --video my.mp4 --detector onnx:yolox_nano.onnx --classes person car truck
python tools/demo.py --save_dir runs/two --video gate.mp4 yard.mkv --detector onnx:yolox_nano.onnx
make demo VIDEO="gate.mp4 yard.mkv" DETECTOR=onnx:yolox_nano.onnx
"""
ROOT = Path(__file__).resolve().parent.parent
KIT_FOLDERS = ("regenhance_data", "tools", "deploy", "paddleseg_configs")
JOURNAL = "stages.json"  # the finished stages, in the demo's folder
CONFIG = os.path.relpath(ROOT / "paddleseg_configs/mb_nano.yml")
COMPARED_FRAMES, SHOWN_FRAMES = 30, 100  # of the loop: by evaluate_online, and in its video
STREET = "camera"  # the clip of the built-in street


def make_parser() -> argparse.ArgumentParser:
    parser = cli.make_parser(__doc__, EXAMPLES)
    parser.add_argument(
        "--save_dir", type=Path, default=Path("runs/demo"), help="folder for all results, report.html included"
    )
    videos = parser.add_mutually_exclusive_group()
    videos.add_argument("--video", nargs="+", help="your own videos instead of the built-in street, one a camera")
    videos.add_argument(
        "--manifest", type=Path, help="your own cameras, as tools/extract.py --manifest takes them, with their 'every'"
    )
    parser.add_argument("--detector", default="builtin", help="as in tools/make_importance.py, which lists the kinds")
    parser.add_argument("--classes", nargs="+", help="names or numbers of the detector's classes that count")
    parser.add_argument(
        "--upscaler",
        help="as --model of tools/super_resolve.py, which lists the kinds (default: builtin for the street, general "
        "for your own videos)",
    )
    parser.add_argument("--max_frames", type=int, default=300, help="frames of each camera, evenly over its --video")
    parser.add_argument("--iters", type=int, default=200, help="training iterations; general weights need few")
    parser.add_argument("--restart", action="store_true", help="run every stage again")
    return parser


def upscaler_of(args: argparse.Namespace) -> str:
    """The one that is given, else the one for these videos."""
    return args.upscaler or ("general" if args.video or args.manifest else "builtin")


def check_detector(args: argparse.Namespace) -> None:
    """Refuse an unknown detector or class now, not after the frames are made."""
    given = {"spec": args.detector, **({"classes": args.classes} if args.classes else {})}
    load_detector(detector_settings_from(argparse.Namespace(**given)))


def stages(args: argparse.Namespace) -> Iterator[list[str]]:
    """The commands, in order, each as the words of a command line; later ones depend on what earlier ones wrote."""
    out, data, predictor = args.save_dir, args.save_dir / "dataset", args.save_dir / "predictor"
    if not args.video and not args.manifest:
        yield words("tools/render_scene.py", "--save_dir", out, "--frames", args.max_frames)
    yield words("tools/extract.py", "--data", data, *extraction(args))
    dataset = Dataset.open(data)
    has_originals = all(record.keep_hr for record in dataset.record.clips.values())
    if not has_originals:
        yield words("tools/super_resolve.py", "--data", data, "--model", upscaler_of(args))
    hr_folder = "hr_images" if has_originals else "sr_images"
    yield words("tools/make_importance.py", "--data", data, "--clear", hr_folder, *detector_flags(args))
    yield words("tools/make_seg_dataset.py", "--data", data)
    yield words("tools/check_dataset.py", "--data", data)
    network = ["--config", CONFIG, "--dataset_root", data]
    best = ["--model_path", predictor / "best_model/model.pdparams"]
    train = ["--save_dir", predictor, "--use_ema", "--overwrite", "--iters", args.iters]
    yield words("paddleseg", "train", *network, *train)
    yield words("paddleseg", "val", *network, *best, "--save_dir", predictor)
    sizes = ["--all_sizes"] if len(lr_sizes(dataset)) > 1 else []
    yield words("deploy/export_onnx.py", *network, *best, *sizes, "--save_dir", out / "deploy")
    for clip in dataset.clips():
        yield from camera_stages(args, dataset, clip)


def camera_stages(args: argparse.Namespace, dataset: Dataset, clip: str) -> Iterator[list[str]]:
    """The commands for one camera: what the predictor gains and takes there, and its overlay."""
    out, onnx = camera_folder(args.save_dir, dataset, clip), onnx_file(args, dataset, clip)
    data, video = args.save_dir / "dataset", videos_of(args)[clip]
    of_clip = ["--clips", clip] if len(dataset.clips()) > 1 else []
    truth = [] if args.video or args.manifest else ["--truth", out / "truth.json"]
    found_by = detector_flags(args)
    yield words("tools/evaluate.py", "--data", data, *of_clip, "--model", onnx, "--save_dir", out, *truth, *found_by)
    evaluation = ["--evaluation", out / "evaluation.json", "--save_dir", out]
    yield words("deploy/benchmark.py", "--models", onnx, "--data", data, *evaluation)
    shown = ["--save_dir", out, "--max_frames", args.max_frames, "--video", video]
    yield words("deploy/trt_infer.py", "--model", onnx, *shown)
    loop = ["--predictor", onnx, "--upscaler", upscaler_of(args), "--save_dir", out / "loop", "--max_frames"]
    compared = ["--data", data, "--clips", clip, *loop, COMPARED_FRAMES, "--budgets", BUDGET, *truth]
    yield words("tools/evaluate_online.py", *compared, *found_by)
    yield words("deploy/run_cameras.py", "--video", video, *loop, SHOWN_FRAMES, "--compare", *found_by)


def words(*parts: object) -> list[str]:
    """A command as the words of a command line; a folder's name may have spaces."""
    return [str(part) for part in parts]


def detector_flags(args: argparse.Namespace) -> list[str]:
    """The flags of the detector."""
    return ["--detector", args.detector, *(["--classes", *args.classes] if args.classes else [])]


def lr_sizes(dataset: Dataset) -> set[tuple[int, int] | None]:
    """The sizes of the cameras' LR frames, (height, width)."""
    return {record.origin_hw for record in dataset.record.clips.values()}


def onnx_file(args: argparse.Namespace, dataset: Dataset, clip: str) -> Path:
    """The exported model for the frames of a camera."""
    from deploy.export.parity import export_name, file_name

    size_hw = dataset.record.clips[clip].origin_hw if len(lr_sizes(dataset)) > 1 else None
    folder: Path = args.save_dir / "deploy"
    return folder / file_name(export_name(Path(CONFIG).stem, size_hw), "fp32")


def camera_folder(out: Path, dataset: Dataset, clip: str) -> Path:
    """Where the results of a camera are: the demo's folder itself where there is only one."""
    return out / clip if len(dataset.clips()) > 1 else out


def videos_of(args: argparse.Namespace) -> dict[str, Path]:
    """{clip: its video}. InputError for a broken manifest."""
    if not args.video and not args.manifest:
        return {STREET: args.save_dir / f"{STREET}.mp4"}
    from regenhance_data.stages import manifest
    from regenhance_data.stages.extract import ExtractionSettings

    settings = ExtractionSettings()
    sources = (
        manifest.sources_of_manifest(args.manifest, settings)
        if args.manifest
        else manifest.sources_of_videos(args.video, settings)
    )
    return {source.clip: source.video for source in sources}


def extraction(args: argparse.Namespace) -> list[str]:
    """The flags of tools/extract.py. Several videos differ in their settings: these go to a manifest."""
    if args.manifest:
        return words("--manifest", args.manifest, "--mixed_sizes", "--max_frames", args.max_frames)
    if not args.video:
        return words("--height", 180, "--video", videos_of(args)[STREET])
    videos = videos_of(args)
    found = [probe(video) for video in videos.values()]
    small = [height // SCALE if height >= ORIGINAL_HEIGHT_PX else height for height, _ in found]
    every = [-(-frames // args.max_frames) for _, frames in found]
    are_originals = all(height >= ORIGINAL_HEIGHT_PX for height, _ in found)
    if not are_originals:
        large = [clip for clip, (height, _) in zip(videos, found, strict=True) if height >= ORIGINAL_HEIGHT_PX]
        why = f"; so are those of {', '.join(large)}: run them alone to use the originals" if large else ""
        console.warn(
            f"HR frames of videos below {ORIGINAL_HEIGHT_PX} lines are made by the upscaler {upscaler_of(args)}{why}. "
            "F1 says how many detections it changes, not whether they become right"
        )
    flags = words("--max_frames", args.max_frames)
    flags += ["--keep_hr", "--jpeg_quality", "75"] if are_originals else []
    if len(videos) == 1:
        return words("--height", small[0], "--every", every[0], *flags, "--video", args.video[0])
    clips = [
        {"video": str(video.resolve()), "id": clip, "height": height, "every": step}
        for (clip, video), height, step in zip(videos.items(), small, every, strict=True)
    ]
    write_yaml(args.save_dir / "cameras.yaml", {"clips": clips})
    return words("--manifest", args.save_dir / "cameras.yaml", "--mixed_sizes", *flags)


def probe(video: Path) -> tuple[int, int]:
    """(height of the frames in pixels, their number) of a video, by its header; by reading it where that says none."""
    from regenhance_data.io.video import inspect_video, promised_frames, read_video

    height, _ = inspect_video(video).upright_hw
    return height, promised_frames([video], None) or sum(1 for _ in read_video(video))


def run_stage(stage: list[str]) -> None:
    """Run one command in a process of its own; the demo ends with its exit code when it fails."""
    code = wait_for(program_of(ROOT, stage))
    if code:
        print(f"demo: stopped at: {shlex.join(stage)}", file=sys.stderr)
        raise SystemExit(code)


def command_line(stage: list[str]) -> str:
    """The words of a stage as a user would type them."""
    return shlex.join(stage if stage[0] == "paddleseg" else ["python", *stage])


def fingerprint(args: argparse.Namespace) -> str:
    """A hash of all inputs of the stages besides their flags: video, detector, upscaler, the kit itself."""
    files = [path for folder in KIT_FOLDERS for path in sorted((ROOT / folder).rglob("*")) if path.is_file()]
    files = [path for path in files if path.suffix in (".py", ".yml", ".pt", ".pdparams")]
    own = videos_of(args).values() if args.video or args.manifest else []
    networks = [Path(spec.partition(":")[2]) for spec in (args.detector, upscaler_of(args))]
    files += [path for path in (*own, args.manifest, *networks) if path and path.is_file()]
    return hashlib.sha256("".join(map(network_sha256, files)).encode()).hexdigest()


def earlier_stages(args: argparse.Namespace, inputs: str) -> list[dict[str, Any]]:
    """What an earlier run did with the same inputs, from the first stage on. InputError where the demo made none."""
    journal = args.save_dir / JOURNAL
    if not journal.exists():
        if (args.save_dir / "dataset").exists():
            raise errors.InputError(
                f"{args.save_dir}: has a dataset that the demo did not make; give another --save_dir"
            )
        return []
    entries = read_json(journal)
    if not isinstance(entries, list):
        raise errors.InputError(f"{journal}: holds no stages of this command; remove it, or give another --save_dir")
    if args.restart:
        return []
    is_same = [
        isinstance(entry, dict) and entry.get("inputs") == inputs and isinstance(entry.get("seconds"), int | float)
        for entry in entries
    ]
    return entries[: [*is_same, False].index(False)]


def run_stages(args: argparse.Namespace, inputs: str) -> float:
    """Run every stage but those that an earlier run finished with the same inputs and the same commands before them.
    Returns the seconds that those took.

    Where not even the first one is, the results of the earlier run are removed: they are of other videos, or of another
    version of the kit.
    """
    earlier, done, earlier_s = earlier_stages(args, inputs), list[dict[str, Any]](), 0.0
    for stage in stages(args):
        command = command_line(stage)
        print(f"\n$ {command}", flush=True)
        if len(done) < len(earlier) and earlier[len(done)].get("command") == command:
            print("  done by an earlier run")
            earlier_s += earlier[len(done)]["seconds"]
            done.append(earlier[len(done)])
            continue
        earlier = []
        if not done:
            for made in ("dataset", "predictor", "deploy"):
                shutil.rmtree(args.save_dir / made, ignore_errors=True)
        write_json(args.save_dir / JOURNAL, done)  # before the first stage too: an interrupted run is recognised
        started = time.monotonic()
        try:
            run_stage(stage)
        except KeyboardInterrupt:
            raise errors.resumable("1 stage is done" if len(done) == 1 else f"{len(done)} stages are done") from None
        seconds = round(time.monotonic() - started, 1)
        done.append({"command": command, "inputs": inputs, "seconds": seconds})
        write_json(args.save_dir / JOURNAL, done)
    return earlier_s


def check_inputs(args: argparse.Namespace) -> None:
    """InputError now, not after the frames are made, for videos, a detector or classes that cannot be used."""
    kind = kind_of(args.detector, KINDS)
    if (args.video or args.manifest) and kind is not None and kind.street_only:
        raise errors.InputError(
            f"--detector {args.detector} finds only the objects of the built-in street; give another for your --video"
        )
    if args.max_frames < 60:
        raise errors.InputError(
            f"--max_frames {args.max_frames}: training, validation and test need at least 60 frames"
        )
    if args.video or args.manifest:
        from regenhance_data.io.video import read_video

        for video in videos_of(args).values():
            next(iter(read_video(video)), None)  # all of it is read later
    check_detector(args)


@alone("demo")
def main(args: argparse.Namespace) -> None:
    args.video = given_videos(args.video)
    check_inputs(args)
    began = time.monotonic()
    earlier_s = run_stages(args, fingerprint(args))
    from deploy.backends.registry import load_predictor
    from regenhance_data.reports.cameras import write_index  # matplotlib
    from regenhance_data.reports.demo import training_verdict, write_report
    from regenhance_data.reports.loop import loop_verdict

    dataset = Dataset.open(args.save_dir / "dataset")
    folders = {clip: camera_folder(args.save_dir, dataset, clip) for clip in dataset.clips()}
    summaries = {}
    for clip, folder in folders.items():
        predictor = load_predictor(onnx_file(args, dataset, clip))
        headline = write_report(folder, args.save_dir, dataset, clip, predictor.predict_one)
        summaries[clip] = f"{headline}\nThe loop: {loop_verdict(folder / 'loop')}"
    if len(folders) > 1:
        write_index(args.save_dir, dataset, folders)
    took = f"{(time.monotonic() - began) / 60:.1f} minutes"
    took += f", and {earlier_s / 60:.1f} of the stages done earlier" if earlier_s else ""
    summary = "\n".join(f"{clip}: {text}" if len(folders) > 1 else text for clip, text in summaries.items())
    summary += f"\n{training_verdict(args.save_dir)}"
    print(f"\n{summary}\n\n{args.save_dir}/report.html is ready ({took}): open it in a browser")


def given_videos(given: list[str] | None) -> list[Path]:
    """The videos of --video. `make demo VIDEO="a.mp4 b.mp4"` gives one word for several of them."""
    paths: list[Path] = []
    for word in given or []:
        parts = [Path(part) for part in word.split()]
        paths += parts if not Path(word).exists() and all(part.exists() for part in parts) else [Path(word)]
    for path in paths:
        refuse_missing(path, "video")
    return paths


if __name__ == "__main__":
    cli.run(main, make_parser())
