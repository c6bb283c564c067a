"""The LR, upsampled and HR pictures of one frame."""

from regenhance_data.dataset.folder import LR_FRAMES, Dataset, Frame
from regenhance_data.errors import InputError
from regenhance_data.grid import MacroblockGrid
from regenhance_data.importance.formulas import FramePair
from regenhance_data.regions.composite import upsample_frame


def read_pair(dataset: Dataset, frame: Frame, clear: str) -> FramePair:
    """Both forms of a frame. InputError when the clear one is not exactly `scale` times the origin image."""
    origin, clear_image = dataset.read(LR_FRAMES, frame), dataset.read(clear, frame)
    height, width = origin.shape[:2]
    scale = dataset.scale
    if clear_image.shape[:2] != (height * scale, width * scale):
        raise InputError(
            f"{dataset.path(clear, frame)}: is {clear_image.shape[1]}x{clear_image.shape[0]}, expected "
            f"{width * scale}x{height * scale} ({scale} times the origin image's {width}x{height}); make it again"
        )
    grid = MacroblockGrid(height, width, dataset.mb_size).scaled(scale)
    return FramePair(origin, clear_image, upsample_frame(origin, scale), grid)
