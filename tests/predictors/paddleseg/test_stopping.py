import signal
import subprocess
import sys
import time

import pytest

from tests.support.files import ROOT
from tests.support.paddleseg_configs import write_config

# its seventeenth frame, after the trial and two iterations, never comes
WAITS = """
import sys, time
from paddleseg.cvlibs import manager
import tests.support.paddleseg_configs

@manager.TRANSFORMS.add_component
class Waits:
    seen = 0

    def __call__(self, data):
        Waits.seen += 1
        if Waits.seen > 16:
            print("waits", flush=True)
            time.sleep(600)
        return data

from regenhance_data.predictors.paddleseg.command import main
main(sys.argv[1:])
"""

RECEIVES = """
import signal
from regenhance_data.predictors.paddleseg.paddle_import import import_paddle

signal.signal(signal.SIGTERM, lambda number, frame: print("received", signal.Signals(number).name))
import_paddle()
signal.raise_signal(signal.SIGTERM)
"""


@pytest.mark.slow
def test_a_training_that_waits_ends_within_five_seconds_and_names_what_was_kept(dataset, tmp_path):
    """After Ctrl-C; test_training.py sends SIGTERM."""
    (tmp_path / "waits.py").write_text(WAITS)
    config = write_config(
        tmp_path / "waits.yml", iters=50, train_dataset={"transforms": [{"type": "Normalize"}, {"type": "Waits"}]}
    )
    words = ["train", "--config", config, "--dataset_root", dataset.root, "--save_dir", tmp_path / "run"]
    words = [sys.executable, tmp_path / "waits.py", *words, "--save_interval", 1]
    process = subprocess.Popen(
        [str(word) for word in words], cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        for line in process.stdout:
            if "waits" in line:
                break
        time.sleep(1)  # iterations that have their frames are finished
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    finally:
        process.kill()
    assert time.monotonic() - began < 5
    assert process.returncode == 128 + signal.SIGINT
    kept = sorted((tmp_path / "run").glob("iter_*"))[-1]
    assert f"stopped in the middle of an iteration; to resume, give the same command with --resume_model {kept}" in said


def test_importing_paddle_leaves_the_signals_to_whom_they_were():
    """In a process of its own: in this one Paddle is imported already."""
    result = subprocess.run([sys.executable, "-c", RECEIVES], cwd=ROOT, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (0, "received SIGTERM\n"), result.stderr
