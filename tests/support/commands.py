"""Commands run in this process, and what they leave."""

import json
from pathlib import Path

import pytest


def paddleseg(*words: object) -> int:
    """Run the console command in this process (Paddle takes seconds to start); return its exit code."""
    from regenhance_data.predictors.paddleseg.command import main

    with pytest.raises(SystemExit) as left:
        main([str(word) for word in words])
    return left.value.code


def losses(folder: Path) -> list[float]:
    """The training loss of each logged iteration."""
    return [row["loss"] for row in json.loads((folder / "train_log.json").read_text()) if "loss" in row]
