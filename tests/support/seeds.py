"""The whole files that tests/fuzz.py damages, a folder of them: one or more of each kind that a command reads."""

import importlib
import json
import pickle
import shutil
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import onnx
import torch
import torchvision
from av.stream import Disposition
from onnx import TensorProto

from tests.support.detector_files import ANCHORS, as_half, relabelled, write_layout
from tests.support.detectors import write_detector
from tests.support.files import ROOT, encode, noise
from tests.support.predictors import write_engine, write_predictor
from tests.support.tensorflow import write_frozen_graph
from tests.support.upscalers import write_changed, write_repeating
from tests.support.videos import encode_as, encode_tracks, encode_with_cover, joined

VIDEOS = ("day.mp4", "night.mkv", "old.avi")
# Files in videos/: a mirrored and turned one, several tracks, a cover, streams without time stamps, B-frames in AVI,
# two recordings in one file, other codecs.
ODD_VIDEOS = ("turned.mp4", "tracks.mkv", "cover.mkv", "raw.h264", "raw.m2v", "bframes.avi", "joined.ts", "moving.gif")
# Files in detectors/, with the flags that they need.
DETECTORS: dict[str, Sequence[object]] = {
    "yolov8_of_opset_9.onnx": (),
    "yolov8_of_opset_19.onnx": (),
    "yolov8_transposed.onnx": (),
    "yolov8_seg.onnx": (),
    "end_to_end_half.onnx": (),
    "corners.onnx": (),
    "ultraface.onnx": (),
    "detr.onnx": (),
    "yolov5_maps.onnx": ("--detector_anchors", *ANCHORS),
}
# (kind, file, scale)
UPSCALERS = (
    ("edsr", "edsr.pt", 3),
    ("edsr", "edsr_wrapped.pth", 3),
    ("spandrel", "compact.pth", 2),
    ("torchscript", "larger.pt", 2),
    ("onnx", "larger.onnx", 2),
    ("onnx", "luma.onnx", 2),
    ("onnx", "bytes.onnx", 2),
    ("opencv", "espcn.pb", 2),
)
MANIFEST = """defaults: {fps: 5}
clips:
- video: seeds/day.mp4
- video: seeds/night.mkv
  id: dark
  every: 0x2
  height: 24
  max_frames: 3
  jpeg_quality: 70
  keep_hr: true
"""


def write_first_seeds() -> None:
    """Into the working folder: what the commands need that make the other seeds."""
    frames = [noise(6, 48, 64, number) for number in (0, 1, 2)]
    for number, clip in enumerate(frames):
        for step, frame in enumerate(clip):
            frame[16:24, 4 * step + 8 : 4 * step + 16] = (255, 0, 0) if number else (0, 0, 255)
    for name, clip in zip(VIDEOS, frames, strict=True):
        encode(Path(name), clip)
    Path("clips.yaml").write_text(MANIFEST)
    write_detector(Path("detector.onnx"), "yolox", (64, 96))
    write_predictor(Path("predictor.onnx"), (48, 64))
    model = onnx.load("predictor.onnx")
    model.doc_string = "another"  # another digest
    onnx.save(model, "other.onnx")


def write_seeds() -> None:
    """Into the working folder: all others."""
    truth = {"classes": ["red"], "frames": {"0": [[8, 16, 24, 30, 0]], "1": []}}
    Path("truth.json").write_text(json.dumps(truth, indent=1))
    torch.manual_seed(0)
    _write_videos()
    _write_detectors()
    _write_upscalers()
    _write_predictors()
    _write_maps()


