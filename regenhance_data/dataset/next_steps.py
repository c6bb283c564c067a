"""Commands that fit a dataset, to suggest next, and what to do where HR frames are missing."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from regenhance_data.dataset.folder import HR_IMAGES, LR_FRAMES, SR_IMAGES, Dataset, Frame, clip_id, former_clip_id
from regenhance_data.dataset.records import ClipRecord
from regenhance_data.dataset.statistics import missing_hr_frames
from regenhance_data.defaults import SCALE
from regenhance_data.detectors.kinds import KINDS
from regenhance_data.errors import InputError
from regenhance_data.kinds import kind_of
from regenhance_data.upscalers.general_weights import GENERAL_SCALES

_MOST_HEIGHT_PX = 480  # of LR frames for the general upscaler: three times that is more than cameras record
_MOST_TOLD = 10


def clips_without(dataset: Dataset, hr_folder: str) -> list[str]:
    """The clips that lack HR frames in a folder, some or all."""
    return [clip for clip in dataset.clips() if missing_hr_frames(dataset, clip, hr_folder)]


def listed_clips(clips: Sequence[str]) -> str:
    """The first of some clips, for a message."""
    more = f" and {len(clips) - _MOST_TOLD} more" if len(clips) > _MOST_TOLD else ""
    return ", ".join(clip or "the unnamed clip" for clip in clips[:_MOST_TOLD]) + more


def refuse_missing_hr_frames(dataset: Dataset, frames: Sequence[Frame], hr_folder: str) -> None:
    """InputError now, not in the middle of the work, where HR frames of some `frames` are missing in a folder."""
    missing = [frame for frame in frames if not dataset.path(hr_folder, frame).is_file()]
    if not missing:
        return
    advice = "run tools/super_resolve.py again"
    if hr_folder == HR_IMAGES:
        is_there = (dataset.root / SR_IMAGES).is_dir() and not clips_without(dataset, SR_IMAGES)
        other = "" if is_there else "run tools/super_resolve.py, then "
        advice = f"extract again with --keep_hr, or {other}give --clear {SR_IMAGES}"
    clips = listed_clips(list(dict.fromkeys(frame.clip for frame in missing)))
    raise InputError(
        f"{dataset.path(hr_folder, missing[0])}: no such HR frame ({len(missing)} of {len(frames)} are missing, "
        f"of {clips}); {advice}"
    )


def hr_frames_command(dataset: Dataset) -> list[str]:
    """The words of the command that makes the HR frames which a dataset lacks. Where clips need settings of their own,
    it takes `originals_manifest` from YOUR_CLIPS.yaml.
    """
    if dataset.keeps_hr:
        return _originals_command(dataset)
    command = ["python", "tools/super_resolve.py", "--data", str(dataset.root), "--model"]
    known = (dataset.record.upscaler or {}).get("spec")
    if known:
        return [*command, str(known)]
    height_px = dataset.read(LR_FRAMES, dataset.frames(dataset.clips()[0])[0]).shape[0]
    if height_px <= _MOST_HEIGHT_PX and dataset.scale in GENERAL_SCALES:
        return [*command, "general", *(() if dataset.scale == SCALE else ("--scale", str(dataset.scale)))]
    return [*command, "onnx:YOUR_UPSCALER.onnx", "--scale", str(dataset.record.recorded_scale or 2)]


def originals_manifest(dataset: Dataset) -> str | None:
    """The manifest that extracts the clips without original HR frames again; None where flags say the same."""
    entries = _originals_entries(dataset)
    if _have_common_flags(dataset, entries):
        return None
    return "clips:\n" + "".join(
        f"- {yaml.safe_dump(entry, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**6)}"
        for entry in entries
    )


def _originals_command(dataset: Dataset) -> list[str]:
    entries = _originals_entries(dataset)
    clips = dataset.record.clips
    # the settings of the others change
    replaced = [entry["id"] for entry in entries if not clips.get(entry["id"], ClipRecord()).keep_hr]
    end = ["--data", str(dataset.root), *(["--overwrite"] if replaced else [])]
    if not _have_common_flags(dataset, entries):
        return ["python", "tools/extract.py", "--manifest", "YOUR_CLIPS.yaml", *end]
    videos = [entry["video"] for entry in entries]
    words = [word for name, value in _settings(entries[0]).items() for word in (f"--{name}", str(value))]
    return ["python", "tools/extract.py", "--video", *videos, *words, "--keep_hr", *end]


def _originals_entries(dataset: Dataset) -> list[dict[str, Any]]:
    """For each clip without original HR frames, what a manifest says to extract it again with them."""
    entries = []
    for clip in clips_without(dataset, HR_IMAGES):
        record = dataset.record.clips.get(clip, ClipRecord())
        path = record.path or record.source or ""
        settings = {
            "height": _height(record, dataset.record.recorded_scale),
            "fps": record.fps,
            "every": record.every if record.every != 1 else None,
            "max_frames": record.max_frames,
            "jpeg_quality": record.jpeg_quality,
        }
        known = {name: value for name, value in settings.items() if value is not None}
        entries.append({"video": path if Path(path).is_file() else "YOUR_VIDEO", "id": clip, **known, "keep_hr": True})
    return entries


def _height(record: ClipRecord, scale: int | None) -> int | None:
    """The recorded height of a clip's LR frames, or, where its recording is not `scale` times that, one that fits."""
    if record.height is None or record.source_hw is None or scale is None:
        return record.height
    lines = record.source_hw[0]
    fits = scale * record.height <= lines and round(lines / record.height) == scale
    return record.height if fits else max(lines // scale, 1)


def _settings(entry: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name not in ("video", "id", "keep_hr")}


def _have_common_flags(dataset: Dataset, entries: Sequence[dict[str, Any]]) -> bool:
    """Whether one command with flags extracts all entries: their settings are equal and their ids the videos' names."""
    sources = {clip: record.source for clip, record in dataset.record.clips.items()}
    names = {entry["id"]: Path(sources.get(entry["id"]) or entry["id"]).stem for entry in entries}
    return all(_settings(entry) == _settings(entries[0]) for entry in entries) and all(
        clip in (clip_id(name), former_clip_id(name)) for clip, name in names.items()
    )


def importance_command(dataset: Dataset, hr_folder: str | None = None) -> list[str]:
    """The words of the command that makes importance from the HR frames of a dataset, in its default folder or in
    another one.
    """
    command = ["python", "tools/make_importance.py", "--data", str(dataset.root)]
    if hr_folder is not None and hr_folder != dataset.hr_folder():
        command += ["--clear", str(hr_folder)]
    return command if _has_detector(dataset) else [*command, "--detector", "onnx:YOUR_DETECTOR.onnx"]


def _has_detector(dataset: Dataset) -> bool:
    """Whether dataset.yaml records a detector that a command can use: its file may be gone, or a program."""
    spec = str((dataset.record.detector or {}).get("spec"))
    kind = kind_of(spec, KINDS)
    if kind is None or kind.is_program:
        return False
    return kind.argument != "PATH" or Path(spec.partition(":")[2]).is_file()
