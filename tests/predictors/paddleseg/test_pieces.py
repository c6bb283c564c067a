import os
import time

import numpy as np
import paddle
import pytest
import yaml
from paddleseg.cvlibs import manager

from regenhance_data.predictors.paddleseg import training
from regenhance_data.predictors.paddleseg.config import PredictorConfig
from regenhance_data.predictors.paddleseg.pieces import reason
from tests.support.commands import losses as logged_losses
from tests.support.commands import paddleseg
from tests.support.paddleseg_configs import LOSS_ARGUMENTS, write_config

KINDS = {  # what a loss gets, see TinyPixels
    "DetailAggregateLoss": "e",
    "EdgeAttentionLoss": "a",
    "KLLoss": "pp",
    "OhemEdgeAttentionLoss": "a",
    "PixelContrastCrossEntropyLoss": "s",
    "PointCrossEntropyLoss": "t",
    "SECrossEntropyLoss": "c",
}
REFUSED = {  # they are for other tasks: two classes, distillation, regression, masks of objects, macroblocks
    "DistillCrossEntropyLoss": "missing 1 required positional argument",
    "FocalLoss": "The channel of logit should be 2",
    "L1Loss": "L1Loss",
    "MSELoss": "MSELoss",
    "MacroblockLoss": "loss.types[0] (MacroblockLoss): logits of 70x93 are not one for each macroblock",
    "MaskFormerLoss": "MaskFormerLoss",
    "SemanticConnectivityLoss": "gives no gradient",
}


@pytest.fixture
def train(dataset, tmp_path):
    def run_training(config, *flags):
        where = ("--config", config, "--dataset_root", dataset.root, "--save_dir", tmp_path / "run")
        return paddleseg("train", *where, "--log_iters", 1, *flags)

    return run_training


@pytest.fixture
def refusal(train, tmp_path, capsys):
    """The one line of a training that is refused before its first iteration."""

    def refused_training(config, *flags):
        assert train(config, *flags) == 2
        said = capsys.readouterr()
        (line,) = [line for line in said.err.splitlines() if ": error: " in line]
        assert "Traceback" not in said.err
        assert "iter 1/" not in said.out
        assert not (tmp_path / "run").exists()
        assert config.name in line
        return line

    return refused_training


@pytest.mark.parametrize("name", sorted(manager.LOSSES.components_dict))
def test_each_loss_of_paddleseg_trains_or_is_refused_before_the_first_iteration(
    name, train, refusal, tmp_path, dataset
):
    loss = {"type": name, **LOSS_ARGUMENTS.get(name, {})}
    kinds = KINDS.get(name, "p")
    config = write_config(tmp_path / "loss.yml", [dict(loss) for _ in kinds], kinds)
    if name in REFUSED:
        assert REFUSED[name] in refusal(config)
    else:
        assert train(config) == 0
        assert np.isfinite(logged_losses(tmp_path / "run")).all()


def test_an_edge_loss_trains_on_the_edges_that_the_dataset_asks_for(train, refusal, tmp_path):
    edges = [{"type": "CrossEntropyLoss"}, {"type": "BCELoss", "weight": "dynamic", "edge_label": True}]
    assert "set train_dataset.edge to True" in refusal(write_config(tmp_path / "no.yml", edges, "pe"))
    assert train(write_config(tmp_path / "edges.yml", edges, "pe", train_dataset={"edge": True})) == 0


def test_a_loss_after_dice_still_ignores_what_is_ignored(tmp_path):
    config = PredictorConfig(
        write_config(tmp_path / "mixed.yml", [{"type": "MixedLoss", **LOSS_ARGUMENTS["MixedLoss"]}])
    )
    labels = paddle.full([1, 4, 4], 255, "int64")
    labels[:, 0] = 3
    config.build("loss")["types"][0].losses[0](paddle.rand([1, 10, 4, 4]), labels)
    assert (labels.numpy() == 255).sum() == 12


def normalize_then(*steps):
    return {"transforms": [{"type": "Normalize"}, *steps]}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"val_dataset": normalize_then({"type": "Resize", "target_size": [32, 32]})},
            "val_dataset.transforms make 32x32",
        ),
        ({"val_dataset": normalize_then({"type": "RandomCenterCrop", "retain_ratio": [0.5, 0.5]})}, "val_dataset"),
        (
            {"val_dataset": normalize_then({"type": "Padding", "target_size": [128, 128]})},
            "128x128 of a frame of 93x70",
        ),
        ({"train_dataset": normalize_then({"type": "RandomDistort"})}, "RandomDistort takes pixels from 0 to 255"),
        ({"train_dataset": normalize_then({"type": "RandomBlur", "prob": 1})}, "move Normalize to the end"),
        ({"train_dataset": normalize_then({"type": "ResizeStepScaling"})}, "frames of several sizes"),
        ({"train_dataset": normalize_then({"type": "RandomRotation"})}, "frames of several sizes"),
        ({"train_dataset": normalize_then({"type": "ScalePadding", "target_size": 3})}, "target_size"),
        ({"train_dataset": normalize_then({"type": "GenerateInstanceTargets", "num_classes": "x"})}, "transforms[1]"),
        ({"train_dataset": {"img_channels": 1}, "val_dataset": {"img_channels": 1}}, "img_channels"),
        ({"model": {"in_channels": 1}}, "model (TinyPixels): (InvalidArgument)"),
        ({"model": {"kinds": "ppp"}}, "3 outputs in training, the loss 1 types"),
        ({"loss": {"types": [{"type": "CrossEntropyLoss"}] * 2, "coef": [1, 1]}}, "1 outputs in training, the loss 2"),
        ({"loss": {"types": [{"type": "CrossEntropyLoss", "weight": [1.0, 2.0]}]}}, "The number of weights = 2"),
        (
            {"loss": {"types": [{"type": "BootstrappedCrossEntropyLoss", "min_K": 10**6, "loss_th": 1}]}},
            "loss.types[0]",
        ),
        ({"loss": {"types": [{"type": "DiceLoss", "weight": [1.0]}]}}, "DiceLoss"),
        ({"loss": {"types": [{"type": "KLLoss"}]}}, "loss: IndexError"),
        ({"optimizer": {"momentum": [0.9]}}, "optimizer (Momentum): TypeError"),
        ({"optimizer": {"weight_decay": {"rate": 0.1}}}, "optimizer"),
    ],
)
def test_what_a_piece_raises_when_it_is_used_is_one_line_with_the_configs_name(refusal, tmp_path, changes, says):
    assert says in refusal(write_config(tmp_path / "odd.yml", **changes))


