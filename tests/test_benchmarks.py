import shutil
import subprocess
import sys

from tests.support.files import ROOT


def test_a_benchmark_has_no_time_limit(tmp_path):
    folder = tmp_path / "benchmarks"
    folder.mkdir()
    shutil.copy(ROOT / "tests" / "benchmarks" / "conftest.py", folder)
    test = "import time\ndef test_slow():\n    time.sleep(1.5)\n"
    (folder / "test_slow.py").write_text(test)
    (tmp_path / "test_other.py").write_text(test)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "timeout=1", "-n", "0", tmp_path]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert "1 failed, 1 passed" in done.stdout
    assert "test_other.py::test_slow" in done.stdout
