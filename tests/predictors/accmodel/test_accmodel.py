import json
import pickle
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torchvision

from deploy.backends.registry import CPU_BACKENDS, load_predictor
from deploy.export.accmodel import export_accmodel
from regenhance_data.dataset.folder import Dataset
from regenhance_data.dataset.importance_file import read_importance, write_importance
from regenhance_data.errors import InputError
from regenhance_data.grid import MacroblockGrid
from regenhance_data.io.images import write_image
from regenhance_data.predictors.accmodel import training
from regenhance_data.predictors.accmodel.checkpoint import load_accmodel, save_accmodel, start_from
from regenhance_data.predictors.accmodel.network import AccModel, AccNetwork
from regenhance_data.predictors.accmodel.settings import AccModelTrainSettings
from regenhance_data.predictors.accmodel.training import train
from regenhance_data.predictors.samples import Samples
from regenhance_data.stages.make_seg_dataset import make_seg_dataset
from tests.support.detectors import BLUE, RED, squares
from tests.support.files import content, encode, fill_dataset, noise
from tools import predict_importance, train_accmodel

HEIGHT, WIDTH = 70, 93
GRID = MacroblockGrid(HEIGHT, WIDTH)


def bright_dataset(root, frames: int = 16) -> Dataset:
    """A labelled dataset in which the bright macroblocks are the important ones."""
    dataset = fill_dataset(root, {"a": frames}, HEIGHT, WIDTH)
    grey = [dataset.read("origin_images", frame).mean(2) for frame in dataset.frames("a")]
    write_importance(dataset.importance_path("a"), GRID.mean(np.stack(grey)) ** 4, np.arange(frames))
    make_seg_dataset(dataset, gap=0)
    return dataset


def train_on(dataset: Dataset, save_dir, **settings):
    samples = [Samples(dataset, name, dataset.levels) for name in ("train", "val")]
    return train(*samples, AccModelTrainSettings(save_dir, batch_size=4, device="cpu", **settings))


