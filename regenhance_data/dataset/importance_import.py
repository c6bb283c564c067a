"""Import of importance files that other programs wrote, without running code from them.

| file | content |
| --- | --- |
| AccMPEG's and RegenHance's ground truth (pickle) | {(video, frame): {"saliency": tensor [1, 1, rows, cols], …}} |
| AccMPEG's ground truth of images (pickle) | {frame: tensor [1, 1, rows, cols]} |
| RegenHance's importance.pth (torch.save), AccMPEG's .rawmask (pickle) | tensor [N, 1, rows, cols] |
| .npy, .npz with one array | [N, rows, cols] or [N, 1, rows, cols] |
| .npz of this kit | importance [N, rows, cols], frames [N] |

Sources: AccMPEG train_cityscape.py, train_COCO.py and generate_mask.py; RegenHance train_AccModel/train_AccSR.py and
compress_blackgen_roi.py.
"""

import io
import math
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import numpy as np

from regenhance_data.dataset.folder import clip_id, former_clip_id
from regenhance_data.dataset.importance_file import checked_importance, npy_header, read_importance
from regenhance_data.errors import InputError, one_line
from regenhance_data.io.pickles import ARRAYS, restricted_load

_MOST_BYTES = 4 * 2**30  # of one clip: ten hours of a 360p camera at 30 frames per second
_MOST_CELLS = 10**6  # of one frame: 16K has half as many
_TORCH_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the start of a torch.save file older than its zip format

Maps = tuple[np.ndarray, np.ndarray | None]  # importance float32 [T, rows, cols], frame numbers int64 [T] or None


def read_importance_file(path: Path, clip: str, clips: Sequence[str]) -> Maps:
    """(importance float32 [T, rows, cols], frame numbers int64 [T] or None) of `clip`, one of the dataset's `clips`.

    Without numbers, it has all frames in order. The kind of file is detected from its content. In a file of several
    videos, a clip's video is the one whose name gives the clip's id; a file of one video fits any dataset of one clip.
    InputError for files that are missing, broken or of another kind, for importance that is NaN, infinite or negative,
    and for clips that the file does not contain.
    """
    maps = _maps_of(path)
    importance, numbers = maps[_video_of(path, clip, clips, list(maps))]
    return checked_importance(path, importance), numbers


def importance_read_as(path: Path) -> str:
    """What a file is taken for, in words: its frames, grids, numbers and keys. InputError as `read_importance_file`."""
    maps = _maps_of(path)
    arrays = [importance for importance, _ in maps.values()]
    grids, types = ({f"{a.shape[1]}x{a.shape[2]}" for a in arrays}, {str(a.dtype) for a in arrays})
    least, most = min(float(a.min()) for a in arrays), max(float(a.max()) for a in arrays)
    videos = sorted(repr(video)[:60] for video in maps if video is not None)
    numbers = next(iter(maps.values()))[1]
    if videos:
        keys = f"keys (video, frame) of {', '.join(videos[:10])}{', …' if len(videos) > 10 else ''}"
    else:
        keys = "frames in order" if numbers is None else f"keys {numbers.min()} to {numbers.max()}"
    return (
        f"importance of {sum(map(len, arrays))} frames: {' and '.join(sorted(grids))} macroblocks, "
        f"{' and '.join(sorted(types))}, {least:.3g}..{most:.3g}, {keys}"
    )


def _maps_of(path: Path) -> dict[str | None, Maps]:
    if not path.is_file():
        raise InputError(f"{path}: no such file; give --importance a .npz, .npy, .pth or pickle")
    return _read(path, path.stat().st_mtime_ns)


# cached: every clip of a dataset reads its part of one file
@lru_cache(maxsize=1)
def _read(path: Path, changed_ns: int) -> dict[str | None, Maps]:
    """The importance in a file, by video; None for a file that names no video."""
    try:
        with path.open("rb") as file:
            head = file.read(len(_TORCH_MAGIC))
        names = zipfile.ZipFile(path).namelist() if head.startswith(b"PK") else []
        if {"importance.npy", "frames.npy"} <= set(names):
            return {None: read_importance(path)}
        arrays = [name for name in names if name.endswith(".npy")]
        if arrays:
            return _by_video(_one_array(path, arrays), path)
        if head.startswith(b"\x93NUMPY"):
            return _by_video(_read_npy(lambda: path.open("rb"), path), path)
        if names or head == _TORCH_MAGIC:
            return _by_video(_read_torch(path), path)
        return _by_video(restricted_load(path, _Allowed()), path)
    except InputError:
        raise
    # zlib, zipfile, NumPy, PyTorch and the unpickler each raise their own exceptions for broken files
    except Exception as error:
        raise InputError(
            f"{path}: is not an importance file that can be read without running code ({one_line(error)})"
        ) from None


def _one_array(path: Path, names: list[str]) -> np.ndarray:
    if len(names) > 1 and "importance.npy" not in names:
        raise InputError(f"{path}: holds {len(names)} arrays; name the one that is importance 'importance'")
    name = "importance.npy" if "importance.npy" in names else names[0]
    with zipfile.ZipFile(path) as archive:
        return _read_npy(lambda: archive.open(name), path)


def _read_npy(open_file: Callable[[], IO[bytes]], path: Path) -> np.ndarray:
    with open_file() as file:
        shape, _, dtype = npy_header(file)
    _refuse_oversized(path, shape, dtype.itemsize)
    with open_file() as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _refuse_oversized(path: Path, shape: Sequence[int], item_bytes: int = 4) -> None:
    if math.prod(shape) * item_bytes > _MOST_BYTES or math.prod(shape[-2:]) > _MOST_CELLS:
        raise InputError(f"{path}: claims an array {list(shape)}, more than the importance of any clip")


