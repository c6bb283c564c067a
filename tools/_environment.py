"""The first import of every script: one line, not a traceback, where Python or its packages are not the kit's.

deploy/_environment.py is a link to this file: `python deploy/x.py` finds only what lies beside x.py.
"""

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CORE = ("numpy", "cv2", "av", "yaml", "PIL", "tqdm", "scipy", "matplotlib")  # what every command may import


def _obstacle() -> str | None:
    if not (3, 11) <= sys.version_info[:2] < (3, 13):
        return f"is Python {sys.version_info[0]}.{sys.version_info[1]}; this kit needs 3.11 or 3.12"
    missing = [name for name in CORE if find_spec(name) is None]
    return f"has no package {missing[0]}" if missing else None


if find_spec("regenhance_data") is None:
    sys.path.append(str(ROOT))


def _on_error(kind: Any, error: BaseException, trace: Any) -> None:
    """One line where a script's imports find no memory; the process ends at once, without the libraries' threads."""
    from regenhance_data.errors import NO_MEMORY, lacks_memory

    if not lacks_memory(error):
        sys.__excepthook__(kind, error, trace)
        return
    print(f"{Path(sys.argv[0]).name}: error: {NO_MEMORY}", file=sys.stderr, flush=True)
    os._exit(2)


sys.excepthook = _on_error
if obstacle := _obstacle():
    setup = "" if (ROOT / ".venv").exists() else "run make setup, then "
    print(
        f"{Path(sys.argv[0]).name}: error: {sys.executable} {obstacle}; "
        f"{setup}use {ROOT / '.venv/bin/python'} {sys.argv[0]}",
        file=sys.stderr,
    )
    sys.exit(2)
if Path(sys.argv[0]).resolve().parent == Path(__file__).parent.resolve():  # not where another program imports a script
    from regenhance_data.signals import end_at_once_on_signals

    end_at_once_on_signals(Path(sys.argv[0]).name)
