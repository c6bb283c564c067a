"""The table of predictor networks: its rows, and a network added from outside."""

import sys

import numpy as np
import pytest
import yaml
from paddleseg.cvlibs import manager

from deploy import export_onnx
from deploy.backends.registry import load_predictor
from regenhance_data.predictors.paddleseg.config import PredictorConfig
from regenhance_data.predictors.paddleseg.networks import NETWORKS, PredictorNetwork
from tests.support.commands import paddleseg
from tests.support.files import ROOT

CONFIGS = ROOT / "paddleseg_configs"


def test_every_config_has_its_row():
    assert sorted(path.stem for path in CONFIGS.glob("*.yml")) == sorted(NETWORKS)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_row_describes_the_network_of_its_config(name):
    row, config = NETWORKS[name], PredictorConfig(CONFIGS / f"{name}.yml")
    assert config.seg.dic["model"]["type"] == row.model_type
    assert config.is_on_grid == row.is_on_grid
    assert sum(parameter.size for parameter in config.build("model").parameters()) == row.parameters
    is_stock = manager.MODELS.components_dict[row.model_type].__module__.startswith("paddleseg.")
    assert is_stock == (row.module is None)
    assert set(row.grid_losses) <= manager.LOSSES.components_dict.keys()


OWN_NETWORK = '''
import paddle
from paddleseg.cvlibs import manager


@manager.MODELS.add_component
class MeanColour(paddle.nn.Layer):
    """Logits from the mean colour of each macroblock."""

    def __init__(self, num_classes, mb_size=16):
        super().__init__()
        self.pool = paddle.nn.AvgPool2D(mb_size, ceil_mode=True)
        self.head = paddle.nn.Conv2D(3, num_classes, 1)

    def forward(self, x):
        return [self.head(self.pool(x))]


@manager.LOSSES.add_component
class CornerLoss(paddle.nn.Layer):
    """Cross-entropy with the level of each macroblock's first pixel."""

    def __init__(self, mb_size=16, ignore_index=255):
        super().__init__()
        self.mb_size, self.ignore_index = mb_size, ignore_index

    def forward(self, logits, labels, semantic_weights=None):
        labels = labels[:, :: self.mb_size, :: self.mb_size]
        return paddle.nn.functional.cross_entropy(logits, labels, axis=1, ignore_index=self.ignore_index)
'''


@pytest.fixture
def own_network(tmp_path, monkeypatch):
    """The config of a network that only a row of the table makes known; PaddleSeg forgets it after the test."""
    (tmp_path / "own_network.py").write_text(OWN_NETWORK)
    monkeypatch.syspath_prepend(tmp_path)
    for registry in (manager.MODELS, manager.LOSSES):
        monkeypatch.setattr(registry, "_components_dict", dict(registry.components_dict))
    row = PredictorNetwork("MeanColour", 40, is_on_grid=True, grid_losses=("CornerLoss",), module="own_network")
    monkeypatch.setitem(NETWORKS, "mean_colour", row)
    config = {
        "_base_": str(CONFIGS / "mb_nano.yml"),
        "model": {"_inherited_": False, "type": "MeanColour", "num_classes": 10},
        "loss": {"_inherited_": False, "types": [{"type": "CornerLoss"}], "coef": [1]},
    }
    path = tmp_path / "mean_colour.yml"
    path.write_text(yaml.safe_dump(config))
    yield path
    sys.modules.pop("own_network", None)


@pytest.mark.parametrize("scale", [1, 0.5])
def test_a_network_from_outside_needs_nothing_but_its_row(own_network, dataset, tmp_path, scale):
    where = ("--config", own_network, "--dataset_root", dataset.root, "--save_dir", tmp_path)
    assert paddleseg("train", *where, "--iters", 2, "--batch_size", 2, "--input_scale", scale) == 0
    words = (*where, "--model_path", tmp_path / "best_model" / "model.pdparams")
    export_onnx.main(export_onnx.make_parser().parse_args([str(word) for word in words]))
    frame = dataset.read("origin_images", dataset.split_frames("test")[0])
    importance = load_predictor(tmp_path / "mean_colour.onnx").predict_one(frame)
    assert importance.shape == (5, 6)
    assert np.isfinite(importance).all()
