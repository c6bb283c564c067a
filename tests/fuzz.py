"""Damaged and hostile files against the commands: each input must end in exit 0, or in exit 2 with one line.

Failures are tracebacks and any other exit, signals, more than 30 s (--limit_s) or 20 s of the processor, files made
outside the folders that were named (payloads in pickles and YAML try to), and what was written but does not open or was
left unfinished.

python tests/fuzz.py --inputs 1000
Most commands run in a fork of this process, which pays the imports once; some, as users run them, in a process of their
own under prlimit.

python tests/fuzz.py --only 123        # that input, or several, again, with what its command said; its folder is kept
"""

import argparse
import faulthandler
import functools
import importlib
import json
import multiprocessing.process
import os
import random
import resource
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import torch
from PIL import Image

_ROOT = Path(__file__).resolve().parents[1]
# not tests/, whose folders are named like packages; tools/ has what each script imports first
sys.path[:1] = [str(_ROOT), str(_ROOT / "tools")]

from deploy.backends.registry import CPU_BACKENDS
from regenhance_data import cli
from regenhance_data.dataset.check import check_dataset
from regenhance_data.dataset.folder import Dataset
from regenhance_data.dataset.importance_file import read_importance
from regenhance_data.errors import NO_MEMORY, InputError
from regenhance_data.io import onnx_files
from regenhance_data.io.files import read_json, read_yaml
from tests.support.damage import (
    ODD_JSON,
    ODD_PATHS,
    ODD_VALUES,
    hostile_pickle,
    spoil,
    spoil_either,
    spoil_graph,
    spoil_text,
)
from tests.support.detector_files import with_metadata
from tests.support.files import ROOT
from tests.support.hostile_onnx import HOSTILE, write_hostile
from tests.support.seeds import DETECTORS, ODD_VIDEOS, UPSCALERS, VIDEOS, write_first_seeds, write_seeds

LIMIT_S, PROCESSOR_LIMIT_S = 30, 20
OWN_LIMIT_S = 60  # with the imports
MOST_BYTES = 4 * 2**30  # of memory; what a damaged head promises must not be believed
MOST_SPACE = 12 * 2**30  # of addresses, where libraries and threads are not shared with this process
# so that no input waits for them
IMPORTED = (
    "onnx2torch",
    "spandrel",
    "matplotlib.pyplot",
    "regenhance_data.detectors.exported",
    "tests.support.paddleseg_configs",
)
LOGS = ("stdout", "stderr", "result.json")
# Lines beside the one of the error that may be there: our warnings, and what OpenCV and ONNX Runtime say themselves.
NOTES = ("warning: ", "libpng ", "[ WARN:", "[ERROR:", "\x1b[", " nmemb=")
Words = list[object]
ONE_CALL: Words = ["--rounds", 1, "--repeats", 1, "--warmup", 0]  # of the benchmark
BENCHMARK: Words = ["--models", "seeds/predictor.onnx", "--backends", "onnxruntime", *ONE_CALL]
EVALUATE: Words = ["tools/evaluate.py", "--data", "seeds/data", "--budgets", 0.2, "--model", "seeds/predictor.onnx"]
DEMO: Words = ["tools/demo.py", "--video", "seeds/day.mp4", "--detector", "onnx:seeds/detector.onnx"]
DEMO += ["--save_dir", "save"]
# losses with the outputs that they are for, or not (see TinyPixels), and transforms, some of which do not fit
LOSSES = [("CrossEntropyLoss", "pp"), ("RelaxBoundaryLoss", "p"), ("DiceLoss", "e"), ("EdgeAttentionLoss", "a")]
LOSSES += [("PointCrossEntropyLoss", "t"), ("BCELoss", "e"), ("NoSuchLoss", "p"), ("LovaszSoftmaxLoss", "pc")]
STEPS = [
    {"type": "ResizeStepScaling", "min_scale_factor": 0.5, "max_scale_factor": 2.0, "scale_step_size": 0.25},
    {"type": "RandomPaddingCrop", "crop_size": [32, 32]},
    {"type": "Resize", "target_size": [64, 32]},
    {"type": "RandomDistort"},
    {"type": "RandomHorizontalFlip"},
    {"type": "Padding", "target_size": [8, 8]},
    {"type": "GenerateInstanceTargets"},
]
Target = Callable[[random.Random], Words]
TARGETS: dict[str, Target] = {}


