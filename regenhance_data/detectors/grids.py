"""The cells of a detector's grids, in the order in which its output has them."""

from functools import lru_cache

import torch

from regenhance_data.detectors.layouts import STRIDES

Strides = tuple[int, ...]


def cell_count(hw: tuple[int, int], strides: Strides) -> int:
    """The cells of all grids for an input of `hw`. Sides that a stride does not divide are rounded up."""
    return sum(-(-hw[0] // stride) * -(-hw[1] // stride) for stride in strides)


def strides_of(count: int, hw: tuple[int, int]) -> Strides | None:
    """The strides of the grids that have `count` cells for an input of `hw`, None where none of STRIDES has."""
    return next((strides for strides in STRIDES if cell_count(hw, strides) == count), None)


@lru_cache(maxsize=8)
def cells(hw: tuple[int, int], strides: Strides, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """The column and row [A, 2] and the stride [A, 1] of each cell, row by row, one grid after the other."""
    places, sizes = [], []
    for stride in strides:
        rows, cols = torch.meshgrid(torch.arange(-(-hw[0] // stride)), torch.arange(-(-hw[1] // stride)), indexing="ij")
        places.append(torch.stack([cols, rows], dim=-1).reshape(-1, 2))
        sizes.append(torch.full((rows.numel(), 1), stride))
    return torch.cat(places).to(device), torch.cat(sizes).to(device)
