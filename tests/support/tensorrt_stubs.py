"""TensorRT's API as tensorrt-stubs has it, fixed where it is not valid Python: for mypy, and for the recording double.

python tests/support/tensorrt_stubs.py build/typings     what `make lint` does before mypy
"""

import importlib.util
import re
import sys
from pathlib import Path

FIXES = (
    (r"\bin: ", "in_: "),  # arguments called like a keyword
    (r"(?m)^bool: .*$", ""),  # a name for a tensor's type that hides Python's own
    (r"channel_axis: int\)", "channel_axis: int = ...)"),  # one without a default after those that have one
)


def bindings() -> str:
    """The stub of the module tensorrt_bindings.tensorrt, where everything is."""
    [folder] = importlib.util.find_spec("tensorrt_bindings").submodule_search_locations
    source = (Path(folder) / "tensorrt.pyi").read_text()
    for pattern, fixed in FIXES:
        source = re.sub(pattern, fixed, source)
    return source


def write(folder: Path) -> None:
    """Packages for mypy_path."""
    [names] = importlib.util.find_spec("tensorrt").submodule_search_locations
    for package, stub, source in (
        ("tensorrt", "__init__.pyi", (Path(names) / "__init__.pyi").read_text()),
        ("tensorrt_bindings", "__init__.pyi", "from . import tensorrt as tensorrt\nfrom .tensorrt import *\n"),
        ("tensorrt_bindings", "tensorrt.pyi", bindings()),
    ):
        (folder / package).mkdir(parents=True, exist_ok=True)
        (folder / package / stub).write_text(source)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
