"""The frames that strategies are compared on: of a dataset, or of videos."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

from deploy.backends.base import Predictor, fit_frame, refuse_other_aspect, resized
from deploy.online.cameras import Camera
from deploy.online.strategies import KnownFrame
from regenhance_data.dataset.folder import HR_IMAGES, LR_FRAMES, Dataset, Frame
from regenhance_data.dataset.staleness import refuse_stale_importance
from regenhance_data.errors import InputError
from regenhance_data.evaluation.truth import refuse_truth_of_several
from regenhance_data.grid import MacroblockGrid
from regenhance_data.io.images import shrunk
from regenhance_data.io.video import read_timed
from regenhance_data.regions.reuse import shots_of


def frames_of_dataset(
    dataset: Dataset, frames: Mapping[str, Sequence[Frame]], has_originals: bool, mb_size: int, every: int = 1
) -> Iterator[KnownFrame]:
    """The frames of each clip in order, with their originals and their importance where there are any; a gap in
    their numbers ends a shot. every: they are every n-th of those that follow each other.

    InputError for an original of another size, and for importance of another grid.
    """
    for clip, some in frames.items():
        oracle = dataset.importance(clip) if dataset.importance_path(clip).is_file() else {}
        numbers, among = ([frame.number for frame in of] for of in (some, dataset.frames(clip)))
        for frame, shot in zip(some, shots_of(numbers, among, every), strict=True):
            lr = dataset.read(LR_FRAMES, frame)
            original = dataset.read_hr(HR_IMAGES, frame, lr) if has_originals else None
            importance = oracle.get(frame.number)
            expected = MacroblockGrid(lr.shape[0], lr.shape[1], mb_size).shape
            if importance is not None and importance.shape != expected:
                raise InputError(f"{dataset.importance_path(clip)}: is not of {expected[0]}x{expected[1]} macroblocks")
            yield KnownFrame(clip, frame.number, 0.0, lr, lr, shot=shot, original=original, importance=importance)


def frames_of_videos(
    cameras: Sequence[Camera],
    lr_hw: tuple[int, int],
    scale: int,
    are_originals: bool,
    every: int,
    most: int | None,
    jpeg_quality: int | None = None,
) -> Iterator[KnownFrame]:
    """Every `every`-th frame of videos, at most `most` of each: as LR frames, or as originals, from which LR frames are
    made by shrinking and, at a `jpeg_quality`, compression. InputError for another aspect ratio than that of the LR
    frames.
    """
    hr_hw = lr_hw[0] * scale, lr_hw[1] * scale
    for camera in cameras:
        for number, (time_s, rgb) in enumerate(islice(read_timed(Path(camera.source), every=every), most)):
            if are_originals:
                refuse_other_aspect((rgb.shape[0], rgb.shape[1]), lr_hw, camera.source)
                original = resized(rgb, hr_hw)
                lr = shrunk(original, lr_hw, jpeg_quality)
            else:
                original, lr = None, fit_frame(rgb, lr_hw, camera.source)
            yield KnownFrame(camera.id, number * every, time_s, lr, lr, original=original)


def refuse_unfit_videos(
    sizes: Mapping[Path, tuple[int, int]], lr_hw: tuple[int, int], scale: int, are_originals: bool
) -> None:
    """InputError for a video {path: (height, width)} of another aspect ratio than that of the LR frames, and for one
    that would have to be enlarged: to LR frames, or to originals.
    """
    needed = lr_hw[0] * scale if are_originals else lr_hw[0]
    for video, size in sizes.items():
        refuse_other_aspect(size, lr_hw, video)
        if size[0] < needed:
            made = f"originals for LR frames of {lr_hw[0]} lines at scale {scale}" if are_originals else "LR frames"
            raise InputError(
                f"{video}: has {size[0]} lines, {made} need {needed}; give a video of more lines, or a predictor for "
                "smaller frames"
            )


def chosen_frames(
    dataset: Dataset, split: str, clips: Sequence[str] | None, every: int, most: int | None
) -> dict[str, list[Frame]]:
    """{clip: every n-th of its frames of a split ("all": all), at most `most`}. InputError for what is not there, and
    for importance that other frames had.
    """
    found = dataset.chosen_frames(split, clips, every)
    if not found:
        raise InputError(f"{dataset.root}: {split}.txt has no frame; use --split all")
    for clip in found:
        refuse_stale_importance(dataset, clip)
    return {clip: some[:most] for clip, some in found.items()}


def frames_to_compare(
    dataset: Dataset,
    split: str,
    clips: Sequence[str] | None,
    every: int,
    most: int | None,
    has_truth: bool,
    takes_originals: bool = True,
) -> tuple[dict[str, list[Frame]], tuple[int, int], bool]:
    """(`chosen_frames`, their size (height, width), whether they have originals that are taken). has_truth: whether
    there are true boxes, which are of one clip. InputError for what is not there, and for frames of several sizes.
    """
    chosen = chosen_frames(dataset, split, clips, every, most)
    if has_truth:
        refuse_truth_of_several(chosen)
    has_originals = takes_originals and all((dataset.root / HR_IMAGES / clip).is_dir() for clip in chosen)
    if has_originals:
        dataset.refuse_missing_originals([frame for some in chosen.values() for frame in some])
    return chosen, one_size(dataset, list(chosen)), has_originals


def one_size(dataset: Dataset, clips: Sequence[str]) -> tuple[int, int]:
    """The size of the LR frames of these clips, (height, width). InputError where they have several."""
    sizes = {clip: (grid.height, grid.width) for clip in clips for grid in [dataset.grid(clip)]}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{clip} {width}x{height}" for clip, (height, width) in sizes.items())
        raise InputError(f"{dataset.root}: frames have several sizes ({listed}); give --clips those of one size")
    return next(iter(sizes.values()))


def refuse_unless_fitting(path: Path, predictor: Predictor, lr_hw: tuple[int, int], scale: int, mb_size: int) -> None:
    """InputError for the predictor of a file that is for other frames, macroblocks or another scale than these."""
    (height, width), (own_height, own_width) = lr_hw, predictor.input_hw
    if predictor.input_hw != lr_hw:
        way = f"export_{'static_map.py --flat' if predictor.is_flat else 'onnx.py --input_size'} {height} {width}"
        raise InputError(
            f"{path}: takes frames of {own_width}x{own_height}, the frames are {width}x{height}; use deploy/{way}"
        )
    own = int(predictor.metadata["scale"]), predictor.grid.mb_size
    if own != (scale, mb_size):
        raise InputError(
            f"{path}: is for scale {own[0]} and macroblocks of {own[1]} pixels, the frames have scale {scale} "
            f"and {mb_size} pixels; give a predictor that was trained on them"
        )
