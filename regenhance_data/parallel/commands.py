"""Commands of the kit in processes of their own."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from regenhance_data.signals import end_command_with_the_parent


def program_of(root: Path, words: Sequence[str]) -> list[str]:
    """What a process runs for the words of a command: `paddleseg`, or a script relative to the kit's folder `root`."""
    command, *flags = words
    if command == "paddleseg":
        return [str(Path(sys.executable).with_name(command)), *flags]
    return [sys.executable, str(root / command), *flags]


def wait_for(program: Sequence[str], **how: Any) -> int:
    """Run a program, which ends with this process, and give its exit code. how: as subprocess.Popen takes it."""
    with subprocess.Popen(program, preexec_fn=end_command_with_the_parent, **how) as process:
        try:
            return process.wait()
        except KeyboardInterrupt:
            process.terminate()  # Ctrl-C reached it already, SIGTERM did not
            process.wait()
            raise
