"""class_maps/CAMERA/000000.png: the class of each pixel, for segmentation."""

from pathlib import Path

from deploy.online.sinks.frame import FrameResult
from regenhance_data.io.images import write_image

CLASS_MAPS = "class_maps"


class ClassMaps:
    """The class maps of a run in `folder`, a PNG for each frame."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / CLASS_MAPS

    def take(self, result: FrameResult) -> FrameResult:
        return result

    def write(self, result: FrameResult) -> None:
        path = self._folder / result.listing.camera / f"{result.listing.frame:06d}.png"
        write_image(path, result.item.found[..., None].repeat(3, axis=-1))

    def finish(self) -> list[Path]:
        return [self._folder] if self._folder.is_dir() else []

    def close(self) -> None:
        """Nothing is open."""