def target(function: Target) -> Target:
    """Damages files in the working folder and says which command gets them."""
    TARGETS[function.__name__.replace("_", " ")] = function
    return function


def seed(name: str) -> Path:
    """A copy of a seed file, to damage."""
    return Path(shutil.copyfile(f"seeds/{name}", Path(name).name))


def seed_dataset(name: str = "data") -> Path:
    """A copy of a dataset, with a link that leads out of it."""
    shutil.copytree(f"seeds/{name}", "data")
    Path("data/out").symlink_to("../seeds/data/labels/day")
    return Path("data")


def use_of_dataset(rng: random.Random) -> Words:
    """A command that reads a dataset."""
    uses: list[Words] = [
        *([["check_dataset"]] * 3),
        *([["report_dataset"]] * 2),
        ["make_seg_dataset", "--gap", 1, "--normalize", rng.choice(("log", "minmax", "rank", "none"))],
        ["make_seg_dataset", "--split_by", "clip", "--split", 0.5, 0, 0.5],
        ["super_resolve", "--model", "bicubic", "--scale", rng.choice((2, 3)), "--workers", 1, "--overwrite"],
        ["make_importance", "--workers", 1],
        ["make_importance", "--workers", 1, "--detector", "onnx:seeds/detector.onnx", "--formula", "path"],
        ["evaluate", "--save_dir", "save", "--budgets", 0.2, "--split", rng.choice(("train", "val", "test"))],
        ["estimate_gain", "--frames", 3, "--save_dir", "save"],
        ["extract", "--video", "seeds/night.mkv", "--overwrite"],
        ["extract", "--video", "seeds/day.mp4", "seeds/night.mkv"],
    ]
    name, *flags = rng.choice(uses)
    return [f"tools/{name}.py", "--data", "data", *flags]


def extract(rng: random.Random, *source: object) -> Words:
    flags: list[Words] = [[], ["--fps", 5], ["--keep_hr"], ["--every", 2, "--jpeg_quality", 50]]
    return ["tools/extract.py", "--data", "data", "--height", 24, *source, *rng.choice(flags)]


def estimate(rng: random.Random, path: Path) -> Words:
    words: Words = ["tools/estimate_gain.py", "--video", path, "--frames", 2, "--scale", 2, "--save_dir", "save"]
    words += ["--detector", "onnx:seeds/detector.onnx"]
    flags: list[Words] = [["--video_is", "original"], ["--upscaler", "bicubic"]]
    return [*words, *rng.choice(flags)]


@target
def video(rng: random.Random) -> Words:
    path = seed(rng.choice((*VIDEOS, *(f"videos/{name}" for name in ODD_VIDEOS))))
    if rng.random() < 0.1:
        path.write_text(
            rng.choice(("ffconcat version 1.0\nfile 'seeds/day.mp4'\n", "#EXTM3U\n#EXTINF:1,\nseeds/day.mp4\n"))
        )
    else:
        spoil(rng, path)
    return estimate(rng, path) if rng.random() < 0.2 else extract(rng, "--video", path)


@target
def folder_of_videos(rng: random.Random) -> Words:
    Path("videos").mkdir()
    names = [
        "a.mp4",
        "A.mkv",
        "..mp4",
        "a\nb.avi",
        "-rf.mp4",
        "é ü.mkv",
        "\udcff.mp4",
        "x" * 200 + ".avi",
        "$(touch ran).mkv",
    ]
    for name in rng.sample(names, 3):
        path = Path(shutil.copyfile(f"seeds/{rng.choice(VIDEOS)}", f"videos/{name}"))
        if rng.random() < 0.3:
            spoil(rng, path)
    others = [
        *(f"seeds/videos/{name}" for name in ODD_VIDEOS),
        "seeds/truth.json",
        "seeds/clips.yaml",
        "seeds/maps.npy",
    ]
    others.append("seeds/data/origin_images/day/000000.png")
    for other in rng.sample(others, 3):
        path = Path(shutil.copy(other, "videos"))
        if rng.random() < 0.3:
            spoil(rng, path)
    return extract(rng, "--video_dir", "videos")


