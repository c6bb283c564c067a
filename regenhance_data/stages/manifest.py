"""Which videos become which clips: from a list of files, a folder, or a manifest with settings for each clip.

defaults: {fps: 5}            # settings for every clip
clips:
  - video: day.mp4            # relative to the manifest, or an absolute path
  - video: night/cam.mkv
    id: night                 # clip id (default: the video's name)
    height: 180
    fps: 10                   # also: every, max_frames, jpeg_quality
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from regenhance_data.dataset.folder import clip_id
from regenhance_data.errors import InputError
from regenhance_data.io.files import read_yaml
from regenhance_data.stages.extract import ExtractionSettings

VIDEO_SUFFIXES = (".mp4", ".mkv", ".avi", ".mov", ".webm", ".m4v", ".ts", ".mts", ".mpg", ".mpeg", ".wmv", ".flv")
_TYPES: dict[str, type | tuple[type, ...]] = {
    "height": int,
    "fps": (int, float),
    "every": int,
    "max_frames": int,
    "jpeg_quality": int,
}


@dataclass(frozen=True)
class ClipSource:
    """A video that becomes a clip: `clip` is file-name-safe."""

    clip: str
    video: Path
    settings: ExtractionSettings


def sources_of_videos(videos: Sequence[Path], settings: ExtractionSettings) -> list[ClipSource]:
    """A clip for each video: its id is the file name, preceded by the folder's name where two would be equal."""
    stems = [clip_id(v.stem) for v in videos]
    ids = [
        stem if stems.count(stem) == 1 else clip_id(f"{Path(os.path.abspath(video)).parent.name}_{video.stem}")
        for video, stem in zip(videos, stems, strict=True)
    ]
    return _distinct([ClipSource(clip, video, settings) for clip, video in zip(ids, videos, strict=True)])


def sources_of_folder(folder: Path, settings: ExtractionSettings) -> list[ClipSource]:
    """A clip for each video file in a folder, by name. InputError where there is none."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; --video_dir takes a folder of videos")
    videos = sorted(p for p in folder.iterdir() if p.suffix.lower() in VIDEO_SUFFIXES and not p.name.startswith("."))
    if not videos:
        raise InputError(f"{folder}: has no video ({' '.join(VIDEO_SUFFIXES)}); name others with --video")
    return sources_of_videos(videos, settings)


def sources_of_manifest(path: Path, settings: ExtractionSettings) -> list[ClipSource]:
    """The clips of a manifest; its settings override `settings`. InputError for a broken manifest."""
    content = read_yaml(path)
    _refuse_unknown(path, content, {"defaults", "clips"})
    defaults = _settings(path, "defaults", content.get("defaults") or {}, settings, set())
    entries = content.get("clips")
    if not isinstance(entries, list) or not entries:
        raise InputError(f"{path}: has no list of clips; write 'clips:' with '- video: FILE' for each")
    return _distinct([_source(path, number, entry, defaults) for number, entry in enumerate(entries, 1)])


def _source(path: Path, number: int, entry: Any, defaults: ExtractionSettings) -> ClipSource:
    where = f"clip {number}"
    if not isinstance(entry, dict) or not isinstance(entry.get("video"), str):
        raise InputError(f"{path}: {where} names no video; write '- video: FILE'")
    video, clip = path.parent / entry["video"], entry.get("id", clip_id(Path(entry["video"]).stem))
    if not isinstance(clip, str) or clip != clip_id(clip):
        raise InputError(f"{path}: {where} has id {clip!r:.80}; use only letters, digits, '.', '_' and '-'")
    return ClipSource(clip, video, _settings(path, where, entry, defaults, {"video", "id"}))


def _settings(
    path: Path, where: str, entry: Mapping[str, Any], defaults: ExtractionSettings, others: set[str]
) -> ExtractionSettings:
    if not isinstance(entry, dict):
        raise InputError(f"{path}: {where} is not a mapping of settings")
    _refuse_unknown(path, entry, _TYPES.keys() | others)
    given = {f.name: entry[f.name] for f in fields(ExtractionSettings) if f.name in entry}
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, _TYPES[name]):
            raise InputError(f"{path}: {where} has {name} {value!r:.80}, expected a number")
    try:
        return replace(defaults, **given)
    except InputError as error:
        raise InputError(f"{path}: {where}: {error}") from None


def _refuse_unknown(path: Path, entry: Mapping[Any, Any], known: set[str]) -> None:
    unknown = [str(key) for key in entry if key not in known]
    if unknown:
        raise InputError(f"{path}: unknown key {unknown[0][:80]!r}; expected: {', '.join(sorted(known))}")


def _distinct(sources: list[ClipSource]) -> list[ClipSource]:
    seen: dict[str, Path] = {}
    for source in sources:
        if source.clip in seen:
            raise InputError(
                f"{source.video}: would be clip {source.clip!r}, as {seen[source.clip]} is; rename one of them, "
                "or give it an id in a --manifest"
            )
        seen[source.clip] = source.video
    return sources
