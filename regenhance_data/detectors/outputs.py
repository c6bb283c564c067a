"""What a network from a file puts out: named tensors, or final detections in a dict for each frame."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

FINAL = {"boxes", "scores", "labels"}


@dataclass(frozen=True)
class Outputs:
    """tensors: those with floating-point values or integers, by name ('' where it has none), in their order. final: of
    each frame a dict of boxes, scores and labels, where the network puts them out so.
    """

    tensors: tuple[tuple[str, torch.Tensor], ...]
    final: tuple[dict[str, torch.Tensor], ...] = ()

    @classmethod
    def of(cls, output: Any) -> "Outputs":
        """From whatever a network returns; the masks and keypoints of final detections are left out."""
        found = list(_values(output))
        final = [value for value in found if isinstance(value, dict)]
        return cls(tuple(value for value in found if isinstance(value, tuple)), tuple(final))

    def __len__(self) -> int:
        """The number of frames."""
        return len(self.final) or (len(self.tensors[0][1]) if self.tensors else 0)

    @classmethod
    def joined(cls, parts: list["Outputs"]) -> "Outputs":
        """The outputs of several frames, of which each part has one; fewer rows are filled up with zeros."""
        tensors = zip(*(part.tensors for part in parts), strict=True)
        joined = tuple((one[0][0], _joined([tensor for _, tensor in one])) for one in tensors)
        return cls(joined, tuple(dicts for part in parts for dicts in part.final))

    def shapes(self) -> str:
        """The shapes for one frame, for errors."""
        described = [f"{name} {[1, *tensor.shape[1:]]}".strip() for name, tensor in self.tensors]
        return ", ".join(described)[:300] or f"{len(self.final)} dicts of boxes, scores and labels"

    def of_rank(self, rank: int) -> list[torch.Tensor]:
        """The floating-point tensors of a rank."""
        return [tensor for _, tensor in self.tensors if tensor.ndim == rank and tensor.is_floating_point()]


def _joined(tensors: list[torch.Tensor]) -> torch.Tensor:
    if tensors[0].ndim == 1:
        return torch.cat(tensors)
    most = max(tensor.shape[1] for tensor in tensors)
    missing = [(most - tensor.shape[1], tensor) for tensor in tensors]
    return torch.cat([torch.cat([t, t.new_zeros(len(t), n, *t.shape[2:])], 1) if n else t for n, t in missing])


def _values(output: Any, name: str = "") -> Iterator[Any]:
    """(name, tensor) of every tensor, and dicts of final detections."""
    if isinstance(output, torch.Tensor):
        if output.ndim:
            yield name, output
    elif isinstance(output, dict):
        final = {key: output[key] for key in output.keys() & FINAL if isinstance(output[key], torch.Tensor)}
        if len(final) == len(FINAL) and final["boxes"].ndim == 2:
            yield final
            return
        names = ["out"] if "out" in output else list(output)  # the other outputs of segmentation are for training
        for key in names:
            yield from _values(output[key], str(key))
    elif isinstance(output, list | tuple):
        for value in output:
            yield from _values(value, name)
