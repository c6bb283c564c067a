"""CUDA: calls that are checked, and the GPU's name."""

from typing import Any

from regenhance_data.errors import InputError, one_line


def checked_call(result: tuple[Any, ...]) -> Any:
    """The value of a CUDA call. InputError with the name of its error."""
    error, *values = result
    if int(error):
        fix = "a smaller batch or fewer streams need less" if "Memory" in error.name else "see nvidia-smi"
        raise InputError(f"CUDA says {error.name}; {fix}")
    return values[0] if values else None


def gpu_name() -> str:
    """The first GPU and its compute capability, as 'NVIDIA H100 (9.0)'. InputError where there is none."""
    try:
        from cuda.bindings import runtime as cuda
    except ImportError as error:
        raise InputError(f"cuda-bindings does not load ({one_line(error)}); pip install -e '.[tensorrt]'") from None
    properties = checked_call(cuda.cudaGetDeviceProperties(0))
    return f"{properties.name.decode().rstrip(chr(0))} ({properties.major}.{properties.minor})"