@target
def manifest(rng: random.Random) -> Words:
    return extract(rng, "--manifest", spoil_either(rng, seed("clips.yaml"), spoil_text, ODD_VALUES))


@target
def dataset_yaml(rng: random.Random) -> Words:
    spoil_either(rng, seed_dataset() / "dataset.yaml", spoil_text, ODD_VALUES)
    return use_of_dataset(rng)


@target
def split_lists(rng: random.Random) -> Words:
    path = seed_dataset() / rng.choice(("train.txt", "val.txt", "test.txt"))
    lines = [line.split(" ") for line in path.read_text().splitlines()]
    if rng.random() < 0.5:  # as people write them
        lines = [[str(Path("data").resolve() / name) for name in line] for line in lines]
    joint, end, start = rng.choice(" \t|,;"), rng.choice(("", "  ", "\r", "\n")), rng.choice(("", "\ufeff"))
    path.write_text(start + "".join(f"{joint.join(line)}{end}\n" for line in lines))
    if rng.random() < 0.7:
        spoil_either(rng, path, spoil_text, ODD_PATHS)
    if rng.random() < 0.1:
        Path("data/.lock").symlink_to("../ran")
    return use_of_dataset(rng)


@target
def pictures(rng: random.Random) -> Words:
    for path in rng.sample(sorted(seed_dataset().glob("*_images/*/*.png")), rng.choice((1, 1, 3))):
        spoil(rng, path)
    return use_of_dataset(rng)


@target
def labels(rng: random.Random) -> Words:
    path = rng.choice(sorted(seed_dataset().glob("labels/*/*.png")))
    spoil(rng, path)
    return use_of_dataset(rng)


@target
def importance(rng: random.Random) -> Words:
    path = seed_dataset() / "importance" / rng.choice(("day.npz", "night.npz"))
    if rng.random() < 0.7:
        spoil(rng, path)
    else:
        shape = rng.choice(((0, 3, 4), (6, 3, 4), (6, 2, 3), (6, 0, 0), (6,), (1, 1, 1, 1)))
        kind = rng.choice((np.float64, np.float16, np.int8, np.complex64, object, "U3", np.bool_))
        with np.errstate(invalid="ignore"):
            maps = np.full(shape, rng.choice((0, 1, np.nan, -1, 7)), np.float64).astype(kind)
        np.savez(path, importance=maps, frames=np.arange(rng.choice((6, 6, 5))) - rng.choice((0, 0, 3)))
    return use_of_dataset(rng)


@target
def importance_from_elsewhere(rng: random.Random) -> Words:
    data = seed_dataset()
    names = ("maps.npy", "one.npz", "several.npz", "flat.pth", "old.pth", "saliency.pickle", "images.pickle")
    path = seed(rng.choice(names))
    if path.name != "saliency.pickle":  # the others tell no clips apart
        shutil.rmtree(data / "origin_images" / "night")
    if rng.random() < 0.2:
        path.write_bytes(hostile_pickle(rng))
    elif rng.random() < 0.9:
        spoil(rng, path)
    return ["tools/make_seg_dataset.py", "--data", "data", "--gap", 1, "--importance", path]