def call(tool, *words: object) -> None:
    tool.main(tool.make_parser().parse_args([str(word) for word in words]))


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """Networks this small are no faster with more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("accmodel")
    dataset = bright_dataset(folder / "data")
    best = train_on(dataset, folder / "run", epochs=5)
    return SimpleNamespace(dataset=dataset, run=folder / "run", model=folder / "run" / "accmodel.pth", best=best)


@pytest.mark.parametrize("mb_size", [16, 8])
@pytest.mark.parametrize("size_hw", [(1, 1), (16, 200), (33, 17), (70, 93)])
def test_a_frame_of_any_size_gives_two_logits_a_macroblock(size_hw, mb_size):
    with torch.inference_mode():
        logits = AccModel(mb_size).eval()(torch.rand(2, 3, *size_hw))
    assert logits.shape == (2, 2, *MacroblockGrid(*size_hw, mb_size).shape)
    assert logits.isfinite().all()


def test_the_network_is_the_published_one():
    network = AccNetwork()
    assert network.process[0].num_features == 3700
    assert [(c.in_channels, c.out_channels) for c in network.process[1::3]] == [(3700, 16), (16, 16), (16, 2)]


def test_a_training_learns_and_leaves_its_best_epoch_and_its_log(made):
    log = json.loads((made.run / "train_log.json").read_text())
    assert [row["epoch"] for row in log] == [1, 2, 3, 4, 5]
    assert min(row["loss"] for row in log) < 0.9 * log[0]["loss"]
    assert made.best == max(log, key=lambda row: row["ranking"])
    assert {path.name for path in made.run.iterdir()} >= {"accmodel.pth", "train_log.json"}
    assert not list(made.run.glob(".writing-*"))


def test_by_default_a_tenth_of_the_training_macroblocks_are_worth_enhancing(made):
    training = Samples(made.dataset, "train", 10)
    importance = np.concatenate([cells.ravel() for cells in training.importance()])
    normalised = made.dataset.record.read_normaliser()(importance)
    assert (normalised > load_accmodel(made.model).threshold).mean() == pytest.approx(0.1, abs=0.01)


def test_an_earlier_model_is_kept_without_overwrite_and_until_an_epoch_is_done(made, tmp_path, monkeypatch):
    for name in ("accmodel.pth", "accmodel.onnx", "train_log.json"):
        (tmp_path / name).write_text("of an earlier training")
    before = content(tmp_path)
    with pytest.raises(InputError, match=r"accmodel\.pth: is of an earlier training; replace it with --overwrite"):
        train_on(made.dataset, tmp_path, epochs=1)
    with monkeypatch.context() as patched:
        patched.setattr(training, "save_accmodel", interrupted)
        with pytest.raises(KeyboardInterrupt, match="no epoch was finished"):
            train_on(made.dataset, tmp_path, epochs=1, overwrite=True)
    assert content(tmp_path) == before
    train_on(made.dataset, tmp_path, epochs=1, overwrite=True)
    changed = {name for name, after in content(tmp_path).items() if after != before[name]}
    assert changed == {"accmodel.pth", "train_log.json"}  # the export replaces the other


def interrupted(*_):
    raise KeyboardInterrupt


@pytest.mark.parametrize("epochs", [1, 2, 3])  # what is the same everywhere, 0 or 1, and what is made by rounding
def test_overlapping_lists_are_told_and_a_diverged_training_is_called_so(tmp_path, epochs, capsys):
    dataset = bright_dataset(tmp_path / "data")
    shutil.copy(dataset.root / "train.txt", dataset.root / "val.txt")
    words = ["--data", dataset.root, "--save_dir", tmp_path / "run", "--epochs", epochs, "--batch_size", 4]
    with pytest.raises(InputError, match=r"accmodel\.pth: the training has diverged: .* lower --learning_rate"):
        call(train_accmodel, *words, "--device", "cpu", "--learning_rate", 1)
    assert re.search(r"(\d+) of \1 validation frames are training frames too", capsys.readouterr().err)
    assert not (tmp_path / "run" / "accmodel.onnx").exists()


def test_one_seed_gives_one_model(made, tmp_path):
    for name in ("a", "b"):
        train_on(made.dataset, tmp_path / name, epochs=1, seed=3)
    first, second = (load_accmodel(tmp_path / name / "accmodel.pth").network.state_dict() for name in ("a", "b"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert (tmp_path / "a" / "train_log.json").read_bytes() == (tmp_path / "b" / "train_log.json").read_bytes()


def test_a_training_whose_warm_up_is_one_step_is_taken_to_its_end(tmp_path):
    dataset = bright_dataset(tmp_path / "data", 6)
    assert len(dataset.split_frames("train")) == 4  # one batch
    train_on(dataset, tmp_path / "run", epochs=5)
    assert len(json.loads((tmp_path / "run" / "train_log.json").read_text())) == 5


def test_frames_of_several_sizes_train_together(tmp_path):
    dataset = bright_dataset(tmp_path)
    write_image(dataset.root / "origin_images" / "b" / "000000.png", noise(1, 40, 50)[0])
    write_importance(dataset.importance_path("b"), np.ones((1, 3, 4)), np.arange(1))
    dataset = Dataset.open(tmp_path)
    make_seg_dataset(dataset, gap=0)
    assert {frame.clip for frame in dataset.split_frames("train")} == {"a", "b"}
    assert train_on(dataset, tmp_path / "run", epochs=1)["epoch"] == 1


def test_the_exported_graph_says_what_pytorch_says(made, tmp_path):
    model, path = load_accmodel(made.model), tmp_path / "accmodel.onnx"
    export_accmodel(model, made.dataset, path, made.model)
    report = json.loads(path.with_suffix(".parity.json").read_text())
    assert set(report["backends"]) == set(CPU_BACKENDS)
    frames = np.stack(noise(3, HEIGHT, WIDTH, seed=1))
    expected = model.importance(frames)
    assert np.ptp(expected) > 0.01
    for backend in CPU_BACKENDS:
        predictor = load_predictor(path, backend)
        np.testing.assert_allclose(predictor.predict(frames[..., ::-1]), expected, atol=1e-5)
    about = {"model": "accmodel", "head": "macroblock", "levels": "2", "mb_size": "16", "precision": "fp32"}
    assert about.items() <= predictor.metadata.items()


def test_a_video_of_any_size_gets_the_importance_of_every_frame(made, tmp_path, capsys):
    frames = noise(11, 50, 130)
    video = encode(tmp_path / "my camera.mp4", frames, pixel_format="yuv444p")
    call(predict_importance, "--model", made.model, "--video", video, "--save_dir", tmp_path)
    importance, numbers = read_importance(tmp_path / "my_camera.npz")
    assert importance.shape == (11, 4, 9)
    assert numbers.tolist() == list(range(11))
    assert 0 <= importance.min() < importance.max() <= 1
    assert "next: python deploy/trt_infer.py" in capsys.readouterr().out


def test_every_clip_of_a_dataset_gets_its_importance_under_the_frames_numbers(made, tmp_path):
    dataset = fill_dataset(tmp_path / "data", {"a": 5, "b": 2}, 40, 60)
    (dataset.root / "origin_images" / "a" / "000003.png").unlink()
    words = ["--model", made.model, "--data", dataset.root, "--batch_size", 3]
    call(predict_importance, *words, "--save_dir", tmp_path / "out")
    importance, numbers = read_importance(tmp_path / "out" / "a.npz")
    assert numbers.tolist() == [0, 1, 2, 4]
    frames = np.stack([dataset.read("origin_images", frame) for frame in dataset.frames("a")])
    np.testing.assert_allclose(importance, load_accmodel(made.model).importance(frames), atol=1e-5)
    assert read_importance(tmp_path / "out" / "b.npz")[0].shape == (2, 3, 4)
    with pytest.raises(InputError, match="give another --save_dir"):
        call(predict_importance, *words, "--save_dir", dataset.root / "importance")
    write_image(dataset.root / "origin_images" / "b" / "000001.png", noise(1, 40, 61)[0])
    with pytest.raises(InputError, match="b: its frames differ in size"):
        call(predict_importance, *words, "--save_dir", tmp_path / "out")


@pytest.mark.slow
def test_importance_and_labels_that_are_missing_are_made_first(run, detector_file, tmp_path):
    for number in range(14):
        clear = squares(100, 140, (32 + 4 * number, 48, tuple(np.array(RED) * 5 // 8)), (8, 16 + 2 * number, BLUE))
        write_image(tmp_path / "hr_images" / "a" / f"{number:06d}.png", clear)
        origin = clear.reshape(50, 2, 70, 2, 3).mean((1, 3)).astype(np.uint8)
        write_image(tmp_path / "origin_images" / "a" / f"{number:06d}.png", origin)
    dataset = Dataset.open(tmp_path)
    dataset.save(scale=2)
    write_importance(dataset.importance_path("a"), np.ones((14, 4, 5)), np.arange(14))
    make_seg_dataset(dataset, levels=5, gap=1)
    dataset.importance_path("a").unlink()
    words = ["--data", tmp_path, "--save_dir", tmp_path / "run", "--epochs", 1, "--batch_size", 4]
    with pytest.raises(InputError, match=r"a\.npz: is missing, and so is --detector to make it; give one of: builtin"):
        call(train_accmodel, *words)
    assert not (tmp_path / "run").exists()
    said = run("tools/train_accmodel.py", *words, "--detector", f"onnx:{detector_file}").stdout
    assert f"1 clips have none; made first, with onnx:{detector_file}" in said
    made_with = Dataset.open(tmp_path).record.content
    assert (made_with["levels"], made_with["split"]["gap"]) == (5, 1)
    assert load_predictor(tmp_path / "run" / "accmodel.onnx").input_hw == (50, 70)
    assert "next: python tools/evaluate.py" in said
    first = read_importance(dataset.importance_path("a"))[0]
    assert np.ptp(first) > 0
    # the detector that dataset.yaml knows now makes what is missing again
    dataset.importance_path("a").unlink()
    call(train_accmodel, *words, "--overwrite")
    np.testing.assert_array_equal(read_importance(dataset.importance_path("a"))[0], first)


def test_lists_that_are_missing_are_made_first(tmp_path, capsys):
    dataset = fill_dataset(tmp_path, {"a": 26}, 20, 20)
    call(train_accmodel, "--data", dataset.root, "--save_dir", tmp_path / "run", "--epochs", 1)
    assert "made with the defaults of tools/make_seg_dataset.py" in capsys.readouterr().out
    assert len(dataset.read_split("val")) == 1


def ssd_state() -> dict[str, torch.Tensor]:
    """Weights under the names of pytorch-ssd's MobileNetV2-SSD-lite, before it counted batches."""
    torch.manual_seed(1)
    network = AccNetwork()
    parts = {"base_net": network.features, "extras": network.extras, "classification_headers": network.heads}
    state = {
        f"{prefix}.{name}": tensor
        for prefix, part in parts.items()
        for name, tensor in part.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    return {**state, "regression_headers.0.0.weight": torch.zeros(576, 1, 3, 3)}


def test_weights_of_mobilenet_ssd_are_where_a_training_starts(tmp_path):
    state = ssd_state()
    torch.save(state, tmp_path / "mb2-ssd-lite.pth")
    network = AccNetwork()
    start_from(network, str(tmp_path / "mb2-ssd-lite.pth"))
    for name, part in (("base_net", "features"), ("extras", "extras"), ("classification_headers", "heads")):
        for key, tensor in network.get_submodule(part).state_dict().items():
            if not key.endswith("num_batches_tracked"):
                assert torch.equal(tensor, state[f"{name}.{key}"])
    for key, value, says in (
        ("extras.0.conv.0.0.weight", torch.zeros(256, 1280), "its extras is not MobileNetV2-SSD-lite's"),
        ("base_net.0.0.weight", torch.full((32, 3, 3, 3), torch.nan), "is NaN or infinite"),
        ("classification_headers.6.weight", torch.zeros(1), "its classification_headers is not"),
    ):
        torch.save({**state, key: value}, tmp_path / "other.pth")
        with pytest.raises(InputError, match=rf"other\.pth: .*{says}"):
            start_from(network, str(tmp_path / "other.pth"))
    with pytest.raises(InputError, match=r"absent\.pth: no such file; give imagenet or"):
        start_from(network, str(tmp_path / "absent.pth"))


def test_imagenet_weights_are_torchvisions(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # where nobody answers
    network = AccNetwork()
    with pytest.raises(InputError, match=r"--pretrained imagenet: https://\S+ cannot be downloaded"):
        start_from(network, "imagenet")
    published = torchvision.models.mobilenet_v2().state_dict()
    name = Path(torchvision.models.MobileNet_V2_Weights.IMAGENET1K_V1.url).name
    torch.save(published, tmp_path / "hub" / "checkpoints" / name)
    start_from(network, "imagenet")
    assert torch.equal(network.features.state_dict()["18.0.weight"], published["features.18.0.weight"])


class Evil:
    def __reduce__(self):
        return print, ("code ran",)


def test_what_is_no_model_is_refused(made, tmp_path, capsys):
    content = torch.load(made.model, weights_only=True)
    state = content["state"]
    name = "process.1.weight"
    others = {
        "strange": ({"model": torch.zeros(3)}, "is no AccModel of this kit"),
        "damaged": ({**content, "state": {**state, name: state[name] * torch.nan}}, f"{name} is NaN or infinite"),
        "narrow": ({**content, "state": {**state, name: state[name][:8]}}, "its weights are not AccModel's"),
        "half": ({**content, "state": dict(list(state.items())[:9])}, "its weights are not AccModel's"),
        "block": ({**content, "mb_size": 0}, "is no AccModel of this kit"),
        "list": ([1, 2], "holds a list"),
        "evil": (Evil(), "is not a checkpoint that can be read without running code"),
    }
    for stem, (value, says) in others.items():
        torch.save(value, tmp_path / f"{stem}.pth")
        with pytest.raises(InputError, match=rf"{stem}\.pth: .*{says}"):
            load_accmodel(tmp_path / f"{stem}.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Evil()))
    (tmp_path / "cut.pth").write_bytes(made.model.read_bytes()[:100_000])
    for stem in ("plain", "cut"):
        with pytest.raises(InputError, match=rf"{stem}\.pth: is not a checkpoint"):
            load_accmodel(tmp_path / f"{stem}.pth")
    with pytest.raises(InputError, match=r"absent\.pth: no such model"):
        load_accmodel(tmp_path / "absent.pth")
    assert "code ran" not in capsys.readouterr().out


def test_a_model_that_outputs_nan_is_refused(made, tmp_path):
    model = load_accmodel(made.model)
    model.network.features[0][1].running_var.fill_(-1)
    save_accmodel(model, tmp_path / "model.pth")
    with pytest.raises(InputError, match=r"--model outputs NaN"):
        load_accmodel(tmp_path / "model.pth").clip_importance(noise(2, 32, 32), "camera.mp4")


@pytest.mark.slow
def test_a_damaged_video_is_refused_in_one_line(refused, made, tmp_path):
    (tmp_path / "camera.mp4").write_bytes(b"\0" * 1000)
    words = ["--model", made.model, "--video", tmp_path / "camera.mp4", "--save_dir", tmp_path / "out"]
    assert "camera.mp4: not a video that can be read" in refused("tools/predict_importance.py", *words)
    assert not (tmp_path / "out").exists()


def test_a_training_that_diverges_is_told_and_leaves_no_model(made, tmp_path):
    # finite weights, whose sums are not
    torch.save({**ssd_state(), "base_net.0.0.weight": torch.full((32, 3, 3, 3), 3e38)}, tmp_path / "huge.pth")
    with pytest.raises(InputError, match="the loss is not finite in epoch 1; nothing was written"):
        train_on(made.dataset, tmp_path / "run", epochs=1, pretrained=str(tmp_path / "huge.pth"))
    assert not (tmp_path / "run" / "accmodel.pth").exists()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"epochs": 0}, "--epochs 0: expected at least 1"),
        ({"learning_rate": -1.0}, "--learning_rate -1.0: expected more than 0"),
        ({"learning_rate": float("nan")}, "--learning_rate nan"),
        ({"threshold": 1.0}, "--threshold 1.0: expected 0 or more, below 1"),
        ({"seed": -1}, "--seed -1"),
    ],
)
def test_settings_that_cannot_be_are_refused(made, tmp_path, settings, says):
    with pytest.raises(InputError, match=says):
        train_on(made.dataset, tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()


def test_validation_without_importance_chooses_the_last_epoch_and_says_so(tmp_path, capsys):
    dataset = bright_dataset(tmp_path / "data")
    maps = dataset.importance("a")
    changed = np.stack([one if number < 1 else np.zeros_like(one) for number, one in maps.items()])
    write_importance(dataset.importance_path("a"), changed, np.array(list(maps)))
    make_seg_dataset(dataset, gap=0)
    best = train_on(Dataset.open(tmp_path / "data"), tmp_path / "run", epochs=2)
    assert best["epoch"] == 2
    said = capsys.readouterr()
    assert "nothing can be ranked" in said.err
    assert "ranking" not in said.out


def test_labels_without_the_normaliser_of_their_importance_are_refused(tmp_path):
    dataset = bright_dataset(tmp_path)
    for normaliser, says in (({"kind": "cubic"}, "expected one of log"), ({"low": 1}, "normaliser is broken")):
        dataset.save(normaliser=normaliser)
        with pytest.raises(InputError, match=says):
            train_on(Dataset.open(tmp_path), tmp_path / "run")
    (tmp_path / "dataset.yaml").unlink()
    with pytest.raises(InputError, match=r"dataset\.yaml: has no normaliser; run tools/make_seg_dataset\.py"):
        train_on(Dataset.open(tmp_path), tmp_path / "run")


def test_importance_that_never_reaches_the_threshold_is_refused(tmp_path):
    dataset = fill_dataset(tmp_path, {"a": 6}, 20, 20)
    write_importance(dataset.importance_path("a"), np.full((6, 2, 2), 0.25), np.arange(6))
    make_seg_dataset(dataset, normalise="none", gap=0)
    for threshold, named in ((0.5, 0.5), (None, 0.25)):
        with pytest.raises(InputError, match=f"no macroblock of the training frames is above the threshold {named}"):
            train_on(dataset, tmp_path / "run", threshold=threshold)
