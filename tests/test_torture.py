"""That a trial sees what it looks for, and a short one in which there is nothing to see."""

import re

import pytest

from tests import torture
from tests.support import works

TELLS = "import sys; print('x.py: error: no', file=sys.stderr); sys.exit(2)"
CHILD = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])"


@pytest.mark.slow
def test_no_interruption_loses_or_leaves_anything(run):
    said = run(
        "tests/torture.py", "--works", "extract", "--rounds", 6, "--kinds", *list(torture.KINDS)[:2], "disk"
    ).stdout
    assert "held" in said
    counts = dict(re.findall(r"^([a-z -]+?) +(\d+)$", said, re.MULTILINE))
    assert {what: counts[what] for what in torture.WRONG} == dict.fromkeys(torture.WRONG, "0")
    assert int(counts["rounds"]) == 6
    assert int(counts["full disks"]) == 2


@pytest.mark.parametrize(
    ("script", "wrong"),
    [
        ("pass", None),
        (TELLS, None),
        (TELLS.replace("no", "no\\nand more"), "tracebacks"),
        ("print('\\x1b[2J', file=__import__('sys').stderr)", "tracebacks"),
        ("1 / 0", "tracebacks"),
        ("import os; os.abort()", "crashes"),
        ("import sys; sys.exit(1)", "crashes"),
        ("import time; time.sleep(60)", "hangs"),
        (CHILD, "orphans"),
    ],
)
def test_a_command_that_ends_badly_is_seen(tmp_path, monkeypatch, script, wrong):
    monkeypatch.setattr(works, "CHILDREN_S", 0.5)
    (tmp_path / "x.py").write_text(script)
    place = tmp_path / "place"
    place.mkdir()
    one = torture.Round("kill", "extract", None, None, place)
    one.judge(works.Running([tmp_path / "x.py"], place).end(2), 0, 2)
    assert {what for what in one.count if what != "rounds"} == ({wrong} if wrong else set())
