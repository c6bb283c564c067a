"""Whether an upscaler's result looks like its input: a wrong range or order of channels is found before hours of work.

The result, shrunken to the size of the LR frame, must resemble it in its coarse structure and colours. Sharpening,
denoising and invented detail change neither; a frame without contrast says nothing and is not judged.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import product

import cv2
import numpy as np

from regenhance_data.errors import InputError
from regenhance_data.upscalers.base import BGR, RGB
from regenhance_data.upscalers.loading import load_upscaler
from regenhance_data.upscalers.settings import UpscalerSettings
from regenhance_data.upscalers.tiling import TiledUpscaler

_CROP_PX = 64  # side of the part of a frame that is tried: a slow network needs seconds for it
_CROPS = 3
_MOST_FRAMES = 60  # looked at for enough contrast
_COARSE_PX = 4  # pixels that count as one: noise and sharpening vanish in their mean
_LEAST_CONTRAST = 8.0  # standard deviation of the coarse frame, of 255
# Error of the coarse result, in units of the frame's contrast, and in those of a pixel: on dark frames the first is
# large for networks that brighten. Sound networks stay below 0.15; black is 1 and more, inversion 2.
_MOST_ERROR, _MOST_ERROR_PX = 0.5, 20.0
_LEAST_CORRELATION = 0.5
_LEAST_COLOUR_ERROR = 0.05  # swapped channels differ little where a frame is nearly grey
_SHIFTS_PX = range(-8, 9)  # networks that align corners shift by less than one LR pixel
_LEAST_SHIFT_PX = 2
# Networks for white = 255 have biases that spoil frames in 0..1: 4 times the error and more. Those for 1 can lose
# theirs in 0..255 unseen. Where the results are the same, as without biases, either range is right. On dark frames the
# biases count in either range.
_NEARER, _AS_NEAR, _LEAST_ERROR_PX, _SAME_PX = 3.0, 2.0, 2.0, 0.25
_SOUND_ERROR, _LEAST_MEAN = 0.1, 40.0


def refuse_unlike_result(settings: UpscalerSettings, upscaler: TiledUpscaler, frames: Iterable[np.ndarray]) -> None:
    """InputError where results of the upscaler are unlike the LR frames, uint8 [h, w, 3], or its range of pixels is
    another than the given one; it names the flag that mends it, if one does. Of `frames`, the first with enough
    contrast are tried.
    """
    crops = list(_crops(frames))
    if not crops:
        return
    results = [upscaler(crop[None])[0] for crop in crops]
    wanted, made = _all_coarse(crops, crops), _all_coarse(results, crops)
    found = _fault(wanted, made) or _shift(crops, results)
    if not found:
        _refuse_other_range(settings, crops, wanted, made)
        return
    mend = _mend(settings, crops, wanted, _error(wanted, made))
    advice = f"give {mend}" if mend else "no flag mends it: export it with its pre- and post-processing inside"
    raise InputError(f"{settings.argument or settings.spec}: its result is unlike the LR frame ({found}); {advice}")


def _refuse_other_range(
    settings: UpscalerSettings, crops: list[np.ndarray], wanted: list[np.ndarray], made: list[np.ndarray]
) -> None:
    """InputError where a result is like the frame, but the other range of pixels is the network's."""
    other = _other_white(settings)
    coarse = _coarse_results(replace(settings, pixel_range=other), crops) if settings.kind.has_pixel_range else None
    if coarse is None:
        return
    error, of_other = _error(wanted, made), _error(wanted, coarse)
    error_px, apart_px = _apart(made, wanted), _apart(made, coarse)
    is_nearer = of_other * _NEARER < error and error_px > _LEAST_ERROR_PX
    is_as_near = settings.white == 255 and of_other < min(error * _AS_NEAR, _SOUND_ERROR) and apart_px > _SAME_PX
    if (is_nearer or is_as_near) and max(float(image.mean()) for image in wanted) > _LEAST_MEAN:
        said = "nearer" if of_other < error else "as near"
        raise InputError(
            f"{settings.argument}: white is {other:g} in this network, not {settings.white:g} (its result is {said} to "
            f"the LR frame then); give --pixel_range {other:g}"
        )


def _other_white(settings: UpscalerSettings) -> float:
    return 1 if settings.white == 255 else 255


def _coarse_results(settings: UpscalerSettings, crops: list[np.ndarray]) -> list[np.ndarray] | None:
    """None where the upscaler does not run with these settings."""
    with suppress(InputError):
        upscaler = load_upscaler(settings)
        return _all_coarse([upscaler(crop[None])[0] for crop in crops], crops)
    return None


def _fault(wanted: list[np.ndarray], made: list[np.ndarray]) -> str:
    """What is wrong with a coarse result, "" for nothing."""
    error = _error(wanted, made)
    if error > _LEAST_COLOUR_ERROR and 2 * _error(wanted, [coarse[..., ::-1] for coarse in made]) < error:
        return "its colours are swapped"
    of_contrast = float(np.std(np.concatenate([coarse.ravel() for coarse in wanted])))
    correlation = _correlation(wanted, made)
    if correlation >= _LEAST_CORRELATION and (error <= _MOST_ERROR or error * of_contrast <= _MOST_ERROR_PX):
        return ""
    before, after = (float(np.mean([image.mean() for image in images])) for images in (wanted, made))
    look = "white" if after > 225 else "black" if after < 25 else ""
    look = "it is inverted, " if correlation < -_LEAST_CORRELATION else f"it is nearly {look}, " if look else ""
    return f"{look}mean {after:.0f} of 255, the LR frame {before:.0f}"