@target
def detectors(rng: random.Random) -> Words:
    seed_dataset("small")
    words: Words = ["tools/make_importance.py", "--data", "data", "--formula", rng.choice(("product", "first_order"))]
    match rng.randrange(4):
        case 0:
            path = seed("classes.pt")
            spoil(rng, path)
            return [*words, "--detector", f"torchscript:{path}", "--detector_input_size", 64, 64]
        case 1:
            path = seed("lraspp.pth")
            spoil(rng, path)
            flags = ["--detector_weights", path, "--detector_input_size", 64, 64]
            return [*words, "--detector", "torchvision:lraspp_mobilenet_v3_large", *flags]
        case 2:
            name = rng.choice([*DETECTORS, "../detector.onnx"])
            path = spoil_either(rng, seed(f"detectors/{name}"), spoil_graph)
            return [*words, "--detector", f"onnx:{path}", *DETECTORS.get(name, ())]
        case _:
            path = hostile_graph(rng)
            return [*words, "--detector", f"onnx:{path}"]


def hostile_graph(rng: random.Random) -> Path:
    """A graph for frames [1, 48, 64, 3] that asks for too much, and does not say that it is a predictor."""
    return with_metadata(write_hostile(Path("hostile.onnx"), rng.choice(list(HOSTILE))), {})


@target
def upscalers(rng: random.Random) -> Words:
    seed_dataset("small")
    kind, name, scale = rng.choice(UPSCALERS)
    path = seed(name)
    if kind == "onnx" and rng.random() < 0.3:
        path = hostile_graph(rng)
    elif rng.random() < 0.9:
        spoil_either(rng, path, spoil_graph) if kind == "onnx" else spoil(rng, path)
    return ["tools/super_resolve.py", "--data", "data", "--scale", scale, "--model", f"{kind}:{path}", "--overwrite"]


@target
def predictors(rng: random.Random) -> Words:
    if rng.random() < 0.2:
        path = write_hostile(Path("hostile.onnx"), rng.choice(list(HOSTILE)))
    else:
        path = spoil_either(rng, seed("predictor.onnx"), spoil_graph)
    backend = rng.choice(CPU_BACKENDS)
    uses: list[Words] = [
        ["deploy/trt_infer.py", "--model", path, "--video", "seeds/day.mp4", "--backend", backend],
        ["deploy/benchmark.py", "--models", path, "--backends", backend, *ONE_CALL],
        ["tools/evaluate.py", "--data", "seeds/data", "--budgets", 0.2, "--model", path, "--backend", backend],
    ]
    others: list[Words] = [
        ["deploy/onnx2trt.py", "--onnx", path, "--dry_run"],
        ["deploy/make_triton_repository.py", "--models", path, "--repository", "save"],
    ]
    return rng.choice([*([*words, "--save_dir", "save"] for words in uses), *others])


@target
def engines(rng: random.Random) -> Words:
    engine, sidecar = seed("predictor.engine"), seed("predictor.engine.json")
    if rng.random() < 0.2:
        spoil(rng, engine)
    else:
        spoil_either(rng, sidecar, spoil_text, ODD_JSON)
    words: Words = ["deploy/make_triton_repository.py", "--models", engine, "--repository", "save"]
    return rng.choice(
        [words, ["deploy/trt_infer.py", "--model", engine, "--video", "seeds/day.mp4", "--save_dir", "save"]]
    )


@target
def paddle_inference(rng: random.Random) -> Words:
    # not the network itself: Paddle Inference ends the process on some, as its users know it
    folder = Path(shutil.copytree("seeds/inference", "inference"))
    spoil_either(rng, folder / "deploy.yaml", spoil_text, ODD_VALUES)
    return ["deploy/trt_infer.py", "--model", folder, "--video", "seeds/day.mp4", "--save_dir", "save"]


@target
def json_files(rng: random.Random) -> Words:
    match rng.randrange(3):
        case 0:
            path = spoil_either(rng, seed("truth.json"), spoil_text, ODD_JSON)
            words: Words = ["tools/evaluate.py", "--data", "seeds/data", "--budgets", 0.2, "--truth", path]
        case 1:
            path = spoil_either(rng, seed("evaluation.json"), spoil_text, ODD_JSON)
            words = ["deploy/benchmark.py", *BENCHMARK, "--evaluation", path]
        case _:
            path = spoil_either(rng, seed("measurements.json"), spoil_text, ODD_JSON)
            Path("save").mkdir()
            shutil.move(path, "save/measurements.json")
            words = ["deploy/benchmark.py", *BENCHMARK]
    return [*words, "--save_dir", "save"]


