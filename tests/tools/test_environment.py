"""Commands outside the project's environment."""

import signal
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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("script", "program"),
    [("tools/evaluate.py", "evaluate.py"), ("regenhance_data/predictors/paddleseg/command.py", "paddleseg")],
)
def test_a_signal_during_imports_is_one_line(script, program, number, tmp_path):
    (tmp_path / "numpy.py").write_text("import time; print('imports', flush=True); time.sleep(60)")
    code = (
        "import runpy, signal, sys\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"  # as in the foreground
    )
    code += f"sys.path[:0] = [{str(tmp_path)!r}, 'tools']; sys.argv = [{script!r}]\n"
    code += f"runpy.run_path({script!r}, run_name='__main__')"
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "imports\n"
        process.send_signal(number)
        assert process.stderr.read() == f"{program}: interrupted\n"
    assert process.returncode == 128 + number
