"""Commands run in this process, and what they leave."""

import importlib
import json
from collections.abc import Sequence
from pathlib import Path

import pytest


def paddleseg(*words: object) -> int:
    """Run the console command in this process (Paddle takes seconds to start); return its exit code."""
    from regenhance_data.predictors.paddleseg.command import main

    with pytest.raises(SystemExit) as left:
        main([str(word) for word in words])
    return left.value.code


def here(words: Sequence[str]) -> None:
    """Run a command of the kit in this process, where Paddle and PyTorch are loaded once."""
    script, *flags = words
    if script == "paddleseg":
        assert paddleseg(*flags) == 0
        return
    if script == "tools/make_importance.py":
        flags += ["--workers", "1"]  # a process that loads PyTorch is slow to begin
    if script == "deploy/benchmark.py":
        flags += ["--rounds", "1"]  # each row of a round is a process
    module = importlib.import_module(script.removesuffix(".py").replace("/", "."))
    module.main(module.make_parser().parse_args(flags))


def losses(folder: Path) -> list[float]:
    """The training loss of each logged iteration."""
    return [row["loss"] for row in json.loads((folder / "train_log.json").read_text()) if "loss" in row]