@target
def interrupted_work(rng: random.Random) -> Words:
    Path("save").mkdir()
    if rng.random() < 0.3:
        Path("save/dataset").write_text("")  # which ends the next stage
        shutil.move(spoil_either(rng, seed("stages.json"), spoil_text, ODD_JSON), "save")
        return DEMO
    shutil.move(spoil_either(rng, seed(".evaluate.jsonl"), spoil_text, ODD_JSON), "save")
    return [*EVALUATE, "--save_dir", "save"]


@target
def paddle_files(rng: random.Random) -> Words:
    shutil.copytree("seeds/configs", "configs")
    config, weights = Path("configs/pp_mobileseg_tiny.yml"), Path("seeds/predictor.pdparams")
    if rng.random() < 0.5:
        weights = seed("predictor.pdparams")
        spoil(rng, weights)
    else:
        spoil_either(rng, rng.choice(sorted(Path("configs").rglob("*.yml"))), spoil_text, ODD_VALUES)
    if weights.parent.name == "seeds" and rng.random() < 0.3:  # beside the weights that are used
        weights = seed("predictor.pdparams")
        spoil_either(rng, seed("predictor.yaml"), spoil_text, ODD_VALUES)
    uses: list[Words] = [["val"], ["predict", "--image_path", "seeds/data/origin_images/day/000000.png"]]
    use, *flags = rng.choice(uses)
    words: Words = [
        "regenhance_data/predictors/paddleseg/command.py",
        use,
        "--config",
        config,
        "--dataset_root",
        "seeds/data",
    ]
    return [*words, *flags, "--model_path", weights, "--save_dir", "save"]


@target
def training_configs(rng: random.Random) -> Words:
    configs = importlib.import_module("tests.support.paddleseg_configs")
    name, kinds = rng.choice([*((name, "p") for name in configs.LOSS_ARGUMENTS), *LOSSES])
    losses = [{"type": name, **configs.LOSS_ARGUMENTS.get(name, {})}] * len(kinds)
    normalize = {"type": "Normalize"}
    transforms = [
        rng.choice(([], [normalize], [step, normalize], [normalize, step])) for step in rng.choices(STEPS, k=2)
    ]
    changes = {
        key: {"transforms": steps} for key, steps in zip(("train_dataset", "val_dataset"), transforms, strict=True)
    }
    path = configs.write_config(Path("own.yml"), losses, kinds, **changes)
    if rng.random() < 0.3:  # two bases for each config, ten levels deep
        path.rename("base0.yml")
        for level in range(1, 11):
            Path(f"base{level}.yml").write_text(f"_base_: [base{level - 1}.yml, ./base{level - 1}.yml]\n")
        path.write_text("_base_: base10.yml\nbatch_size: 1\n")
    if rng.random() < 0.5:
        spoil_either(rng, path, spoil_text, ODD_VALUES)
    words: Words = ["regenhance_data/predictors/paddleseg/command.py", "train", "--config", path, "--iters", 1]
    words += ["--batch_size", rng.choice((1, 2)), "--num_workers", rng.choice((0, 0, 1))]
    return [*words, "--dataset_root", "seeds/data", "--save_dir", "save"]


@target
def pretrained_weights(rng: random.Random) -> Words:
    path = seed("pretrained.pdparams")
    spoil(rng, path)
    words: Words = ["regenhance_data/predictors/paddleseg/command.py", "train", "--config", "seeds/configs/mb_nano.yml"]
    words += ["--iters", 1, "--batch_size", 1, "--dataset_root", "seeds/data", "--save_dir", "save"]
    return [*words, "--opts", f"model.pretrained={path}"]