def _shift(crops: list[np.ndarray], results: list[np.ndarray]) -> str:
    """By how much the results are shifted, "" where they are not."""
    found = set()
    for crop, result in zip(crops, results, strict=True):
        margin = max(_SHIFTS_PX)
        height, width = crop.shape[:2]
        if min(height, width) <= 3 * margin:
            return ""
        before = crop.astype(np.float32)
        after = cv2.resize(result.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
        inner = after[margin:-margin, margin:-margin]
        errors = {}
        for x, y in product(_SHIFTS_PX, _SHIFTS_PX):
            moved = before[margin - y : height - margin - y, margin - x : width - margin - x]
            errors[x, y] = float(np.mean((moved - inner) ** 2))
        x, y = min(errors, key=lambda shift: errors[shift])
        is_shifted = max(abs(x), abs(y)) >= _LEAST_SHIFT_PX and 4 * errors[x, y] < errors[0, 0]
        found.add((x, y) if is_shifted else (0, 0))
    x, y = found.pop()
    return "" if found or (x, y) == (0, 0) else f"it is shifted by {x} pixels to the right and {y} down"


def _crops(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The part with the most contrast of each of the first frames that have enough."""
    count = 0
    for index, frame in enumerate(frames):
        if count == _CROPS or index == _MOST_FRAMES:
            return
        crop = max(_parts(frame), key=_contrast)
        if _contrast(crop) >= _LEAST_CONTRAST:
            count += 1
            yield crop


def _parts(frame: np.ndarray) -> Iterator[np.ndarray]:
    height, width = frame.shape[:2]
    for top in range(0, max(height - _CROP_PX, 0) + 1, _CROP_PX // 2):
        for left in range(0, max(width - _CROP_PX, 0) + 1, _CROP_PX // 2):
            yield np.ascontiguousarray(frame[top : top + _CROP_PX, left : left + _CROP_PX])


def _contrast(image: np.ndarray) -> float:
    return float(_coarse(image, image.shape).std())


def _coarse(image: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The image shrunken to a fraction of `shape` (of an LR frame), float32 [h, w, 3] in 0..255."""
    size_wh = max(shape[1] // _COARSE_PX, 1), max(shape[0] // _COARSE_PX, 1)
    return cv2.resize(image.astype(np.float32), size_wh, interpolation=cv2.INTER_AREA)


def _all_coarse(images: list[np.ndarray], crops: list[np.ndarray]) -> list[np.ndarray]:
    return [_coarse(image, crop.shape) for image, crop in zip(images, crops, strict=True)]


def _error(wanted: list[np.ndarray], made: list[np.ndarray]) -> float:
    """Root mean square error in units of the contrast of what is wanted; of several crops, the least."""
    pairs = zip(wanted, made, strict=True)
    return min(float(np.sqrt(np.mean((one - other) ** 2))) / max(float(one.std()), 1e-6) for one, other in pairs)


def _apart(images: list[np.ndarray], others: list[np.ndarray]) -> float:
    """Mean absolute difference in values of 0..255; of several crops, the greatest."""
    return max(float(np.abs(one - other).mean()) for one, other in zip(images, others, strict=True))


def _correlation(wanted: list[np.ndarray], made: list[np.ndarray]) -> float:
    """Pearson's, 0 for a result without contrast; of several crops, the greatest."""

    def of(one: np.ndarray, other: np.ndarray) -> float:
        spread = float(one.std()) * float(other.std())
        return float(np.mean((one - one.mean()) * (other - other.mean()))) / spread if spread > 1e-6 else 0.0

    return max(of(one, other) for one, other in zip(wanted, made, strict=True))


def _mend(settings: UpscalerSettings, crops: list[np.ndarray], wanted: list[np.ndarray], error: float) -> str:
    """The flags with which the result is most like the frames, "" where none makes it so."""
    kind = settings.kind
    ranges = (settings.white, _other_white(settings)) if kind.has_pixel_range else (None,)
    orders = (RGB, BGR, f"{RGB}-{BGR}") if kind.argument else (RGB,)
    best, flags = min(error / 2, _MOST_ERROR), ""
    for pixel_range, order in product(ranges, orders):
        channel_order = order if order != RGB else None
        made = _coarse_results(replace(settings, pixel_range=pixel_range, channel_order=channel_order), crops)
        if made and (found := _error(wanted, made)) < best * 0.9:  # a simpler mend comes first
            best, flags = found, _flags(settings, pixel_range, channel_order)
    return flags


def _flags(settings: UpscalerSettings, pixel_range: float | None, order: str | None) -> str:
    flags = []
    if pixel_range is not None and pixel_range != settings.white:
        flags.append(f"--pixel_range {pixel_range:g}")
    if (order or RGB) != (settings.channel_order or RGB):
        flags.append(f"--channel_order {order or RGB}")
    return " ".join(flags)
