import json

import pytest

WRONG = [
    ("", "accepted", ""),
    ("import sys; sys.exit('x.py: error: nothing there')", "failed", "exit 1"),
    ("import sys; print('x.py: error: nothing there', file=sys.stderr); sys.exit(2)", "refused", "nothing there"),
    ("import sys; print('x.py: error: one\\nand two', file=sys.stderr); sys.exit(2)", "failed", "other words"),
    ("1 / 0", "failed", "ZeroDivisionError"),
    ("import os; os.abort()", "failed", "SIGABRT"),
    ("import time; time.sleep(60)", "failed", "more than 2 s"),
    ("open('ran', 'w')", "failed", "ran"),
    ("import os; os.makedirs('data'); open('data/a.png', 'wb').write(b'half')", "failed", "does not open"),
    ("import os; os.makedirs('data'); open('data/.writing-1-a.png', 'wb')", "failed", "left unfinished"),
]
JUDGE = """
import json, sys
from pathlib import Path
from tests import fuzz
sandbox, scripts = Path(sys.argv[1]), sorted(Path(sys.argv[1]).glob("*.py"))
fuzz.TARGETS = {path.stem: lambda rng, path=path: [path] for path in scripts}
fuzz.LIMIT_S = 2
(sandbox / "seeds").mkdir()
print(json.dumps(sorted(fuzz.outcomes(list(range(len(scripts))), 0, sandbox, 1))))
"""


@pytest.mark.slow
def test_no_damaged_or_hostile_file_breaks_a_command(run):
    said = run("tests/fuzz.py", "--inputs", 60).stdout
    assert "FAILED" not in said
    *_, inputs, accepted, refused, failed, _ = said.split()
    assert (int(inputs), int(failed)) == (60, 0)
    assert int(accepted) > 5
    assert int(refused) > 20


@pytest.fixture(scope="module")
def judged(run, tmp_path_factory):
    """(index, outcome, why, seconds) of each script of WRONG in the place of a command, judged in a fresh process."""
    sandbox = tmp_path_factory.mktemp("judged")
    for number, (script, _, _) in enumerate(WRONG):
        (sandbox / f"{number}.py").write_text(script)
    return json.loads(run("-c", JUDGE, sandbox).stdout)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(WRONG)))
def test_whatever_a_command_may_not_do_is_seen(judged, number):
    index, outcome, reason, _ = judged[number]
    script, expected, why = WRONG[number]
    assert (index, outcome) == (number, expected), f"{script}: {reason}"
    assert why in reason