@target
def accmodel_file(rng: random.Random) -> Words:
    path = seed("accmodel.pth")
    spoil(rng, path)
    return ["tools/predict_importance.py", "--model", path, "--video", "seeds/day.mp4", "--save_dir", "save"]


def make_seeds(folder: Path) -> None:
    """The whole files that the targets damage."""
    folder.mkdir()
    os.chdir(folder)
    Path("seeds").symlink_to(".")
    write_first_seeds()
    evaluate = ["tools/evaluate.py", "--data", "data", "--model", "seeds/predictor.onnx", "seeds/other.onnx"]
    for words in (
        ["tools/extract.py", "--data", "data", "--video", "day.mp4", "night.mkv"],
        ["tools/extract.py", "--data", "small", "--video", "day.mp4", "--max_frames", 1],
        *(["tools/super_resolve.py", "--data", data, "--model", "bicubic", "--scale", 2] for data in ("data", "small")),
        ["tools/make_importance.py", "--data", "data", "--detector", "onnx:seeds/detector.onnx"],
        ["tools/make_seg_dataset.py", "--data", "data", "--gap", 1],
        [*evaluate, "--budgets", 0.2, "--clips", "night", "--save_dir", "."],
        ["deploy/benchmark.py", *BENCHMARK, "--save_dir", "."],
    ):
        if command(words):
            raise SystemExit(f"{words} makes no seed")
    keep_counts()
    keep_stages()
    write_seeds()
    Path("seeds").unlink()


def keep_counts() -> None:
    """What an interrupted evaluation leaves."""
    kept = importlib.import_module("regenhance_data.io.journal")
    remove, kept.Journal.remove = kept.Journal.remove, lambda self: None
    if command([*EVALUATE, "--save_dir", "."]):
        raise SystemExit("an evaluation makes no seed")
    kept.Journal.remove = remove


def keep_stages() -> None:
    """What a demo leaves that was interrupted after its first stage."""
    demo = importlib.import_module("demo")
    args = demo.make_parser().parse_args([str(word) for word in DEMO[1:]])
    args.video = demo.given_videos(args.video)
    first = demo.command_line(next(demo.stages(args)))
    stages = [{"command": first, "inputs": demo.fingerprint(args), "seconds": 1.5}]
    Path(demo.JOURNAL).write_text(json.dumps(stages, indent=1))


def command(words: Words) -> int:
    """Run a command in this process as if by itself, and return its exit code; tracebacks go to stderr."""
    script, *sys.argv = [str(word) for word in words]
    sys.argv.insert(0, script)
    try:
        runpy.run_path(str(ROOT / script), run_name="__main__")
    except SystemExit as left:
        return left.code if isinstance(left.code, int) else int(left.code is not None)
    return 0


def own_command(words: Words) -> int:
    """Run a command in a process of its own, with limits for its addresses and its time on the processor."""
    script, *others = words
    limits = ["prlimit", f"--as={MOST_SPACE}", f"--cpu={OWN_LIMIT_S}", sys.executable, ROOT / str(script)]
    return subprocess.run([str(word) for word in [*limits, *others]], check=False).returncode


def files_in(*folders: Path) -> dict[Path, tuple[int, int]]:
    """Size and change of each file and folder below some folders; links are not followed."""
    found = [path for folder in folders for path in folder.rglob("*")]
    return {
        path: (path.lstat().st_size if path.is_file() else 0, 0 if path.is_dir() else path.lstat().st_mtime_ns)
        for path in found
    }


def wrong_output(path: Path) -> str | None:
    """What is wrong with a file that a command wrote, if anything."""
    if path.name.startswith((".writing-", ".partial-", ".lock")):
        return "is left unfinished"
    try:
        match path.suffix:
            case ".png":
                with Image.open(path) as image:  # as strict as PNG is; OpenCV reads halves too
                    image.load()
            case ".npz" if path.name == "predictions.npz":
                with np.load(path) as arrays:
                    _ = [arrays[name] for name in arrays]
            case ".npz":
                read_importance(path)
            case ".yaml":
                read_yaml(path)
            case ".json":
                read_json(path)
            case ".html":
                return None if path.read_text().rstrip().endswith("</html>") else "ends early"
            case ".mp4":
                with av.open(str(path)) as container:
                    return None if any(container.decode(video=0)) else "has no frame"
            case ".txt":
                missing = [name for name in path.read_text().split() if not os.path.lexists(path.parent / name)]
                return f"lists {missing[0]}, which is not there" if missing else None
    except Exception as error:
        return f"does not open ({error})"
    return None


