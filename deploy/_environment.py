"""The first import of every script: one line, not a traceback, where Python or its packages are not the kit's.

deploy/_environment.py is a link to this file: `python deploy/x.py` finds only what lies beside x.py.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CORE = ("numpy", "cv2", "av", "yaml", "PIL", "tqdm", "scipy", "matplotlib")  # what every command may import


def _obstacle() -> str | None:
    if not (3, 11) <= sys.version_info[:2] < (3, 13):
        return f"is Python {sys.version_info[0]}.{sys.version_info[1]}; this kit needs 3.11 or 3.12"
    missing = [name for name in CORE if find_spec(name) is None]
    return f"has no package {missing[0]}" if missing else None


if find_spec("regenhance_data") is None:
    sys.path.append(str(ROOT))
if obstacle := _obstacle():
    setup = "" if (ROOT / ".venv").exists() else "run make setup, then "
    print(
        f"{Path(sys.argv[0]).name}: error: {sys.executable} {obstacle}; "
        f"{setup}use {ROOT / '.venv/bin/python'} {sys.argv[0]}",
        file=sys.stderr,
    )
    sys.exit(2)
