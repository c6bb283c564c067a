import sys
from functools import partial
from pathlib import Path

import pytest

from regenhance_data.errors import InputError
from regenhance_data.many_clips.recipe import read_recipe, train_steps
from regenhance_data.many_clips.steps import Ledger, Step, run_command
from tests.support.files import ROOT

CONFIG = ROOT / "paddleseg_configs/mb_nano.yml"
LOCKED_ONCE = """import pathlib, sys
free = pathlib.Path(sys.argv[1])
if not free.exists():
    free.touch()
    sys.exit("make.py: error: D: another run is working there (process 1); wait for it, or stop it")
"""


def script(folder, text):
    (folder / "make.py").write_text(text)
    return partial(run_command, folder)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("print('frames'); sys.exit('make.py: error: a.mp4: is torn; give another')", "a.mp4: is torn; give another"),
        ("os.kill(os.getpid(), 9)", "ended with exit code -9; {log} has what it said"),
    ],
)
def test_a_command_that_fails_is_told_in_one_line(text, said, tmp_path):
    ledger = Ledger(tmp_path / "out", script(tmp_path, f"import os, sys; {text}"))
    with pytest.raises(InputError) as failed:
        ledger.run("gate", [Step("labels", ("make.py",), tmp_path / "made")])
    assert str(failed.value) == "labels: " + said.format(log=tmp_path / "out/logs/gate.txt")
    assert f"$ {sys.executable} {tmp_path}/make.py" in (tmp_path / "out/logs/gate.txt").read_text()


def test_a_command_whose_folder_a_killed_one_still_holds_is_tried_again(tmp_path):
    Ledger(tmp_path, script(tmp_path, LOCKED_ONCE)).run(
        "a", [Step("", ("make.py", f"{tmp_path}/free"), tmp_path / "m")]
    )
    assert (tmp_path / "logs/a.txt").read_text().count("$ ") == 2


def test_a_step_is_done_again_only_where_something_that_it_depends_on_has_changed(tmp_path):
    made = []

    def execute(words, log):
        made.append(words[0])
        (tmp_path / words[0]).touch()

    def run(video="v", flag="--x", content=""):
        Path(tmp_path / "video").write_text(video)
        first = Step("first", ("first", flag), tmp_path / "first", files=(tmp_path / "video",))
        second = Step("second", ("second",), tmp_path / "second", after=(first,), content=content)
        made.clear()
        Ledger(tmp_path, execute).run("a", [first, second])
        return made.copy()

    assert run() == ["first", "second"]
    assert run() == []
    assert run(video="another") == run() == run(flag="--y") == ["first", "second"]
    assert run(flag="--y", content="config") == ["second"]
    (tmp_path / "first").unlink()
    assert run(flag="--y", content="config") == ["first"]


@pytest.mark.parametrize("folder", ["plain", "lr=0.02"])
def test_a_recipe_knows_its_config_its_entries_and_the_files_that_it_reads(tmp_path, folder):
    (tmp_path := tmp_path / folder).mkdir()
    (weights := tmp_path / "w.pdparams").touch()
    (other := tmp_path / "other.yml").write_text(f"_base_: {CONFIG}\nbatch_size: 4\n")
    flags = f"--use_ema --opts model.pretrained={weights} model.width=8 --iters 3 --config {other}"
    recipe = read_recipe(f"wide: {flags}", CONFIG)
    assert (recipe.name, recipe.config, recipe.files) == ("wide", other, (weights,))
    assert recipe.opts == (f"model.pretrained={weights}", "model.width=8")
    assert recipe.content != read_recipe("", CONFIG).content
    trained = train_steps(recipe, "own", 1, tmp_path, ("train", "val"), tmp_path, tmp_path / "out", [])
    assert trained.train.words.count("--opts") == 1
    assert trained.train.words[-2:] == (
        f"train_dataset.train_path={tmp_path}/train.txt",
        f"val_dataset.val_path={tmp_path}/val.txt",
    )
    assert trained.export.makes == tmp_path / "out/other.onnx"
    assert trained.export.words[-3:] == ("--opts", *recipe.opts)