def _write_videos() -> None:
    folder = Path("videos")
    folder.mkdir()
    frames = noise(6, 64, 96, 3)
    encode_as(folder / "turned.mp4", frames, matrix=(0, 1, 1, 0))
    tracks = [(frames[:3], "mjpeg", Disposition.attached_pic), (frames, "libx264", Disposition.default)]
    encode_tracks(folder / "tracks.mkv", [(frames, "mpeg4", Disposition(0)), *tracks])
    encode_with_cover(folder / "cover.mkv", frames, frames[0])
    encode_as(folder / "raw.h264", frames, format="h264", options={"bf": "2"})
    encode_as(folder / "raw.m2v", frames, "mpeg2video", format="mpeg2video")
    encode_as(folder / "bframes.avi", frames, options={"bf": "2", "b-pyramid": "none"})
    parts = [encode_as(folder / f"{n}.ts", noise(4, 64 + 16 * n, 96, n), "mpeg4", format="mpegts") for n in (0, 1)]
    joined(folder / "joined.ts", *parts)
    for part in parts:
        part.unlink()
    encode_as(folder / "moving.gif", frames, "gif")
    for name in ODD_VIDEOS:
        with av.open(str(folder / name)) as container:
            assert any(container.decode(video=0)), name


def _write_detectors() -> None:
    folder = Path("detectors")
    folder.mkdir()
    write_layout(folder / "yolov8_of_opset_9.onnx", "yolov8", 9)
    relabelled(write_layout(folder / "17.onnx", "yolov8"), folder / "yolov8_of_opset_19.onnx", 19)
    as_half(write_layout(folder / "17.onnx", "end_to_end"), folder / "end_to_end_half.onnx")
    Path(folder / "17.onnx").unlink()
    for name in ("yolov8_transposed", "yolov8_seg", "corners", "ultraface", "detr", "yolov5_maps"):
        write_layout(folder / f"{name}.onnx", name)
    assert sorted(path.name for path in folder.iterdir()) == sorted(DETECTORS)
    torch.jit.trace(torch.nn.Conv2d(3, 3, 3, padding=1), torch.zeros(1, 3, 64, 64)).save("classes.pt")
    lraspp = torchvision.models.get_model("lraspp_mobilenet_v3_large", weights_backbone=None, num_classes=2)
    torch.save(lraspp.state_dict(), "lraspp.pth")


def _write_upscalers() -> None:
    official = ROOT / "tests/data/edsr_official_x3.pt"
    shutil.copyfile(official, "edsr.pt")
    state = torch.load(official, weights_only=True)
    torch.save(
        {"epoch": 7, "params_ema": {f"module.{name}": value for name, value in state.items()}}, "edsr_wrapped.pth"
    )
    spandrel_compact = importlib.import_module("spandrel.architectures.Compact.__arch.SRVGG").SRVGGNetCompact
    torch.save({"params": spandrel_compact(num_feat=8, num_conv=2, upscale=2).state_dict()}, "compact.pth")
    write_changed(Path("larger.pt"), "sound")
    write_repeating(Path("larger.onnx"))
    write_repeating(Path("luma.onnx"), ("n", 1, "h", "w"))
    write_repeating(Path("bytes.onnx"), ("n", "h", "w", 3), kind=TensorProto.UINT8)
    write_frozen_graph(Path("espcn.pb"), 2)


def _write_predictors() -> None:
    shutil.copytree(ROOT / "paddleseg_configs", "configs")
    paddleseg, accmodel = "regenhance_data.predictors.paddleseg", "regenhance_data.predictors.accmodel"
    predictors = importlib.import_module(f"{paddleseg}.config")
    checkpoints = importlib.import_module(f"{paddleseg}.checkpoints")
    model = predictors.PredictorConfig(Path("configs/pp_mobileseg_tiny.yml")).build("model")
    checkpoints.write_paddle_state(Path("predictor.pdparams"), model.state_dict())
    Path("predictor.yaml").write_text("config: x\nmodel: PPMobileSeg\nnum_classes: 10\ninput_scale: 1.0\n")
    config = predictors.PredictorConfig(Path("configs/mb_nano.yml"))
    nano = config.build("model")
    checkpoints.write_paddle_state(Path("pretrained.pdparams"), nano.state_dict())
    inference_model = importlib.import_module(f"{paddleseg}.inference_model")
    inference_model.save_inference_model(nano, config, Path("inference"), [1, 3, 48, 64], "softmax")
    write_engine(Path("predictor.engine"))
    network = importlib.import_module(f"{accmodel}.network").AccModel()
    importlib.import_module(f"{accmodel}.checkpoint").save_accmodel(network, Path("accmodel.pth"))


def _write_maps() -> None:
    """Importance from elsewhere."""
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
