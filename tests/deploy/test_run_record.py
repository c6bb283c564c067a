import numpy as np
import pytest

from deploy.online.cameras import CameraFrame
from deploy.online.loop import EnhancedFrame, Round
from deploy.online.plan import Plan
from deploy.online.run_record import RunRecord
from regenhance_data.grid import MacroblockGrid


def test_a_record_says_how_much_of_the_run_each_thread_worked(monkeypatch):
    now = [50.0]
    monkeypatch.setattr("deploy.online.run_record.time.monotonic", lambda: now[0])
    record = RunRecord(Plan(), MacroblockGrid(32, 32), {})
    nothing, pixels = np.zeros((2, 2), bool), np.zeros((32, 32, 3), np.uint8)
    for number in range(2):
        frames = [CameraFrame(camera, number, 0.0, pixels, pixels) for camera in ("gate", "yard")]
        done = [EnhancedFrame(frame, np.zeros((2, 2)), nothing, nothing, pixels) for frame in frames]
        ms = {
            "read": 150,
            "predict": 50,
            "upsample": 10,
            "select": 20,
            "enhance": 300,
            "paste": 70,
            "detect": 200,
            "write": 0,
        }
        record.add(Round(frames, done, ms))
    now[0] += 1
    about = record.summary({}, False)
    assert about["busy"] == {"read": 0.3, "predict": 0.1, "enhance": 0.8, "detect": 0.4, "write": 0}
    assert about["stages"]["enhance"]["p50_ms"] == pytest.approx(150, rel=0.01)  # of one frame
