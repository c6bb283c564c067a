"""CUDA calls that the TensorRT backend needs."""

from typing import Any

from regenhance_data.errors import InputError, one_line


class TensorRtLog:
    """TensorRT's errors, kept for a message instead of printed."""

    def __init__(self) -> None:
        import tensorrt as trt

        said: list[str] = []

        class Logger(trt.ILogger):
            def __init__(self) -> None:
                trt.ILogger.__init__(self)

            def log(self, severity: trt.ILogger.Severity, message: str) -> None:
                if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR):
                    said.append(message)

        self.logger, self._said = Logger(), said

    def last(self) -> str:
        return " ".join(self._said[-1].split())[:200] if self._said else "it does not say why"


def checked_call(result: tuple[Any, ...]) -> Any:
    """The value of a CUDA call. InputError with the name of its error."""
    error, *values = result
    if int(error):
        mend = "a smaller batch or fewer streams need less" if "Memory" in error.name else "see nvidia-smi"
        raise InputError(f"CUDA says {error.name}; {mend}")
    return values[0] if values else None


def gpu_name() -> str:
    """The first GPU and its compute capability, as 'NVIDIA H100 (9.0)'. InputError where there is none."""
    try:
        from cuda.bindings import runtime as cuda
    except ImportError as error:
        raise InputError(f"cuda-bindings does not load ({one_line(error)}); pip install -e '.[tensorrt]'") from None
    properties = checked_call(cuda.cudaGetDeviceProperties(0))
    return f"{properties.name.decode().rstrip(chr(0))} ({properties.major}.{properties.minor})"
