"""What a run writes and where it sends it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deploy.online.sinks.addresses import Broker
from regenhance_data.grid import MacroblockGrid

FILES = ("jsonl", "coco", "mot", "class_maps", "video")  # kinds of files of a run


@dataclass(frozen=True)
class Wanted:
    """The sinks that a user asks for.

    files: of FILES. append: whether detections.jsonl goes on after an earlier run's lines. push: an address with
    {camera}; it has credentials. broker: for MQTT.
    """

    files: Sequence[str] = FILES
    append: bool = False
    push: str | None = field(default=None, repr=False)
    broker: Broker | None = None

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
    rates: Mapping[str, float]
    wanted: Wanted = Wanted()
