"""How a server is to run a predictor."""

from collections.abc import Sequence
from dataclasses import dataclass

from regenhance_data.errors import InputError

MAX_BATCH_SIZE = 8  # where neither the user nor an engine gives one
DEVICE_OF = {"openvino": "cpu", "tensorrt": "gpu"}  # of ONNX Runtime's accelerators in Triton
NO_ACCELERATOR = "none"


@dataclass(frozen=True)
class Serving:
    """How a server runs a model; None: as it runs the model's earlier versions, else its own choice, or the file's.
    Flags of deploy/make_triton_repository.py.
    """

    device: str | None = None
    instances: int | None = None
    num_versions: int | None = None
    accelerator: str | None = None
    max_batch_size: int | None = None
    preferred_batch_size: Sequence[int] | None = None
    max_queue_delay_us: int | None = None

    def __post_init__(self) -> None:
        counts = self.instances, self.num_versions, self.max_batch_size, *(self.preferred_batch_size or [])
        if min((count for count in counts if count is not None), default=1) < 1 or (self.max_queue_delay_us or 0) < 0:
            raise InputError("numbers of instances, versions and frames: expected at least 1, a delay at least 0")
