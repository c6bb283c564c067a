"""Interpolation and pooling as matrices."""

import numpy as np

from regenhance_data.grid import MacroblockGrid

# Position of pixel i of `out` among `size` pixels; names and formulas of ONNX's operator Resize.
SOURCE_OF = {
    "half_pixel": lambda i, size, out: (i + 0.5) * size / out - 0.5,
    "align_corners": lambda i, size, out: i * (size - 1) / max(out - 1, 1),
    "asymmetric": lambda i, size, out: i * size / out,
}


def interpolation_matrix(size: int, out: int, coordinates: str = "half_pixel") -> np.ndarray:
    """Linear interpolation of `size` values to `out` as a matrix, float64 [out, size]; each row sums to 1."""
    source = np.clip(SOURCE_OF[coordinates](np.arange(out), size, out), 0, size - 1)
    left = np.minimum(source.astype(int), size - 1)
    right = np.minimum(left + 1, size - 1)
    matrix = np.zeros((out, size))
    matrix[np.arange(out), left] = 1 - (source - left)
    matrix[np.arange(out), right] += source - left
    return matrix


def pooling_matrix(size: int, out: int) -> np.ndarray:
    """Adaptive average pooling of `size` values to `out` as a matrix, float64 [out, size]; each row sums to 1.

    Value i is the mean of those from floor(i·size/out) to ceil((i + 1)·size/out), as in Paddle and PyTorch.
    """
    matrix = np.zeros((out, size))
    for i in range(out):
        start, stop = i * size // out, -(-(i + 1) * size // out)
        matrix[i, start:stop] = 1 / (stop - start)
    return matrix


def macroblock_matrix(size: int, out: int, mb_size: int, coordinates: str = "half_pixel") -> np.ndarray:
    """Interpolation of `size` values to `out` pixels and the mean of each (perhaps partial) block of `mb_size`.

    float64 [ceil(out / mb_size), size]. Both steps are linear and separable, so the importance of the macroblocks of
    a low-resolution map E is exactly R·E·C, with R for the rows and C, transposed, for the columns; no full-size map
    is computed.
    """
    columns = interpolation_matrix(size, out, coordinates).T
    return MacroblockGrid(1, out, mb_size).mean(columns[:, None])[:, 0].T
