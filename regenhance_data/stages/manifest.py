"""Which videos become which clips: from a list of files, a folder, or a manifest with settings for each clip.

defaults: {fps: 5}            # settings for every clip
clips:
  - video: day.mp4            # relative to the manifest, or an absolute path
  - video: night/cam.mkv
    id: night                 # clip id (default: the video's name)
    height: 180
    fps: 10                   # also: every, max_frames, jpeg_quality, keep_hr
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from regenhance_data.console import tell
from regenhance_data.dataset.folder import clip_id, hashed_clip_id
from regenhance_data.errors import InputError
from regenhance_data.io.manifests import read_entries, refuse_other_types, refuse_unknown
from regenhance_data.io.video import has_moving_pictures
from regenhance_data.stages.extract import ExtractionSettings

# recordings, even if they are broken; other files are videos if they decode as such
VIDEO_SUFFIXES = (
    *(".mp4", ".mkv", ".avi", ".mov", ".webm", ".m4v", ".ts", ".mts", ".mpg", ".mpeg", ".wmv", ".flv"),
    *(".m2ts", ".mpegts", ".3gp", ".3g2", ".h264", ".264", ".h265", ".265", ".hevc", ".mxf", ".asf", ".f4v", ".ogv"),
)
_MOST_TOLD = 10


@dataclass(frozen=True)
class ClipSource:
    """A video that becomes a clip: `clip` is file-name-safe."""

    clip: str
    video: Path
    settings: ExtractionSettings


def sources_of_videos(videos: Sequence[Path], settings: ExtractionSettings) -> list[ClipSource]:
    """A clip for each video. Its id is the file name; where two would be equal, the folder's name precedes it, and if
    that does not help, a hash of the file name with its suffix follows.
    """
    ids = [clip_id(video.stem) for video in videos]
    with_folder = [clip_id(f"{Path(os.path.abspath(video)).parent.name}_{video.stem}") for video in videos]
    ids = [clip if ids.count(clip) == 1 else longer for clip, longer in zip(ids, with_folder, strict=True)]
    hashed = [hashed_clip_id(clip_id(video.stem), video.name) for video in videos]
    ids = [clip if ids.count(clip) == 1 else longer for clip, longer in zip(ids, hashed, strict=True)]
    return _distinct([ClipSource(clip, video, settings) for clip, video in zip(ids, videos, strict=True)])


def sources_of_folder(folder: Path, settings: ExtractionSettings) -> list[ClipSource]:
    """A clip for each video file in a folder, by name; tells what else is in it. InputError where there is none."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; --video_dir takes a folder of videos")
    paths = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    reasons = {path: _why_no_video(path) for path in paths}
    left_out: dict[str, list[str]] = {}
    for path, reason in reasons.items():
        left_out.setdefault(reason, []).append(path.name)
    told = "; ".join(f"{_listed(names)} ({reason})" for reason, names in left_out.items() if reason)
    videos = [path for path, reason in reasons.items() if not reason]
    if not videos:
        found = f"; it has {told}" if told else ""
        raise InputError(
            f"{folder}: has no video (.mp4, .mkv or another that FFmpeg reads){found}; name one with --video"
        )
    if told:
        tell(f"{folder}: left out {told}")
    return sources_of_videos(videos, settings)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_TOLD} more" if len(names) > _MOST_TOLD else ""
    return ", ".join(names[:_MOST_TOLD]) + more


def _why_no_video(path: Path) -> str:
    """Why a file of a folder is left out, in a few words; "" for a video, and for a recording that may be broken."""
    if path.is_dir():
        return "is a folder"
    if path.suffix.lower() in VIDEO_SUFFIXES:
        return ""
    try:
        return "" if has_moving_pictures(path) else "is a picture, not a video"
    except InputError as error:
        return str(error).removeprefix(f"{path}: ").partition(";")[0].partition(" (")[0]


def sources_of_manifest(path: Path, settings: ExtractionSettings) -> list[ClipSource]:
    """The clips of a manifest; its settings override `settings`, as a line says. InputError for a broken manifest."""
    given, entries = read_entries(path)
    defaults = _settings(path, "defaults", given, settings, set())
    sources = _distinct([_source(path, number, entry, defaults) for number, entry in enumerate(entries, 1)])
    _tell_overridden(path, sources, settings)
    return sources


def _tell_overridden(path: Path, sources: Sequence[ClipSource], settings: ExtractionSettings) -> None:
    """Say which flags the manifest overrides."""
    given = {f.name: getattr(settings, f.name) for f in fields(settings) if getattr(settings, f.name) != f.default}
    for name, value in given.items():
        others = [source.clip for source in sources if getattr(source.settings, name) != value]
        if others:
            clips = "all clips" if len(others) == len(sources) else _listed(others)
            flag = f"--{name}" if value is True else f"--{name} {value}"
            tell(f"{path}: has its own {name} for {clips}; {flag} has no effect there")


def _source(path: Path, number: int, entry: Any, defaults: ExtractionSettings) -> ClipSource:
    where = f"clip {number}"
    if not isinstance(entry, dict) or not isinstance(entry.get("video"), str):
        raise InputError(f"{path}: {where} names no video; write '- video: FILE'")
    video, clip = path.parent / entry["video"], entry.get("id", clip_id(Path(entry["video"]).stem))
    if not isinstance(clip, str) or clip != clip_id(clip):
        how = "use only letters, digits, '.', '_' and '-'" if isinstance(clip, str) else "write it in quotes"
        raise InputError(f"{path}: {where} has id {clip!r:.80}; {how}")
    return ClipSource(clip, video, _settings(path, where, entry, defaults, {"video", "id"}))


def _settings(
    path: Path, where: str, entry: Mapping[str, Any], defaults: ExtractionSettings, others: set[str]
) -> ExtractionSettings:
    if not isinstance(entry, dict):
        raise InputError(f"{path}: {where} is not a mapping of settings")
    own = {field.name for field in fields(ExtractionSettings)}
    refuse_unknown(path, where, entry, own | others)
    given = {name: value for name, value in entry.items() if name in own}
    refuse_other_types(path, where, given)
    try:
        return replace(defaults, **given)
    except InputError as error:
        raise InputError(f"{path}: {where}: {error}") from None


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
