"""What a run writes and where it sends it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from deploy.online.sinks.addresses import Broker
from regenhance_data.grid import MacroblockGrid

FILES = ("jsonl", "coco", "mot", "class_maps", "video")  # kinds of files of a run
_NOT_OF = {"detection": ("class_maps",), "segmentation": ("coco", "mot")}


@dataclass(frozen=True)
class Wanted:
    """The sinks that a user asks for.

    files: of FILES; named: whether the user named them. append: whether detections.jsonl goes on after an earlier
    run's lines. push: an address with {camera}; it has credentials. broker: for MQTT.
    """

    files: Sequence[str] = FILES
    named: bool = False
    append: bool = False
    push: str | None = field(default=None, repr=False)
    broker: Broker | None = None

    def of(self, task: str) -> "Wanted":
        """Those of them that a detector of this task has results for."""
        return replace(self, files=[name for name in self.files if name not in _NOT_OF[task]])

    @property
    def kinds(self) -> list[str]:
        """The sinks, by their names in the table of sinks."""
        return [*self.files, *(["push"] if self.push else []), *(["mqtt"] if self.broker else [])]

    @property
    def has_pictures(self) -> bool:
        """Whether annotated pictures are made."""
        return "video" in self.files or self.push is not None


@dataclass(frozen=True)
class SinkSettings:
    """Where to write and send what.

    names: the detector's classes. hr_grid: of the HR frames. rates: frames a second of each camera's annotated video.
    """

    folder: Path
    names: Sequence[str]
    hr_grid: MacroblockGrid
    rates: dict[str, float]
    wanted: Wanted = Wanted()
