"""Commands outside the project's environment."""

import subprocess
import sys

import pytest

from tests.support.files import ROOT

SCRIPTS = sorted(
    str(path.relative_to(ROOT))
    for folder in ("tools", "deploy")
    for path in (ROOT / folder).glob("*.py")
    if "cli.run(" in path.read_text()
)


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_python_without_the_packages_is_refused_in_one_line(script):
    # -S: no site-packages, as a Python that nothing was installed for
    done = subprocess.run([sys.executable, "-S", "-E", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "has no package numpy" in done.stderr
    assert f".venv/bin/python {script}" in done.stderr


def test_a_command_runs_from_any_folder(tmp_path):
    done = subprocess.run(
        [sys.executable, ROOT / "tools/evaluate.py", "--help"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
