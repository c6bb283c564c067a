from pathlib import Path

import fuzz
import pytest


def test_no_damaged_or_hostile_file_breaks_a_command(run):
    said = run("tests/fuzz.py", "--inputs", 60).stdout
    assert "FAILED" not in said
    *_, inputs, accepted, refused, failed, _ = said.split()
    assert (int(inputs), int(failed)) == (60, 0)
    assert int(accepted) > 5
    assert int(refused) > 20


@pytest.mark.parametrize(
    ("script", "outcome", "why"),
    [
        ("", "accepted", ""),
        ("import sys; sys.exit('x.py: error: nothing there')", "failed", "exit 1"),
        ("import sys; print('x.py: error: nothing there', file=sys.stderr); sys.exit(2)", "refused", "nothing there"),
        ("import sys; print('x.py: error: one\\nand two', file=sys.stderr); sys.exit(2)", "failed", "other words"),
        ("1 / 0", "failed", "ZeroDivisionError"),
        ("import os; os.abort()", "failed", "SIGABRT"),
        ("import time; time.sleep(60)", "failed", "more than 1 s"),
        ("open('ran', 'w')", "failed", "ran"),
        ("import os; os.makedirs('data'); open('data/a.png', 'wb').write(b'half')", "failed", "does not open"),
        ("import os; os.makedirs('data'); open('data/.writing-1-a.png', 'wb')", "failed", "left unfinished"),
    ],
)
def test_whatever_a_command_may_not_do_is_seen(tmp_path, monkeypatch, script, outcome, why):
    path = tmp_path / "x.py"
    path.write_text(script)
    monkeypatch.setattr(fuzz, "TARGETS", {"x": lambda rng: [path]})
    monkeypatch.setattr(fuzz, "LIMIT_S", 1)
    Path(tmp_path, "seeds").mkdir()
    ((index, found, reason, _),) = fuzz.outcomes([7], 0, tmp_path, 1)
    assert (index, found) == (7, outcome), reason
    assert why in reason
