"""Pickles read without running code from them: only listed types are constructed."""

import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np

from regenhance_data.errors import one_line

Allowed = Mapping[tuple[str, str], Callable[..., Any]]


def restricted_load(source: Path | BinaryIO, allowed: Allowed, encoding: str = "ASCII") -> Any:
    """The object in a pickle of plain values (dicts, lists, strings, numbers) and of what `allowed` makes.

    allowed: (module, name) as named in the pickle → what is called instead; `ARRAYS` are NumPy's. Names that
    NumPy 2 moved to numpy._core are looked up under numpy.core. encoding: of Python 2's strings, 'latin1' for arrays.
    pickle.UnpicklingError, with a reason of one line, for whatever else is in the file.
    """
    if isinstance(source, Path):
        with source.open("rb") as file:
            return restricted_load(file, allowed, encoding)
    try:
        return _Restricted(source, allowed, encoding).load()
    # a broken or hostile pickle can raise nearly anything
    except Exception as error:
        raise pickle.UnpicklingError(one_line(error)) from None


# The unpickler written in Python: the one in C allocates for any memo number in a broken file, gigabytes.
_Unpickler: Any = pickle._Unpickler


class _Restricted(_Unpickler):
    def __init__(self, file: BinaryIO, allowed: Allowed, encoding: str) -> None:
        super().__init__(file, encoding=encoding)
        self._allowed = allowed

    # Nested tuples, each twice in the next, take exponential time to hash: keys must be plain or flat.
    dispatch: ClassVar[dict[int, Callable[..., None]]] = {**_Unpickler.dispatch}
    for _opcode in (pickle.EMPTY_SET, pickle.ADDITEMS, pickle.FROZENSET):
        del dispatch[_opcode[0]]

    def load_setitem(self) -> None:
        _refuse_deep(self.stack[-2:-1])
        super().load_setitem()

    def load_setitems(self) -> None:
        _refuse_deep(self.stack[::2])
        super().load_setitems()

    def load_dict(self) -> None:
        _refuse_deep(self.stack[::2])
        super().load_dict()

    dispatch[pickle.SETITEM[0]] = load_setitem
    dispatch[pickle.SETITEMS[0]] = load_setitems
    dispatch[pickle.DICT[0]] = load_dict

    def find_class(self, module: str, name: str) -> Any:
        key = (module.replace("numpy._core", "numpy.core"), name)
        if key not in self._allowed:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not read")
        return self._allowed[key]


def _refuse_deep(keys: Sequence[Any]) -> None:
    for key in keys:
        if isinstance(key, tuple) and any(isinstance(part, tuple) for part in key):
            raise pickle.UnpicklingError("it has a tuple of tuples for a key, which is not read")


class _Dtype:
    """A NumPy type whose name and byte order the file gives. NumPy's own class also takes its flags from the file, and
    so reads bytes as objects: at addresses that the file controls.
    """

    def __init__(self, name: str, *_: Any) -> None:
        self.dtype = np.dtype(name)
        if self.dtype.kind not in "biufcSU":
            raise pickle.UnpicklingError(f"it holds an array of {self.dtype}, which is not read")

    def __setstate__(self, state: Any) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array(np.ndarray):
    """An array that is empty until the state follows, whose size NumPy compares with the bytes there are."""

    def __setstate__(self, state: Any) -> None:
        version, shape, dtype, is_fortran, content = state
        super().__setstate__((version, shape, dtype.dtype, is_fortran, content))


def _empty_array(*_: Any) -> np.ndarray:
    return _Array(0, np.uint8)


def _scalar(dtype: _Dtype, content: bytes) -> Any:
    return np.frombuffer(content, dtype.dtype, count=1)[0]


def _from_buffer(content: bytes, dtype: _Dtype, shape: Any, order: str) -> np.ndarray:
    return np.frombuffer(content, dtype.dtype).reshape(shape, order="F" if order == "F" else "C")


def _encoded(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it has bytes in {encoding}, expected latin1")
    return text.encode(encoding)


ARRAYS: Allowed = {
    ("numpy", "ndarray"): _empty_array,
    ("numpy", "dtype"): _Dtype,
    ("numpy.core.multiarray", "_reconstruct"): _empty_array,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy.core.numeric", "_frombuffer"): _from_buffer,
    ("_codecs", "encode"): _encoded,  # bytes in protocols that had none
}
