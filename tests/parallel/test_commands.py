"""Commands of the kit in processes of their own."""

import subprocess

import pytest

from regenhance_data.parallel.commands import program_of, wait_for
from tests.support.files import ROOT


@pytest.mark.parametrize("command", ["paddleseg", "tools/render_scene.py"])
def test_a_command_runs_and_its_exit_code_is_given(command, tmp_path):
    with open(tmp_path / "said", "w") as said:
        assert wait_for(program_of(ROOT, [command, "--help"]), stdout=said, stderr=subprocess.STDOUT) == 0
        assert wait_for(program_of(ROOT, [command, "--no_such_flag"]), stdout=said, stderr=subprocess.STDOUT) == 2
    assert "usage: " in (tmp_path / "said").read_text()
