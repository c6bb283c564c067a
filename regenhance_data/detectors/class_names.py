"""Class names: COCO's, a file's own, and numbers where there are none; what else a file says of its network."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from regenhance_data.detectors.settings import LEAST_SIDE_PX, MOST_SIDE_PX
from regenhance_data.errors import InputError

MOST_CLASSES = 10_000  # no detector has more; labels have at most four digits
NAMES_SHOWN = 10  # of the classes shown when an unknown one is given
# The 80 classes of COCO, in YOLO's order.
COCO = """person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,stop sign,
parking meter,bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,backpack,umbrella,handbag,tie,suitcase,
frisbee,skis,snowboard,sports ball,kite,baseball bat,baseball glove,skateboard,surfboard,tennis racket,bottle,
wine glass,cup,fork,knife,spoon,bowl,banana,apple,sandwich,orange,broccoli,carrot,hot dog,pizza,donut,cake,chair,
couch,potted plant,bed,dining table,toilet,tv,laptop,mouse,remote,keyboard,cell phone,microwave,oven,toaster,sink,
refrigerator,book,clock,vase,scissors,teddy bear,hair drier,toothbrush"""
COCO_NAMES = tuple(COCO.replace("\n", "").split(","))


def class_number(name: str, class_names: Sequence[str]) -> int:
    """The index of a class given by its name or number. InputError for unknown classes."""
    if name in class_names:
        return class_names.index(name)
    if name.isdecimal() and int(name) < len(class_names):
        return int(name)
    more = len(class_names) - NAMES_SHOWN
    names = ", ".join(class_names[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
    raise InputError(f"--classes {name}: the detector has no such class; it has {names} (or their numbers from 0)")


def counted_classes(classes: Sequence[str], class_names: Sequence[str]) -> list[int]:
    """The indices of the classes that count, given by their names or numbers; without any, of all."""
    return [class_number(name, class_names) for name in classes] or list(range(len(class_names)))


def name_of(label: int, class_names: Sequence[str]) -> str:
    """The name of a class, or its number where a file puts out labels beyond its names."""
    return class_names[label] if 0 <= label < len(class_names) else f"class_{label}"


def numbered(count: int) -> tuple[str, ...]:
    """Names for classes without names."""
    return tuple(f"class_{number}" for number in range(count))


def names_from(value: Any) -> dict[int, str]:
    """Class names by number, from Ultralytics' {0: 'person', …} or ['person', …]; {} for anything else.

    Numbers have at most four digits: no detector has more classes, and a forged number must not allocate a huge list.
    """
    pairs = enumerate(value) if isinstance(value, list) else value.items() if isinstance(value, dict) else ()
    return {int(number): str(name) for number, name in pairs if re.fullmatch("[0-9]{1,4}", str(number))}


def _two_integers(value: Any) -> tuple[int, int] | None:
    is_pair = isinstance(value, list | tuple) and [type(one) for one in value] == [int, int]
    return (value[0], value[1]) if is_pair else None


@dataclass(frozen=True)
class Metadata:
    """What a file says of its network. names: of the classes, by number. task: 'detect', 'segment', 'pose', 'obb', …,
    '' where it says none. keypoint_values: the values of all keypoints of a box, 0 where it says none. has_nms: whether
    it says that NMS is in the network. is_end_to_end: whether it says that the network chooses its best boxes itself.
    hw: the (height, width) of the input that it was exported for, None where it says none.
    """

    names: Mapping[int, str] = field(default_factory=dict)
    task: str = ""
    keypoint_values: int = 0
    has_nms: bool = False
    is_end_to_end: bool = False
    hw: tuple[int, int] | None = None

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Metadata":
        """From what Ultralytics writes; other values are left out."""
        keypoints, hw = _two_integers(values.get("kpt_shape")), _two_integers(values.get("imgsz"))
        task, flags = values.get("task"), values.get("args")
        return cls(
            names_from(values.get("names")),
            task if isinstance(task, str) else "",
            max(keypoints[0] * keypoints[1], 0) if keypoints else 0,
            isinstance(flags, dict) and flags.get("nms") is True,
            values.get("end2end") is True,
            hw if hw and all(LEAST_SIDE_PX <= side <= MOST_SIDE_PX for side in hw) else None,
        )

    @property
    def count(self) -> int | None:
        """The number of classes, None where it is not known."""
        return len(self.names) if self.names and set(self.names) == set(range(len(self.names))) else None
