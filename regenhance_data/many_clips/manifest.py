"""Which clips a benchmark runs on: a manifest in YAML.

defaults: {detector: onnx:yolox_nano.onnx, jpeg_quality: 75}    # for every clip
clips:
  - video: day.mp4          # relative to the root, by default the manifest's folder
    scale: 3                # of the LR frames; or height, in pixels
    id: day                 # clip id (default: the video's name)
    classes: [person, car]  # also: every, fps, max_frames, max_box_area
    scene: gate             # clips of one scene are left out together (default: each its own)
    licence: MIT            # also: source; told on the page
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from regenhance_data.dataset.folder import clip_id
from regenhance_data.detectors.kinds import KINDS
from regenhance_data.errors import InputError
from regenhance_data.io.manifests import TYPES, read_entries, refuse_other_types, refuse_unknown
from regenhance_data.kinds import kind_of, known_specs

_OF_ONE_CLIP = {"id", "video", "scene"}
_KEYS = TYPES.keys() - {"keep_hr"}
_FOLDERS = {"all", "data", "logs", "pool"}  # of a benchmark, beside those of its clips


@dataclass(frozen=True)
class BenchmarkClip:
    """A clip of the manifest. height: of the LR frames in pixels, or scale: how often it is in the video's. detector: a
    spec as --detector takes it. classes: those that count, () for all. every, fps, max_frames, jpeg_quality: see
    `ExtractionSettings`. max_box_area: see `DetectorSettings`. None: the default.
    """

    clip: str
    video: Path
    detector: str
    scene: str
    scale: int | None = None
    height: int | None = None
    classes: tuple[str, ...] = ()
    every: int | None = None
    fps: float | None = None
    max_frames: int | None = None
    jpeg_quality: int | None = None
    max_box_area: float | None = None
    licence: str | None = None
    source: str | None = None

    @property
    def detector_words(self) -> list[str]:
        """The detector as the flags of a command."""
        words = ["--detector", self.detector, *(["--classes", *self.classes] if self.classes else [])]
        return words + (["--max_box_area", str(self.max_box_area)] if self.max_box_area else [])

    @property
    def detector_files(self) -> list[Path]:
        """The detector's file, where it has one."""
        kind, path = kind_of(self.detector, KINDS), Path(self.detector.partition(":")[2])
        return [path] if (kind and kind.argument == "PATH") or path.is_file() else []


def read_manifest(path: Path, root: Path | None = None) -> list[BenchmarkClip]:
    """The clips of a manifest; `root`: the folder of its videos and detectors, by default its own. InputError for
    anything that is wrong in it; whether the videos are there is not looked at.
    """
    defaults, entries = read_entries(path)
    _check(path, "defaults", defaults, _KEYS - _OF_ONE_CLIP)
    clips = [_clip(path, number, entry, defaults, root or path.parent) for number, entry in enumerate(entries, 1)]
    names = [clip.clip for clip in clips]
    taken = _FOLDERS.intersection(names)
    if taken:
        raise InputError(f"{path}: a clip is called {taken.pop()}, as a folder of the benchmark; give it another id")
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise InputError(f"{path}: {twice.count(twice[0])} clips are called {twice[0]}; give each an id of its own")
    return clips


def _clip(path: Path, number: int, entry: Any, defaults: Mapping[str, Any], root: Path) -> BenchmarkClip:
    where = f"clip {number}"
    _check(path, where, entry, _KEYS)
    own = {"scale", "height"} & entry.keys()  # one of them replaces the other of the defaults
    given = {key: value for key, value in defaults.items() if not (own and key in ("scale", "height"))} | entry
    for needed in ("video", "detector"):
        if needed not in given:
            raise InputError(f"{path}: {where} names no {needed}; write '{needed}: …'")
    if len({"scale", "height"} & given.keys()) != 1:
        raise InputError(f"{path}: {where} needs either a scale, like 'scale: 3', or the LR frames' height")
    name = given.pop("id", clip_id(Path(given["video"]).stem))
    if name != clip_id(name):
        raise InputError(f"{path}: {where} has id {name!r:.80}; use only letters, digits, '.', '_' and '-'")
    from regenhance_data.stages.extract import ExtractionSettings  # it imports PyAV, which --help does not need

    extraction = {f.name: given[f.name] for f in fields(ExtractionSettings) if f.name in given}
    try:
        ExtractionSettings(**extraction)
    except InputError as error:
        raise InputError(f"{path}: {where}: {str(error).removeprefix('--')}") from None
    video, detector = root / given.pop("video"), _detector(path, where, given.pop("detector"), root)
    classes, scene = tuple(map(str, given.pop("classes", ()))), given.pop("scene", name)
    return BenchmarkClip(name, video, detector, scene, classes=classes, **given)


def _detector(path: Path, where: str, spec: str, root: Path) -> str:
    """The spec, its file below the root; what is no file there may be a name that detectron2 knows."""
    kind = kind_of(spec, KINDS)
    if kind is None:
        raise InputError(f"{path}: {where} has detector {spec!r:.80}; give one of: {known_specs(KINDS)}")
    name, _, argument = spec.partition(":")
    is_below = kind.argument == "PATH" or (bool(kind.suffixes) and (root / argument).is_file())
    return f"{name}:{root / argument}" if is_below else spec


def _check(path: Path, where: str, entry: Any, known: set[str]) -> None:
    """InputError for an entry with another key or another type of value."""
    if not isinstance(entry, dict):
        raise InputError(f"{path}: {where} is no mapping; write 'video: FILE' and others")
    refuse_unknown(path, where, entry, known)
    refuse_other_types(path, where, entry)
    if entry.get("scale", 2) < 2:
        raise InputError(f"{path}: {where} has scale {entry['scale']}, expected at least 2")
    if not 0 < entry.get("max_box_area", 1) <= 1:
        raise InputError(f"{path}: {where} has max_box_area {entry['max_box_area']}, expected above 0, at most 1")
