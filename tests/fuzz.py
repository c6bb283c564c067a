"""Damaged and hostile files against the commands: each input must end in exit 0, or in exit 2 with one line.

Failures are tracebacks and any other exit, signals, more than 10 s, files made outside the folders that were named
(payloads in pickles and YAML try to), and what was written but does not open or was left unfinished.

python tests/fuzz.py --inputs 1000
python tests/fuzz.py --only 123        # that input again, with what the command said; its folder is kept
"""

import argparse
import faulthandler
import importlib
import json
import multiprocessing.process
import os
import pickle
import random
import resource
import runpy
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import torch
import torchvision
from PIL import Image

_ROOT = Path(__file__).resolve().parents[1]
# not tests/, whose folders are named like packages; tools/ has what each script imports first
sys.path[:1] = [str(_ROOT), str(_ROOT / "tools")]

from deploy.backends.registry import CPU_BACKENDS
from regenhance_data.dataset.check import check_dataset
from regenhance_data.dataset.folder import Dataset
from regenhance_data.dataset.importance_file import read_importance
from regenhance_data.errors import InputError
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
from tests.support.detectors import write_detector
from tests.support.files import ROOT, encode, noise
from tests.support.predictors import write_engine, write_predictor
from tests.support.upscalers import write_changed, write_repeating

LIMIT_S = 10
MOST_BYTES = 4 * 2**30  # of memory; what a damaged head promises must not be believed
# so that no input waits for them
IMPORTED = ("onnx2torch", "spandrel", "matplotlib.pyplot", "regenhance_data.detectors.exported")
LOGS = ("stdout", "stderr", "result.json")
# Lines beside the one of the error that may be there: our warnings, and what OpenCV and ONNX Runtime say themselves.
NOTES = ("warning: ", "libpng ", "[ WARN:", "[ERROR:", "\x1b[", " nmemb=")
ONE_CALL = ("--rounds", 1, "--repeats", 1, "--warmup", 0)  # of the benchmark
Words = list[object]
Target = Callable[[random.Random], Words]
TARGETS: dict[str, Target] = {}


def target(function: Target) -> Target:
    """Damages files in the working folder and says which command gets them."""
    TARGETS[function.__name__.replace("_", " ")] = function
    return function


def seed(name: str) -> Path:
    """A copy of a seed file, to damage."""
    return Path(shutil.copyfile(f"seeds/{name}", name))


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
        ["extract", "--video", "seeds/night.mkv", "--overwrite"],
        ["extract", "--video", "seeds/day.mp4", "seeds/night.mkv"],
    ]
    name, *flags = rng.choice(uses)
    return [f"tools/{name}.py", "--data", "data", *flags]


def extract(rng: random.Random, *source: object) -> Words:
    flags: list[Words] = [[], ["--fps", 5], ["--keep_hr"], ["--every", 2, "--jpeg_quality", 50]]
    return ["tools/extract.py", "--data", "data", "--height", 24, *source, *rng.choice(flags)]


@target
def video(rng: random.Random) -> Words:
    path = seed(rng.choice(("day.mp4", "night.mkv", "old.avi")))
    if rng.random() < 0.1:
        path.write_text(
            rng.choice(("ffconcat version 1.0\nfile 'seeds/day.mp4'\n", "#EXTM3U\n#EXTINF:1,\nseeds/day.mp4\n"))
        )
    else:
        spoil(rng, path)
    return extract(rng, "--video", path)


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
        path = Path(shutil.copyfile(f"seeds/{rng.choice(('day.mp4', 'night.mkv', 'old.avi'))}", f"videos/{name}"))
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
    spoil_either(rng, seed_dataset() / rng.choice(("train.txt", "val.txt", "test.txt")), spoil_text, ODD_PATHS)
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
        case _:
            path = spoil_either(rng, seed("detector.onnx"), spoil_graph)
            return [*words, "--detector", f"onnx:{path}"]


@target
def upscalers(rng: random.Random) -> Words:
    seed_dataset("small")
    kind, name = rng.choice(
        (("edsr", "edsr.pt"), ("spandrel", "compact.pth"), ("torchscript", "larger.pt"), ("onnx", "larger.onnx"))
    )
    path = seed(name)
    spoil_either(rng, path, spoil_graph) if kind == "onnx" else spoil(rng, path)
    scale = 3 if kind == "edsr" else 2
    return ["tools/super_resolve.py", "--data", "data", "--scale", scale, "--model", f"{kind}:{path}", "--overwrite"]


