"""Every config trains, and its exports of each precision say what Paddle says, at a size that nothing divides."""

import copy

import numpy as np
import pytest

from deploy import export_onnx
from deploy.artifacts.onnx import read_onnx
from deploy.backends.registry import load_predictor
from deploy.contract import PRECISIONS
from deploy.export import paddle as export_paddle
from deploy.export import parity
from deploy.export.tensorrt_check import problems
from regenhance_data.io.images import write_image
from regenhance_data.stages.make_seg_dataset import make_seg_dataset
from tests.support.commands import losses, paddleseg
from tests.support.files import ROOT, fill_dataset, noise

CONFIGS = sorted((ROOT / "paddleseg_configs").glob("*.yml"))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    # bins of adaptive pooling, strides and macroblocks: none divides 107 or 139
    made = fill_dataset(tmp_path_factory.mktemp("data"), {"a": 12}, height=107, width=139)
    # in another order, so that the test has no frames brighter than all that 8 bits are calibrated on
    frames = noise(12, 107, 139)
    for at, number in enumerate(np.random.default_rng(0).permutation(12)):
        write_image(made.root / "origin_images" / "a" / f"{at:06d}.png", frames[number])
    make_seg_dataset(made, gap=1)
    return made


def test_there_are_six_stock_sizes_and_one_of_the_kit():
    assert len(CONFIGS) == 7


@pytest.fixture
def converted_once(monkeypatch):
    """Paddle2ONNX, the longest part of an export, runs once: its network is the same in every precision."""
    convert, made = export_paddle.paddle_network_onnx, []

    def once(*args):
        if not made:
            made.append(convert(*args))
        return copy.deepcopy(made[0])

    monkeypatch.setattr(export_paddle, "paddle_network_onnx", once)


@pytest.mark.slow
@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_a_size_trains_and_its_exports_say_what_paddle_says(config, dataset, converted_once, tmp_path):
    where = ("--config", config, "--dataset_root", dataset.root, "--save_dir", tmp_path)
    assert paddleseg("train", *where, "--iters", 1, "--batch_size", 2, "--no_pretrained") == 0
    assert np.isfinite(losses(tmp_path)).all()
    words = [*where, "--model_path", tmp_path / "best_model" / "model.pdparams"]
    for precision in PRECISIONS:  # each is refused where it is not near enough
        export_onnx.main(export_onnx.make_parser().parse_args([str(w) for w in (*words, "--precision", precision)]))
        path = tmp_path / parity.file_name(config.stem, precision)
        assert load_predictor(path).predict(np.zeros((1, 107, 139, 3), np.uint8)).shape == (1, 7, 9)
        assert problems(read_onnx(path).model) == []
