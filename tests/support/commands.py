"""Commands run in this process, and what they leave."""

import json
from pathlib import Path
from unittest.mock import patch

import pytest

from regenhance_data import cli


def paddleseg(*words: object) -> int:
    """Run the console command in this process (Paddle takes seconds to start); return its exit code."""
    from regenhance_data.predictors.paddleseg.command import main

    # a command ends its process some seconds after a signal, and here that is the process of the tests
    with patch.object(cli, "_end_on_signals", lambda program: []), pytest.raises(SystemExit) as left:
        main([str(word) for word in words])
    return left.value.code


def losses(folder: Path) -> list[float]:
    """The training loss of each logged iteration."""
    return [row["loss"] for row in json.loads((folder / "train_log.json").read_text()) if "loss" in row]