def attempt(index: int, run_seed: int, place: Path, runs: Callable[[Words], int] = command) -> tuple[str, str]:
    """Make an input, give it to its command, and judge what came of it: (accepted, refused or failed; why)."""
    rng = random.Random(f"{run_seed}-{index}")
    work = place / "deep" / "work"
    work.mkdir(parents=True)
    os.chdir(work)
    multiprocessing.process.ORIGINAL_DIR = str(work)  # where the processes of a command begin
    Path("seeds").symlink_to("../../../seeds")
    np.random.seed(0)
    name = list(TARGETS)[index % len(TARGETS)]
    words = TARGETS[name](rng)
    Path(place, "words").write_text(" ".join(str(word) for word in words), errors="surrogateescape")
    own = [work / "data", work / "save"]
    before = files_in(place, place.parent / "seeds")
    code = runs(words)
    sys.stderr.flush()
    after = files_in(place, place.parent / "seeds")
    changed = [path for path in before.keys() | after.keys() if before.get(path) != after.get(path)]
    outside = [path for path in changed if not any(path.is_relative_to(folder) for folder in own)]
    outside = [path for path in outside if path.name not in LOGS]
    said = Path(place, "stderr").read_text(errors="replace")
    lines = [line for line in said.splitlines() if not line.startswith("demo: stopped at: ")]  # it comes after
    *notes, last = lines or [""]
    strange = [line for line in notes if not line.startswith(NOTES)]
    if outside:
        return "failed", f"changed {outside[0]}"
    if "Traceback" in said or code not in (0, 2):
        return "failed", f"exit {code}: {last}"
    if code == 2 and (": error: " not in last or strange):
        return "failed", f"exit 2 with other words than one line: {(strange or [last])[0]}"
    for path in changed:
        if path.is_file() and (wrong := wrong_output(path)):
            return "failed", f"{path} {wrong}"
    if code == 0 and name == "importance from elsewhere" and (problems := check_dataset(Dataset.open("data"))):
        return "failed", f"made an unsound dataset: {problems[0]}"
    return ("refused", last) if code else ("accepted", "")


