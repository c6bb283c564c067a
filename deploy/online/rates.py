"""How many frames a second the cameras of a run have."""

from collections.abc import Callable

USUAL_RATE = 25.0  # of a camera that does not say


class Rates(dict[str, float]):
    """Frames a second that are searched, by camera. later: asked once for a camera that is not among them, as one that
    came after the run began.
    """

    def __init__(self, later: Callable[[str], float]) -> None:
        super().__init__()
        self._later = later

    def __missing__(self, camera: str) -> float:
        self[camera] = rate = self._later(camera)
        return rate
