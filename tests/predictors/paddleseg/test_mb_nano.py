"""The kit's own network: from frames of any size to the grid of their macroblocks, how it learns, its way to ONNX."""

import json

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from deploy.backends.registry import load_predictor
from regenhance_data.dataset.folder import Dataset
from regenhance_data.dataset.importance_file import write_importance
from regenhance_data.dataset.levels import IGNORED_LEVEL
from regenhance_data.grid import MacroblockGrid
from regenhance_data.io.images import write_image
from regenhance_data.predictors.paddleseg import command
from regenhance_data.predictors.paddleseg.config import PredictorConfig
from regenhance_data.predictors.paddleseg.mb_nano import MacroblockLoss, MbNano
from regenhance_data.stages.make_seg_dataset import make_seg_dataset
from tests.support.files import ROOT, fill_dataset

CONFIG = ROOT / "paddleseg_configs" / "mb_nano.yml"


@given(st.integers(1, 70), st.integers(1, 70), st.sampled_from([8, 16, 32]))
def test_a_frame_of_any_size_gets_logits_for_each_macroblock(height, width, mb_size):
    network = MbNano(num_classes=10, mb_size=mb_size, width=8, depth=1)
    network.eval()
    (logits,) = network(paddle.rand([2, 3, height, width]))
    assert logits.shape == [2, 10, *MacroblockGrid(height, width, mb_size).shape]


def test_a_macroblock_size_it_cannot_do_is_refused():
    with pytest.raises(ValueError, match="mb_size is 12"):
        MbNano(num_classes=10, mb_size=12)


def level_maps(rows, cols, seed=0):
    return np.random.default_rng(seed).integers(0, 10, (2, rows, cols))


@given(st.integers(1, 70), st.integers(1, 70))
def test_the_loss_is_least_where_every_macroblock_has_its_level(height, width):
    grid = MacroblockGrid(height, width)
    levels = level_maps(*grid.shape)
    labels = paddle.to_tensor(grid.spread(levels))
    right = F.one_hot(paddle.to_tensor(levels), 10).transpose([0, 3, 1, 2]) * 40
    assert float(MacroblockLoss()(right, labels)) < 1e-3
    assert float(MacroblockLoss()(right.flip(1), labels)) > 1


def test_the_loss_prefers_the_level_beside_to_one_far_off_and_leaves_ignored_macroblocks_out():
    labels = paddle.full([1, 32, 32], 4, "int64")
    near, far = (F.one_hot(paddle.full([1, 2, 2], k, "int64"), 10).transpose([0, 3, 1, 2]) * 9.0 for k in (5, 9))
    assert float(MacroblockLoss()(near, labels)) < float(MacroblockLoss()(far, labels))
    assert float(MacroblockLoss(order=0)(near, labels)) == pytest.approx(float(MacroblockLoss(order=0)(far, labels)))
    labels[:, :16] = IGNORED_LEVEL
    mixed = paddle.concat([far[:, :, :1], near[:, :, 1:]], axis=2)
    assert float(MacroblockLoss()(mixed, labels)) == pytest.approx(float(MacroblockLoss()(near, labels)), rel=1e-4)


def test_the_loss_refuses_logits_of_pixels():
    with pytest.raises(ValueError, match="logits of 32x48 are not one for each macroblock"):
        MacroblockLoss()(paddle.rand([1, 10, 32, 48]), paddle.zeros([1, 32, 48], "int64"))


ALONE = {"types": [{"type": "MacroblockLoss"}], "coef": [1]}
MIXED = {
    "types": [{"type": "MixedLoss", "losses": [{"type": "MacroblockLoss", "mb_size": 32}], "coef": [1]}],
    "coef": [1],
}


@pytest.mark.parametrize("loss", [ALONE, MIXED], ids=["alone", "mixed"])
@pytest.mark.parametrize(("mb_size", "scale"), [(8, 1), (32, 1), (16, 0.5), (32, 0.5)])
def test_the_loss_of_a_config_reads_labels_where_the_network_of_its_model_has_macroblocks(
    tmp_path, loss, mb_size, scale
):
    path = tmp_path / "nano.yml"
    path.write_text(yaml.safe_dump({"_base_": str(CONFIG), "loss": {"_inherited_": False, **loss}}))
    config = PredictorConfig(path, scale, opts=[f"model.mb_size={mb_size}"])
    grid = MacroblockGrid(70, 93, int(mb_size * scale))
    levels = level_maps(*grid.shape)
    assert config.build("model")(paddle.rand([2, 3, 70, 93]))[0].shape == [2, 10, *grid.shape]
    right = F.one_hot(paddle.to_tensor(levels), 10).transpose([0, 3, 1, 2]) * 40
    (built,) = config.build("loss")["types"]
    assert float(paddle.to_tensor(built(right, paddle.to_tensor(grid.spread(levels)))).sum()) < 1e-3


@pytest.fixture(scope="module")
def trained(run, tmp_path_factory):
    """A dataset of 93x70 frames where what is bright is important, a network that learnt it, and its ONNX file."""
    folder = tmp_path_factory.mktemp("mb_nano")
    dataset = fill_dataset(folder / "data", {"a": 60})
    rng, grid = np.random.default_rng(1), MacroblockGrid(70, 93)
    importance = rng.random((60, *grid.shape)) ** 3
    for frame, cells in zip(dataset.frames("a"), importance, strict=True):
        image = grid.spread((cells * 255).astype(np.uint8))[..., None].repeat(3, axis=-1)
        write_image(dataset.path("origin_images", frame), np.ascontiguousarray(image))
    write_importance(dataset.importance_path("a"), importance, np.arange(60))
    make_seg_dataset(Dataset(dataset.root), gap=2)
    where = ["--config", CONFIG, "--dataset_root", dataset.root, "--save_dir", folder / "run"]
    words = ["train", *where, "--iters", 60, "--save_interval", 30, "--log_iters", 30]
    with pytest.raises(SystemExit) as left:
        command.main([str(word) for word in words])
    assert left.value.code == 0
    where += ["--model_path", folder / "run" / "best_model" / "model.pdparams"]
    run("deploy/export_onnx.py", *where)
    return dataset, folder / "run", where


@pytest.mark.slow
def test_it_learns_which_macroblocks_matter_in_seconds(trained):
    _, folder, _ = trained
    best = max(row["ranking"] for row in json.loads((folder / "train_log.json").read_text()) if "ranking" in row)
    assert best > 0.8


@pytest.mark.slow
def test_its_graph_says_what_it_says_in_every_runtime(trained):
    dataset, folder, _ = trained
    report = json.loads((folder / "mb_nano.parity.json").read_text())
    assert max(measured["max"] for measured in report["backends"].values()) < 1e-4
    importance = dataset.importance("a")
    frame = dataset.split_frames("test")[0]
    predicted = load_predictor(folder / "mb_nano.onnx").predict_one(dataset.read("origin_images", frame))
    assert predicted.shape == importance[frame.number].shape == (5, 6)
    assert np.corrcoef(predicted.ravel(), importance[frame.number].ravel())[0, 1] > 0.8


@pytest.mark.slow
def test_it_has_no_pixels_to_export(trained, refused, tmp_path):
    _, _, where = trained
    where = [tmp_path if word == trained[1] else word for word in where]
    assert "export it with --head macroblock" in refused("deploy/export_onnx.py", *where, "--head", "pixels")
    assert not list(tmp_path.iterdir())


def test_it_is_small():
    assert sum(parameter.size for parameter in PredictorConfig(CONFIG).build("model").parameters()) < 100_000