@target
def predictors(rng: random.Random) -> Words:
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
    if rng.random() < 0.5:
        path = spoil_either(rng, seed("truth.json"), spoil_text, ODD_JSON)
        words: Words = ["tools/evaluate.py", "--data", "seeds/data", "--budgets", 0.2, "--truth", path]
    else:
        path = spoil_either(rng, seed("evaluation.json"), spoil_text, ODD_JSON)
        words = ["deploy/benchmark.py", "--models", "seeds/predictor.onnx", "--evaluation", path]
        words += [*ONE_CALL, "--backends", "onnxruntime"]
    return [*words, "--save_dir", "save"]


@target
def paddle_files(rng: random.Random) -> Words:
    shutil.copytree("seeds/configs", "configs")
    config, weights = Path("configs/pp_mobileseg_tiny.yml"), Path("seeds/predictor.pdparams")
    if rng.random() < 0.5:
        weights = seed("predictor.pdparams")
        spoil(rng, weights)
    else:
        spoil_either(rng, rng.choice(sorted(Path("configs").rglob("*.yml"))), spoil_text, ODD_VALUES)
    if rng.random() < 0.3:  # beside the weights that are used
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
    frames = [noise(6, 48, 64, number) for number in (0, 1, 2)]
    for number, clip in enumerate(frames):
        for step, frame in enumerate(clip):
            frame[16:24, 4 * step + 8 : 4 * step + 16] = (255, 0, 0) if number else (0, 0, 255)
    for name, clip in zip(("day.mp4", "night.mkv", "old.avi"), frames, strict=True):
        encode(Path(name), clip)
    Path("clips.yaml").write_text(
        "defaults: {fps: 5}\nclips:\n- video: seeds/day.mp4\n- video: seeds/night.mkv\n  id: dark\n  every: 2\n"
        "  height: 24\n  max_frames: 3\n  jpeg_quality: 70\n"
    )
    write_detector(Path("detector.onnx"), "yolox", (64, 96))
    write_predictor(Path("predictor.onnx"), (48, 64))
    for words in (
        ["tools/extract.py", "--data", "data", "--video", "day.mp4", "night.mkv"],
        ["tools/extract.py", "--data", "small", "--video", "day.mp4", "--max_frames", 1],
        *(["tools/super_resolve.py", "--data", data, "--model", "bicubic", "--scale", 2] for data in ("data", "small")),
        ["tools/make_importance.py", "--data", "data", "--detector", "onnx:seeds/detector.onnx"],
        ["tools/make_seg_dataset.py", "--data", "data", "--gap", 1],
        ["tools/evaluate.py", "--data", "data", "--model", "seeds/predictor.onnx", "--save_dir", "."],
    ):
        if command(words):
            raise SystemExit(f"{words} makes no seed")
    truth = {"classes": ["red"], "frames": {"0": [[8, 16, 24, 30, "red"]], "1": []}}
    Path("truth.json").write_text(json.dumps(truth, indent=1))
    torch.manual_seed(0)
    shutil.copyfile(ROOT / "tests/data/edsr_official_x3.pt", "edsr.pt")
    spandrel_compact = importlib.import_module("spandrel.architectures.Compact.__arch.SRVGG").SRVGGNetCompact
    torch.save({"params": spandrel_compact(num_feat=8, num_conv=2, upscale=2).state_dict()}, "compact.pth")
    write_changed("larger.pt", "sound")
    write_repeating("larger.onnx")
    torch.jit.trace(torch.nn.Conv2d(3, 3, 3, padding=1), torch.zeros(1, 3, 64, 64)).save("classes.pt")
    lraspp = torchvision.models.get_model("lraspp_mobilenet_v3_large", weights_backbone=None, num_classes=2)
    torch.save(lraspp.state_dict(), "lraspp.pth")
    shutil.copytree(ROOT / "paddleseg_configs", "configs")
    paddleseg, accmodel = "regenhance_data.predictors.paddleseg", "regenhance_data.predictors.accmodel"
    predictors = importlib.import_module(f"{paddleseg}.config")
    checkpoints = importlib.import_module(f"{paddleseg}.checkpoints")
    model = predictors.PredictorConfig(Path("configs/pp_mobileseg_tiny.yml")).build("model")
    checkpoints.write_paddle_state(Path("predictor.pdparams"), model.state_dict())
    Path("predictor.yaml").write_text("config: x\nmodel: PPMobileSeg\nnum_classes: 10\ninput_scale: 1.0\n")
    nano = predictors.PredictorConfig(Path("configs/mb_nano.yml")).build("model")
    checkpoints.write_paddle_state(Path("pretrained.pdparams"), nano.state_dict())
    config = predictors.PredictorConfig(Path("configs/mb_nano.yml"))
    inference_model = importlib.import_module(f"{paddleseg}.inference_model")
    inference_model.save_inference_model(nano, config, Path("inference"), [1, 3, 48, 64], "softmax")
    write_engine(Path("predictor.engine"))
    network = importlib.import_module(f"{accmodel}.network").AccModel()
    importlib.import_module(f"{accmodel}.checkpoint").save_accmodel(network, Path("accmodel.pth"))
    maps = np.random.default_rng(0).random((6, 3, 4), np.float32)
    np.save("maps.npy", maps)
    np.savez("one.npz", maps[:, None])
    np.savez_compressed("several.npz", importance=maps, other=maps)
    torch.save(torch.from_numpy(maps[:, None]), "flat.pth")
    torch.save(torch.from_numpy(maps), "old.pth", _use_new_zipfile_serialization=False)
    tensors = [torch.from_numpy(one[None, None].copy()) for one in maps]
    saliency = {(clip, n): {"saliency": tensors[n], "n": n} for clip in ("day", "night") for n in range(6)}
    Path("saliency.pickle").write_bytes(pickle.dumps(saliency))
    Path("images.pickle").write_bytes(pickle.dumps(dict(enumerate(tensors))))
    Path("seeds").unlink()