def _read_torch(path: Path) -> Any:
    import torch

    return torch.load(path, map_location="cpu", weights_only=True)


def _load_storage(content: bytes) -> Any:
    import torch

    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


def _rebuild_tensor(storage: Any, offset: int, shape: Sequence[int], stride: Sequence[int], *_: Any) -> Any:
    import torch

    return torch.empty(0, dtype=storage.dtype).set_(storage, offset, tuple(shape), tuple(stride))


class _Skipped:
    """Replaces an object of a class that is not read, such as the detections beside the saliency."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __setstate__(self, state: Any) -> None: ...

    def __setitem__(self, key: Any, value: Any) -> None: ...

    def append(self, item: Any) -> None: ...

    def extend(self, items: Any) -> None: ...


class _Allowed(Mapping[tuple[str, str], Callable[..., Any]]):
    """The classes that a pickle may name: arrays and tensors, and an empty placeholder for all others. Nothing is
    refused, and no code of the file is run.
    """

    _made: Mapping[tuple[str, str], Callable[..., Any]] = {
        **ARRAYS,
        ("collections", "OrderedDict"): lambda *_: OrderedDict(),  # its entries are set afterwards
        ("torch.storage", "_load_from_bytes"): _load_storage,
        ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    }

    def __getitem__(self, key: tuple[str, str]) -> Callable[..., Any]:
        return self._made[key] if key in self._made else type(key[1], (_Skipped,), {})

    def __contains__(self, key: object) -> bool:
        return True

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._made)

    def __len__(self) -> int:
        return len(self._made)


def _by_video(content: Any, path: Path) -> dict[str | None, Maps]:
    """The importance in the content of a file, by video."""
    if _is_array(content):
        return {None: (_as_maps(content, path), None)}
    if isinstance(content, list | tuple):
        content = dict(enumerate(content))
    if not isinstance(content, dict) or not content:
        raise InputError(f"{path}: holds {_described(content)}, expected an array or {{(video, frame): saliency}}")
    frames: dict[str | None, dict[int, np.ndarray]] = {}
    for key, value in content.items():
        video, number = key if isinstance(key, tuple) and len(key) == 2 else (None, key)
        if not isinstance(number, int | np.integer) or not isinstance(video, str | None):
            raise InputError(f"{path}: has an entry {str(key)[:60]!r}, expected (video, frame number)")
        frames.setdefault(video, {})[int(number)] = _frame_map(value, key, path)
    return {video: _stacked(by_number, path) for video, by_number in frames.items()}


def _stacked(by_number: dict[int, np.ndarray], path: Path) -> Maps:
    numbers = sorted(by_number)
    shapes = {by_number[number].shape for number in numbers}
    if len(shapes) > 1:
        raise InputError(f"{path}: its frames have grids of different sizes: {sorted(shapes)}"[:200])
    _refuse_oversized(path, (len(numbers), *next(iter(shapes))))
    return np.stack([by_number[number] for number in numbers]), np.array(numbers, np.int64)


def _frame_map(value: Any, key: Any, path: Path) -> np.ndarray:
    """The importance of one frame [rows, cols], from its array or from {"saliency": array, …}."""
    saliency: Any = value.get("saliency") if isinstance(value, dict) else value
    if not _is_array(saliency):
        raise InputError(f"{path}: entry {str(key)[:60]!r} has {_described(saliency)} for saliency, expected an array")
    while saliency.ndim > 2 and saliency.shape[0] == 1:
        saliency = saliency[0]
    return _as_maps(saliency[None], path)[0]


def _as_maps(array: Any, path: Path) -> np.ndarray:
    """An array or tensor [N, rows, cols] or [N, 1, rows, cols] as an array [N, rows, cols]."""
    shape = tuple(array.shape)
    # a tensor with strides of 0 can claim more than the file holds
    _refuse_oversized(path, shape)
    array = np.asarray(array if isinstance(array, np.ndarray) else array.detach().float())
    if array.ndim == 4 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 3 or not array.size or array.dtype.kind not in "fiu":
        raise InputError(f"{path}: expected numbers [T, rows, cols] or [T, 1, rows, cols], found {_described(array)}")
    return array


def _is_array(value: Any) -> bool:
    return hasattr(value, "ndim") and hasattr(value, "dtype")


def _described(value: Any) -> str:
    return f"{value.dtype} {list(value.shape)}" if _is_array(value) else f"a {type(value).__name__!r}"


def _ids_of(video: str) -> set[str]:
    names = (video, Path(video).stem)
    return {clip_id(name) for name in names} | {former_clip_id(name) for name in names}


def _video_of(path: Path, clip: str, clips: Sequence[str], videos: list[str | None]) -> str | None:
    """The video in a file that belongs to `clip`."""
    if len(videos) == len(clips) == 1:
        return videos[0]
    if videos == [None]:
        raise InputError(
            f"{path}: has importance of one clip, the dataset {len(clips)} clips; "
            "put each clip's in importance/<clip>.npz"
        )
    fitting = [video for video in videos if video is not None and clip in _ids_of(video)]
    if len(fitting) != 1:
        names = ", ".join(sorted(repr(video)[:60] for video in videos)[:10])
        raise InputError(
            f"{path}: has {len(fitting) or 'no'} videos for clip {clip or 'of the flat layout'!r}; it has {names}; "
            "name the clip's folder in origin_images/ like one of them"
        )
    return fitting[0]
