import re
import subprocess
import sys

from tests.support.files import ROOT


def test_doctor_tells_what_is_installed_and_how_to_get_the_rest(run):
    told = run("tools/doctor.py").stdout
    assert "numpy 1.26" in told
    assert "GPU" in told
    assert "tensorrt" in told
    assert re.search(r"^  (ok|other) +onnx 1\.17\.0$", told, re.MULTILINE)  # one line, though constraints.txt goes on
    assert told.splitlines()[-1] == "ready: make demo"


def test_doctor_runs_with_nothing_installed():
    # -S: no site-packages, as on a machine that has Python alone
    done = subprocess.run(
        [sys.executable, "-S", "-E", "tools/doctor.py"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "missing  paddlepaddle" in done.stdout
    verdict = done.stdout.splitlines()[-1]
    assert verdict.startswith("not ready: numpy and ")
    assert verdict.endswith(" more missing; run make setup")