def command(words: Words) -> int:
    """Run a command in this process as if by itself, and return its exit code; tracebacks go to stderr."""
    script, *sys.argv = [str(word) for word in words]
    sys.argv.insert(0, script)
    try:
        runpy.run_path(str(ROOT / script), run_name="__main__")
    except SystemExit as left:
        return left.code if isinstance(left.code, int) else int(left.code is not None)
    return 0


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


def attempt(index: int, run_seed: int, place: Path) -> tuple[str, str]:
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
    code = command(words)
    sys.stderr.flush()
    after = files_in(place, place.parent / "seeds")
    changed = [path for path in before.keys() | after.keys() if before.get(path) != after.get(path)]
    outside = [path for path in changed if not any(path.is_relative_to(folder) for folder in own)]
    outside = [path for path in outside if path.name not in LOGS]
    said = Path(place, "stderr").read_text(errors="replace")
    *notes, last = said.splitlines() or [""]
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


def child(work: Callable[[], tuple[str, str] | None], place: Path, limit_s: int) -> int:
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
        sys.stdout, sys.stderr = open(1, "w"), open(2, "w", errors="backslashreplace")  # noqa: SIM115
        faulthandler.disable()  # that a signal ended it is seen from outside
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(limit_s)
        resource.setrlimit(resource.RLIMIT_DATA, (MOST_BYTES, MOST_BYTES))
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


def outcomes(indices: list[int], run_seed: int, sandbox: Path, workers: int) -> Iterator[tuple[int, str, str, float]]:
    """(index, accepted, refused or failed, why, seconds) of each input, as they end."""
    waiting, running = indices[::-1], {}
    while waiting or running:
        while waiting and len(running) < workers:
            index = waiting.pop()
            place = sandbox / str(index)
            pid = child(lambda index=index, place=place: attempt(index, run_seed, place), place, LIMIT_S)
            running[pid] = index, time.monotonic()
        pid, status = os.wait()
        index, started = running.pop(pid)
        seconds = time.monotonic() - started
        place = sandbox / str(index)
        try:
            yield index, *read_json(place / "result.json"), seconds
        except InputError:
            lines = (place / "stderr").read_text(errors="replace").splitlines() or [""]
            died = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else lines[-1]
            yield index, "failed", f"more than {LIMIT_S} s" if died == "SIGALRM" else died, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=1000, help="how many")
    parser.add_argument("--seed", type=int, default=0, help="the same seed makes the same inputs")
    parser.add_argument("--only", type=int, help="this input alone")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="processes at once")
    args = parser.parse_args()
    for name in IMPORTED:
        importlib.import_module(name)
    sandbox = Path(tempfile.mkdtemp(prefix="fuzz-"))
    _, status = os.waitpid(child(lambda: make_seeds(sandbox / "seeds"), sandbox, 10 * LIMIT_S), 0)
    if status:
        raise SystemExit((sandbox / "stderr").read_text())
    count: dict[str, Counter] = {name: Counter() for name in TARGETS}
    slowest = dict.fromkeys(TARGETS, 0.0)
    indices = list(range(args.inputs)) if args.only is None else [args.only]
    for index, outcome, why, seconds in outcomes(indices, args.seed, sandbox, args.workers):
        name, place = list(TARGETS)[index % len(TARGETS)], sandbox / str(index)
        count[name][outcome] += 1
        slowest[name] = max(slowest[name], seconds)
        if outcome == "failed":
            words = (place / "words").read_text(errors="replace") if (place / "words").exists() else ""
            print(f"FAILED {name}: {words}\n  {why}\n  again: python tests/fuzz.py --seed {args.seed} --only {index}")
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