def child(
    work: Callable[[], tuple[str, str] | None], place: Path, limit_s: int, processor_s: int = PROCESSOR_LIMIT_S
) -> int:
    """Do some work in a process of its own, which writes what came of it into `place`; its id.

    Forked, so that imports are paid once: not to be called where PyTorch has computed with several threads already,
    which a fork leaves behind while it waits for them.
    """
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        place.mkdir(exist_ok=True)
        for number, name in enumerate(LOGS[:2], 1):
            os.dup2(os.open(place / name, os.O_CREAT | os.O_WRONLY | os.O_APPEND), number)
        sys.stdout = open(1, "w")  # noqa: SIM115
        sys.stderr = open(2, "w", buffering=1, errors="backslashreplace")  # noqa: SIM115 - in lines, as by itself
        faulthandler.disable()  # that a signal ended it is seen from outside
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(limit_s)
        onnx_files.LOOP_LIMIT_S = 2.0
        cli.end_without_memory = lambda program: cli.fail(program, NO_MEMORY)  # not this process, which tells of it
        resource.setrlimit(resource.RLIMIT_DATA, (MOST_BYTES, MOST_BYTES))
        resource.setrlimit(resource.RLIMIT_CPU, (processor_s, processor_s))  # a waiting alarm may be taken off
        torch.set_num_threads(1)
        cv2.setNumThreads(1)
        result = work()
        Path(place, "result.json").write_text(json.dumps(result))
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def outcomes(
    indices: list[int], run_seed: int, sandbox: Path, workers: int, own_every: int = 0, most_s: int = 0
) -> Iterator[tuple[int, str, str, float]]:
    """(index, accepted, refused or failed, why, seconds) of each input, as they end.

    own_every: in each so many-th round of the targets, commands have processes of their own. most_s: if given, instead
    of LIMIT_S.
    """
    waiting, running = indices[::-1], {}
    while waiting or running:
        while waiting and len(running) < workers:
            index = waiting.pop()
            place = sandbox / str(index)
            is_own = bool(own_every) and index // len(TARGETS) % own_every == own_every - 1
            how, limit_s = (own_command, max(OWN_LIMIT_S, most_s)) if is_own else (command, most_s or LIMIT_S)
            work = functools.partial(attempt, index, run_seed, place, how)
            processor_s = OWN_LIMIT_S if is_own else PROCESSOR_LIMIT_S
            running[child(work, place, limit_s, processor_s)] = index, limit_s, time.monotonic()
        pid, status = os.wait()
        index, limit_s, started = running.pop(pid)
        seconds = time.monotonic() - started
        place = sandbox / str(index)
        try:
            yield index, *read_json(place / "result.json"), seconds
        except InputError:
            lines = (place / "stderr").read_text(errors="replace").splitlines() or [""]
            died = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else lines[-1]
            yield index, "failed", f"more than {limit_s} s" if died == "SIGALRM" else died, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=1000, help="how many")
    parser.add_argument("--seed", type=int, default=0, help="the same seed makes the same inputs")
    parser.add_argument("--only", type=int, nargs="+", help="these inputs alone")
    parser.add_argument("--limit_s", type=int, default=LIMIT_S, help="of an input; more where the machine is busy")
    parser.add_argument("--own_every", type=int, default=20, help="processes of their own in each so many-th round")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="processes at once")
    args = parser.parse_args()
    with warnings.catch_warnings(action="ignore"):
        for name in IMPORTED:
            importlib.import_module(name)
    sandbox = Path(tempfile.mkdtemp(prefix="fuzz-"))
    _, status = os.waitpid(child(lambda: make_seeds(sandbox / "seeds"), sandbox, 600, 600), 0)
    if status:
        raise SystemExit((sandbox / "stderr").read_text())
    count: dict[str, Counter] = {name: Counter() for name in TARGETS}
    slowest = dict.fromkeys(TARGETS, 0.0)
    indices = list(range(args.inputs)) if args.only is None else args.only
    for index, outcome, why, seconds in outcomes(
        indices, args.seed, sandbox, args.workers, args.own_every, args.limit_s
    ):
        name, place = list(TARGETS)[index % len(TARGETS)], sandbox / str(index)
        count[name][outcome] += 1
        slowest[name] = max(slowest[name], seconds)
        if outcome == "failed":
            words = (place / "words").read_text(errors="replace") if (place / "words").exists() else ""
            again = f"python tests/fuzz.py --seed {args.seed} --own_every {args.own_every} --only {index}"
            print(f"FAILED {name}: {words}\n  {why}\n  again: {again}")
        if args.only is None:
            shutil.rmtree(place)
        else:
            print(
                f"{place}: {outcome}, {why}", *((place / log).read_text(errors="replace") for log in LOGS[:2]), sep="\n"
            )
    print(f"{'':28s} inputs accepted refused failed  slowest")
    for name, of in [*count.items(), ("all", sum(count.values(), Counter()))]:
        numbers = f"{of.total():6d} {of['accepted']:8d} {of['refused']:7d} {of['failed']:6d}"
        print(f"{name:28s} {numbers} {slowest.get(name, max(slowest.values())):7.1f}s")
    if args.only is None:
        shutil.rmtree(sandbox)
    raise SystemExit(any(of["failed"] for of in count.values()))


if __name__ == "__main__":
    main()
