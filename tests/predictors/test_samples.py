import numpy as np
import pytest

from regenhance_data.dataset.importance_file import read_importance, write_importance
from regenhance_data.dataset.split import SPLITS
from regenhance_data.errors import InputError
from regenhance_data.predictors.samples import Samples
from regenhance_data.stages.make_seg_dataset import make_seg_dataset
from tests.support.files import fill_dataset


def test_labels_of_other_importance_are_refused(tmp_path):
    dataset = fill_dataset(tmp_path, {"cam": 24})
    make_seg_dataset(dataset, gap=2)
    assert len(Samples(dataset, "train", 10)) > 0
    path = dataset.importance_path("cam")
    maps, numbers = read_importance(path)
    write_importance(path, maps + np.float32(1), numbers)
    with pytest.raises(InputError, match=r"other importance than its labels .* run tools/make_seg_dataset\.py again"):
        Samples(dataset, "train", 10)
    write_importance(path, maps, numbers)
    listed = {frame for name in SPLITS for frame in dataset.split_frames(name)}
    dataset.path("origin_images", next(frame for frame in dataset.frames("cam") if frame not in listed)).unlink()
    assert len(Samples(dataset, "train", 10)) > 0  # a frame that no list has may go
    path.unlink()  # labels alone are enough for a training
    assert len(Samples(dataset, "train", 10)) > 0
