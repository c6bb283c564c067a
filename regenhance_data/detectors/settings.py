"""Which detector, and which of its detections count."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from regenhance_data.detectors.layouts import LAYOUTS
from regenhance_data.errors import InputError

# Of an input. Smaller frames than the coarsest cells show nothing; a forged file must not allocate more.
LEAST_SIDE_PX, MOST_SIDE_PX = 32, 4096
_OPTIONAL = ("anchors", "read_as")  # recorded only where they are known


@dataclass(frozen=True)
class DetectorSettings:
    """Which detector, and which of its detections count.

    spec: KIND or KIND:ARGUMENT (the table in kinds.py). score_threshold: detections below it are dropped (0.3, as in
    AccMPEG and RegenHance). classes: names or numbers of the classes that count, () for all. max_box_area: larger
    boxes (share of the frame) are dropped (0.08, theirs too). iou_threshold: of two boxes of a class that overlap
    more, the one with the lower score is dropped. weights: for kinds that take them, a file, 'none' (random) or a
    published name; None for the spec's own. input_size: (height, width in pixels) that frames are fitted to, None for
    the detector's own. The rest is for files whose graph does not define it, None for the default: layout (one of
    LAYOUTS), channel_order ('RGB' or 'BGR'), and pixel_range, pixel_mean, pixel_std: the input is
    (RGB / 255 − mean) / std · range; anchors: width and height in pixels of each anchor of raw maps, from the finest
    stride on. task: 'detection' or 'segmentation'; read_as: what a file was taken for, in words; both None until the
    detector is loaded.
    """

    spec: str = "builtin"
    score_threshold: float = 0.3
    classes: tuple[str, ...] = ()
    max_box_area: float = 0.08
    iou_threshold: float = 0.5
    layout: str | None = None
    channel_order: str | None = None
    pixel_range: float | None = None
    input_size: tuple[int, int] | None = None
    weights: str | None = None
    pixel_mean: tuple[float, ...] | None = None
    pixel_std: tuple[float, ...] | None = None
    task: str | None = None
    anchors: tuple[float, ...] | None = None
    read_as: str | None = None

    def __post_init__(self) -> None:
        for flag in ("score_threshold", "max_box_area", "iou_threshold"):
            value = getattr(self, flag)
            if not 0 < value <= 1:
                raise InputError(f"--{flag} {value}: expected a number above 0, at most 1")
        for flag, choices in (("layout", tuple(LAYOUTS)), ("channel_order", ("RGB", "BGR")), ("pixel_range", (255, 1))):
            value = getattr(self, flag)
            if value is not None and value not in choices:
                raise InputError(f"detector {flag} {value!r}: expected one of {', '.join(map(str, choices))}")
        size = self.input_size
        if size is not None and (len(size) != 2 or not all(LEAST_SIDE_PX <= side <= MOST_SIDE_PX for side in size)):
            raise InputError(
                f"--detector_input_size {size}: expected height and width, {LEAST_SIDE_PX} to {MOST_SIDE_PX} pixels"
            )
        for flag, least in (("pixel_mean", -np.inf), ("pixel_std", 0)):
            value = getattr(self, flag)
            if value is not None and not (len(value) == 3 and all(least < v < np.inf for v in value)):
                raise InputError(f"--{flag} {value}: expected three numbers (R, G, B of 0..1)")
        if self.anchors is not None and not (self.anchors and all(0 < side < np.inf for side in self.anchors)):
            raise InputError(f"--detector_anchors {self.anchors}: expected widths and heights above 0, in pixels")

    def to_dict(self) -> dict[str, Any]:
        """For dataset.yaml: plain values only, equal after a round trip through YAML."""
        values = {key: value for key, value in asdict(self).items() if key not in _OPTIONAL or value is not None}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "DetectorSettings":
        """The inverse of `to_dict`; keys that are no settings (such as a recorded sha256) are left out."""
        try:
            known: dict[str, Any] = {f.name: values[f.name] for f in fields(cls) if f.name in values}
            known.update({key: tuple(value) for key, value in known.items() if isinstance(value, list)})
            known["classes"] = tuple(str(name) for name in known.get("classes", ()))
            known["spec"] = str(known.get("spec", cls.spec))
            if not all(isinstance(known.get(key), str | None) for key in ("weights", "read_as")):
                raise TypeError
            return cls(**known)
        except TypeError:
            raise InputError("dataset.yaml: the recorded detector is broken; give --detector") from None