@pytest.mark.parametrize(
    ("changes", "flags", "says"),
    [
        ({"batch_size": 8.0}, (), "batch_size is 8.0, expected a whole number of at least 1"),
        ({"iters": True}, (), "iters is True, expected"),
        ({"iters": None}, (), "iters is None, expected"),
        ({}, ("--opts", "batch_size=3.5"), "batch_size is 3.5, expected"),
        ({}, ("--opts", "iters=many"), "iters is 'many', expected"),
        ({}, ("--opts", "batch_size=0"), "batch_size is 0, expected"),
        ({"train_dataset": {"num_classes": 10.0}}, (), "num_classes is 10.0, expected a whole number of at least 2"),
        ({"model": {"type": "MbNano", "mb_size": 8.5}}, (), "model.mb_size is 8.5, expected"),
    ],
    ids=str,
)
def test_numbers_of_a_config_that_must_be_whole_are_refused_where_they_are_not(refusal, tmp_path, changes, flags, says):
    assert says in refusal(write_config(tmp_path / "odd.yml", **changes), *flags)


@manager.TRANSFORMS.add_component
class FailsLater:
    """Raises, or ends its process, in the frames with an odd seed."""

    def __init__(self, ends=False):
        self.ends, self.seen = ends, 0

    def __call__(self, data):
        self.seen += 1
        if self.seen > 12:  # after the trial
            if self.ends:
                os._exit(9)
            raise FloatingPointError("no such colour")
        return data


@pytest.mark.parametrize(("workers", "ends"), [(0, False), (2, False), (2, True)])
def test_a_transform_that_fails_in_a_thread_or_process_ends_the_command_in_one_line(
    train, tmp_path, capsys, workers, ends
):
    steps = {"transforms": [{"type": "Normalize"}, {"type": "FailsLater", "ends": ends}]}
    config = write_config(tmp_path / "later.yml", train_dataset=steps, iters=50)
    began = time.monotonic()
    assert train(config, "--num_workers", workers) == 2
    says = (
        "--num_workers" if ends else "later.yml: train_dataset.transforms[1] (FailsLater): FloatingPointError no such"
    )
    assert says in capsys.readouterr().err
    assert time.monotonic() - began < 30


def test_processes_prepare_the_batches_that_a_thread_does(train, dataset, tmp_path):
    config = write_config(
        tmp_path / "random.yml",
        train_dataset={
            "transforms": [{"type": "RandomHorizontalFlip"}, {"type": "RandomDistort"}, {"type": "Normalize"}]
        },
    )
    found = []
    for workers in (0, 2):
        assert train(config, "--num_workers", workers, "--iters", 4, "--overwrite") == 0
        found.append(logged_losses(tmp_path / "run"))
    assert found[0] == found[1]


def test_the_trial_leaves_the_training_as_it_would_be(dataset, tmp_path, monkeypatch):
    found = []
    for trial in (training.try_out, lambda *args: None):
        monkeypatch.setattr(training, "try_out", trial)
        run = tmp_path / str(len(found))
        flags = ("--dataset_root", dataset.root, "--save_dir", run, "--log_iters", 1, "--iters", 3, "--batch_size", 2)
        assert paddleseg("train", "--config", "paddleseg_configs/mb_nano.yml", *flags) == 0
        found.append(logged_losses(run))
    assert found[0] == found[1]


def test_a_batch_of_one_frame_may_have_any_size(train, tmp_path):
    steps = {"transforms": [{"type": "ResizeStepScaling"}, {"type": "Normalize"}]}
    assert train(write_config(tmp_path / "one.yml", train_dataset=steps), "--batch_size", 1, "--iters", 3) == 0


def test_a_schedule_that_watches_the_loss_gets_it(train, tmp_path):
    schedule = {"type": "ReduceOnPlateau", "learning_rate": 0.01}
    config = write_config(tmp_path / "plateau.yml")
    config.write_text(yaml.safe_dump({**yaml.safe_load(config.read_text()), "lr_scheduler": schedule}))
    assert train(config) == 0


def test_reasons_keep_what_matters_of_paddles_messages():
    stack = "C++ Traceback\n0 paddle::x()\n----------------------\nError Message Summary:\n----------------------\n"
    assert (
        reason(RuntimeError(stack + "InvalidArgumentError: wrong (at /paddle/x.cc:3)")) == "InvalidArgumentError: wrong"
    )
    assert reason(KeyError("edge")) == "KeyError 'edge'"
    assert reason(AssertionError()) == "AssertionError"
