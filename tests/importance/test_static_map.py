"""The mean importance of the training frames, for each clip."""

import numpy as np
import pytest

from regenhance_data.dataset.importance_file import write_importance
from regenhance_data.importance.static_map import static_maps
from tests.support.cameras import fill_cameras


@pytest.fixture
def cameras(tmp_path):
    """Cameras of one size, and `wide`; the importance of every macroblock of a frame is its number."""
    dataset = fill_cameras(tmp_path, {"gate": 4, "road": 4, "yard": 4, "wide": 2}, {"wide": (48, 80)})
    for clip in dataset.clips():
        numbers = np.arange(len(dataset.frames(clip)))
        maps = np.broadcast_to(numbers[:, None, None], (len(numbers), *dataset.grid(clip).shape))
        write_importance(dataset.importance_path(clip), maps.astype(np.float32), numbers)
    return dataset


def test_it_is_the_mean_over_training_frames_of_the_clip_else_of_the_other_clips(cameras, capsys):
    assert static_maps(cameras, ["gate"]) == {}
    cameras.write_split("train", [*cameras.frames("gate")[:2], *cameras.frames("road")[2:]])
    found = static_maps(cameras, ["gate", "road"])
    assert {clip: np.unique(cells).tolist() for clip, cells in found.items()} == {"gate": [0.5], "road": [2.5]}
    assert capsys.readouterr().out == ""
    borrowed = static_maps(cameras, ["gate", "yard"])
    assert np.unique(borrowed["yard"]).tolist() == [1.5]
    assert "yard has no training frame: its static map is the mean over 2 clips" in "".join(capsys.readouterr())
    assert static_maps(cameras, ["gate", "wide"]) == {}
