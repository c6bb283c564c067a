import json
import os
import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from paddleseg.cvlibs import Config, manager
from PIL import Image

from regenhance_data.dataset.folder import Dataset
from regenhance_data.predictors.paddleseg.checkpoints import read_paddle_state
from regenhance_data.stages.make_seg_dataset import make_seg_dataset
from tests.support.commands import paddleseg
from tests.support.files import ROOT, fill_dataset
from tests.support.upscalers import write_repeating

CONFIGS = sorted(path for path in (ROOT / "paddleseg_configs").glob("*.yml") if path.stem != "mb_nano")
TINY = ROOT / "paddleseg_configs" / "pp_mobileseg_tiny.yml"
MB_NANO = ROOT / "paddleseg_configs" / "mb_nano.yml"
SHORT = ("--iters", 4, "--save_interval", 2, "--log_iters", 1, "--batch_size", 2, "--no_pretrained")


@pytest.fixture
def refusal(capsys):
    def refused_command(*words):
        assert paddleseg(*words) == 2
        lines = [line for line in capsys.readouterr().err.splitlines() if ": error: " in line]
        assert len(lines) == 1
        return lines[0]

    return refused_command


@pytest.fixture
def copy(dataset, tmp_path):
    """The dataset, to be broken."""
    return Path(shutil.copytree(dataset.root, tmp_path / "copy"))


@pytest.fixture(scope="module")
def trained(run, dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    flags = ("--config", TINY, "--dataset_root", dataset.root, "--save_dir", folder)
    return folder, run("paddleseg", "train", *flags, *SHORT).stdout


def test_training_leaves_checkpoints_the_best_model_and_a_log(trained):
    folder, said = trained
    for checkpoint in ("iter_2", "iter_4"):
        assert (folder / checkpoint / "model.pdparams").is_file()
        assert (folder / checkpoint / "model.pdopt").is_file()
    log = json.loads((folder / "train_log.json").read_text())
    assert [row["iter"] for row in log if "loss" in row] == [1, 2, 3, 4]
    assert {"iter", "spearman", "recall_at_0.1", "miou"} <= log[-1].keys()
    assert f"{folder}/best_model/model.pdparams" in said
    assert "deploy/export_onnx.py" in said


def test_validation_repeats_what_training_said_of_its_best_checkpoint(trained, dataset, tmp_path):
    folder, _ = trained
    model = folder / "best_model" / "model.pdparams"
    where = ("--dataset_root", dataset.root, "--save_dir", tmp_path)
    assert paddleseg("val", "--config", TINY, *where, "--model_path", model) == 0
    result = json.loads((tmp_path / "val.json").read_text())
    rows = [row for row in json.loads((folder / "train_log.json").read_text()) if "spearman" in row]
    best = max(rows, key=lambda row: row["ranking"])
    assert result["ranking"] == pytest.approx(best["ranking"], abs=1e-6)


def test_a_resumed_training_ends_where_the_uninterrupted_one_did(trained, dataset, tmp_path):
    folder, _ = trained
    flags = ("--config", TINY, "--dataset_root", dataset.root, "--save_dir", tmp_path)
    assert paddleseg("train", *flags, *SHORT, "--resume_model", folder / "iter_2") == 0
    whole, resumed = (read_paddle_state(f / "iter_4" / "model.pdparams") for f in (folder, tmp_path))
    for name, value in whole.items():
        if isinstance(value, np.ndarray):
            np.testing.assert_allclose(value, resumed[name], atol=1e-5, err_msg=name)
    logs = [json.loads((f / "train_log.json").read_text()) for f in (folder, tmp_path)]
    for row, again in zip(*logs, strict=True):
        assert {key: again[key] for key in ("iter", "loss", "ranking") if key in row} == pytest.approx(
            {key: row[key] for key in ("iter", "loss", "ranking") if key in row}, abs=1e-4
        )
    best, best_again = (read_paddle_state(f / "best_model" / "model.pdparams") for f in (folder, tmp_path))
    name = next(key for key, value in best.items() if isinstance(value, np.ndarray))
    np.testing.assert_allclose(best[name], best_again[name], atol=1e-5)


@pytest.mark.slow
def test_an_average_of_the_weights_is_kept_and_goes_on_where_it_was(run, dataset, tmp_path):
    flags = ("--config", MB_NANO, "--dataset_root", dataset.root, *SHORT, "--use_ema")
    run("paddleseg", "train", *flags, "--save_dir", tmp_path / "whole")
    run("paddleseg", "train", *flags, "--save_dir", tmp_path / "on", "--resume_model", tmp_path / "whole" / "iter_2")
    averages = [read_paddle_state(tmp_path / run / "iter_4" / "model.pdema") for run in ("whole", "on")]
    now = read_paddle_state(tmp_path / "whole" / "iter_4" / "model.pdparams")
    name = "head.weight"
    np.testing.assert_allclose(averages[0][name], averages[1][name], atol=1e-5)
    assert np.abs(averages[0][name] - now[name]).max() > 1e-4
    best = read_paddle_state(tmp_path / "whole" / "best_model" / "model.pdparams")
    checkpoints = [read_paddle_state(tmp_path / "whole" / f"iter_{n}" / "model.pdema")[name] for n in (2, 4)]
    assert any(np.array_equal(best[name], checkpoint) for checkpoint in checkpoints)


def test_a_training_from_the_beginning_leaves_nothing_of_an_earlier_one(trained, dataset, tmp_path):
    shutil.copytree(trained[0], tmp_path / "run")
    flags = ("--config", TINY, "--dataset_root", dataset.root, "--save_dir", tmp_path / "run", "--batch_size", 2)
    assert paddleseg("train", *flags, "--iters", 1, "--no_pretrained", "--overwrite") == 0
    assert sorted(path.name for path in (tmp_path / "run").glob("iter_*")) == ["iter_1"]
    best, last = ((tmp_path / "run" / name / "model.pdparams").read_bytes() for name in ("best_model", "iter_1"))
    assert best == last


def test_frames_of_several_sizes_train_together(tmp_path):
    mixed = fill_dataset(tmp_path / "data", {"a": 12})
    fill_dataset(tmp_path / "data", {"b": 12}, height=64, width=48)
    make_seg_dataset(mixed, gap=1)
    flags = ("--config", TINY, "--dataset_root", mixed.root, "--save_dir", tmp_path / "run", "--batch_size", 3)
    assert paddleseg("train", *flags, "--iters", 2, "--num_workers", 0, "--no_pretrained") == 0


def test_a_dataset_without_yaml_is_allowed_and_told(copy, trained, tmp_path, capsys):
    (copy / "dataset.yaml").unlink()
    flags = ("--dataset_root", copy, "--save_dir", tmp_path, "--model_path", trained[0] / "iter_4" / "model.pdparams")
    assert paddleseg("val", "--config", TINY, *flags) == 0
    assert "no dataset.yaml" in capsys.readouterr().err


def test_without_importance_files_the_labels_are_the_truth(copy, trained, tmp_path):
    shutil.rmtree(copy / "importance")
    flags = ("--dataset_root", copy, "--save_dir", tmp_path, "--model_path", trained[0] / "iter_4" / "model.pdparams")
    assert paddleseg("val", "--config", TINY, *flags) == 0
    assert json.loads((tmp_path / "val.json").read_text())["frames"] > 0


def test_a_loss_that_diverges_stops_the_training_with_one_line(dataset, tmp_path, refusal):
    flags = ("--config", TINY, "--dataset_root", dataset.root, "--save_dir", tmp_path)
    assert "lower --learning_rate" in refusal("train", *flags, *SHORT, "--learning_rate", 1e30)


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def broken_states(folder, good):
    name = next(iter(good))
    return {
        "Evil": {**good, name: Evil(folder / "owned")},
        "other shape": {**good, name: np.zeros((2, 2), np.float32)},
        "not an array": {**good, name: "weights"},
        "a missing weight": {key: value for key, value in good.items() if key != name},
        "one too many": {**good, "unexpected": np.zeros(1, np.float32)},
        "NaN": {**good, name: np.full_like(good[name], np.nan)},
        "a list": [1, 2],
    }


def test_checkpoints_that_run_code_or_do_not_fit_are_refused(trained, dataset, tmp_path, refusal):
    good = read_paddle_state(trained[0] / "iter_4" / "model.pdparams")
    path = tmp_path / "model.pdparams"
    flags = ("--config", TINY, "--dataset_root", dataset.root, "--save_dir", tmp_path, "--model_path", path)
    for what, state in broken_states(tmp_path, good).items():
        path.write_bytes(pickle.dumps(state))
        assert "model.pdparams" in refusal("val", *flags), what
    path.write_bytes(pickle.dumps(good)[:-9])
    assert "is not a Paddle checkpoint (" in refusal("val", *flags)
    path.unlink()
    assert "no such file" in refusal("val", *flags)
    assert not (tmp_path / "owned").exists()


def test_a_file_of_another_kind_is_called_what_it_is(dataset, tmp_path, refusal):
    path = tmp_path / "iter_1" / "model.pdparams"
    path.parent.mkdir()
    about = ("--config", MB_NANO, "--dataset_root", dataset.root, "--save_dir", tmp_path)
    torch.save({"a": torch.zeros(2)}, tmp_path / "a.pth")
    contents = {
        "an ONNX file": write_repeating(tmp_path / "a.onnx").read_bytes(),
        "a PyTorch file": (tmp_path / "a.pth").read_bytes(),
        "a text": b"iters: 4\n",
    }
    for kind, content in contents.items():
        path.write_bytes(content)
        said = f"model.pdparams: is {kind}, not a Paddle checkpoint; expected .*best_model/model.pdparams$"
        assert re.search(said, refusal("val", *about, "--model_path", path))
    assert re.search("is a text,", refusal("train", *about, "--resume_model", path.parent))
    assert re.search("is a text,", refusal("predict", *about, "--model_path", path, "--image_path", dataset.root))


def test_a_missing_file_is_refused_with_those_that_are_there(tmp_path, refusal):
    line = refusal("val", "--config", ROOT / "paddleseg_configs" / "nano.yml", "--model_path", "x")
    assert re.search(r"nano.yml: no such file; .*paddleseg_configs has mb_nano.yml, .*pp_liteseg_stdc1.yml", line)
    for name in ("one.pdparams", "two.pdparams", "other.onnx"):
        (tmp_path / name).touch()
    line = refusal("val", "--config", MB_NANO, "--model_path", tmp_path / "tow.pdparams")
    assert f"tow.pdparams: no such file; {tmp_path} has two.pdparams, one.pdparams; train" in line
    line = refusal("val", "--config", MB_NANO, "--model_path", tmp_path)
    assert f"{tmp_path}: is a folder, not weights; give the file" in line


def test_predictions_are_of_pictures_and_a_video_is_told_what_to_run(tmp_path, refusal):
    about = ("--config", MB_NANO, "--model_path", MB_NANO, "--save_dir", tmp_path)
    (tmp_path / "a.mp4").touch()
    line = refusal("predict", *about, "--image_path", tmp_path / "a.mp4")
    assert "a.mp4: is not a picture" in line
    assert "tools/extract.py" in line


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--config", "absent.yml"), "absent.yml: no such file"),
        (("--config", "README.txt"), "a config is a .yml file"),
        (("--iters", "0"), "--iters 0"),
        (("--accumulate_steps", "0"), "--accumulate_steps 0"),
        (("--early_stop_intervals", "0"), "--early_stop_intervals 0"),
        (("--precision", "fp16"), "needs --device gpu"),
        (("--input_scale", "0.4"), "--input_scale 0.4"),
        (("--config", MB_NANO, "--input_scale", "0.03125"), "macroblocks of 16 pixels are cut"),
        (("--opts", "model.type=NoSuchNetwork"), "NoSuchNetwork"),
        (("--opts", "model.num_classes=7"), "num_classes"),
        (("--opts", "train_dataset.type=Cityscapes"), "Cityscapes"),
        (("--opts", "nonsense"), "key=value"),
        (("--resume_model", "elsewhere"), "iter_N"),
        (("--resume_model", "absent/iter_1"), "absent/iter_1: has no model.pdparams"),
        (("--dataset_root", "absent"), "absent: no frames"),
    ],
)
def test_bad_usage_is_refused_in_one_line(dataset, tmp_path, refusal, flags, says):
    standard = ("--config", TINY, "--dataset_root", dataset.root, "--save_dir", tmp_path)
    assert says in refusal("train", *standard, *flags)


def test_a_config_with_other_classes_than_the_dataset_has_levels_is_refused(dataset, tmp_path, refusal):
    opts = [f"{part}.num_classes=5" for part in ("model", "train_dataset", "val_dataset")]
    flags = ("--config", TINY, "--dataset_root", dataset.root, "--save_dir", tmp_path)
    assert "--levels 5" in refusal("train", *flags, "--opts", *opts)


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("train_dataset.train_path", "other/x.txt: a list of frames is a .txt file in its dataset folder, "),
        ("val_dataset.val_path", "other/x.txt: a list of frames is a .txt file in its dataset folder, "),
        ("val_dataset.dataset_root", "--opts val_dataset.dataset_root=other/x.txt: is not --dataset_root "),
    ],
)
def test_a_list_or_folder_of_another_dataset_is_not_taken_for_one_of_this(dataset, tmp_path, refusal, entry, says):
    flags = ("--config", TINY, "--dataset_root", dataset.root, "--save_dir", tmp_path)
    assert says in refusal("train", *flags, "--opts", f"{entry}=other/x.txt")


def test_a_validation_on_other_levels_asks_for_another_dataset(trained, copy, tmp_path, refusal):
    make_seg_dataset(Dataset.open(copy), levels=5, gap=2)
    model = trained[0] / "best_model" / "model.pdparams"
    line = refusal("val", "--config", TINY, "--dataset_root", copy, "--model_path", model)
    assert line.endswith(
        f"has 5 levels, the network of {model} has 10; give a dataset whose labels were made with --levels 10"
    )


def test_broken_datasets_are_refused_by_the_file_that_is_wrong(copy, tmp_path, refusal):
    flags = ("--config", TINY, "--dataset_root", copy, "--save_dir", tmp_path)
    label, image = copy / "labels" / "a" / "000000.png", copy / "origin_images" / "a" / "000000.png"
    good_label, good_image = label.read_bytes(), image.read_bytes()

    Image.fromarray(np.full((70, 93), 10, np.uint8)).save(label)
    assert f"{label}: has value 10" in refusal("train", *flags)
    Image.fromarray(np.zeros((70, 94), np.uint8)).save(label)
    assert f"{label}: is 94x70" in refusal("train", *flags)
    label.unlink()
    assert f"{label}: no such label" in refusal("train", *flags)
    label.write_bytes(good_label)
    image.write_bytes(good_image[:300])
    assert str(image) in refusal("train", *flags)
    image.write_bytes(good_image)
    (copy / "train.txt").write_text("origin_images/../../x.png labels/a/000000.png\n")
    assert "leads out of the dataset folder" in refusal("train", *flags)
    (copy / "train.txt").write_text("")
    assert "lists no frames" in refusal("train", *flags)
    (copy / "train.txt").unlink()
    assert "train.txt: no such file" in refusal("train", *flags)


def test_a_config_is_read_without_running_what_it_holds(dataset, tmp_path, refusal):
    config = tmp_path / "evil.yml"
    config.write_text(f"iters: !!python/object/apply:os.mkdir ['{tmp_path / 'owned'}']\n")
    assert "evil.yml" in refusal("train", "--config", config, "--dataset_root", dataset.root, "--save_dir", tmp_path)
    config.write_text("_base_: evil.yml\n")
    assert "its own _base_" in refusal("train", "--config", config, "--save_dir", tmp_path)
    config.write_text("_base_: loop.yml\n")
    (tmp_path / "loop.yml").symlink_to("loop.yml")
    assert "loop.yml: " in refusal("train", "--config", config, "--save_dir", tmp_path)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_configs_name_only_stock_components_and_no_image_size(path):
    config = Config(str(path)).dic
    registries = [manager.MODELS, manager.BACKBONES, manager.DATASETS, manager.TRANSFORMS]
    registries += [manager.LOSSES, manager.OPTIMIZERS]
    stock = {name for registry in registries for name in registry.components_dict}

    def types(value):
        if isinstance(value, dict):
            yield from [value["type"]] if "type" in value else []
            for key, inner in value.items():
                yield from types(inner) if key != "lr_scheduler" else []
        elif isinstance(value, list):
            for inner in value:
                yield from types(inner)

    assert set(types(config)) <= stock
    assert "Resize" not in yaml.safe_dump(config)
    assert config["model"]["num_classes"] == config["train_dataset"]["num_classes"] == 10


REFUSE = """
import sys
from regenhance_data.predictors.paddleseg.command import main
try:
    main(sys.argv[1:])
finally:
    assert not {"paddle", "paddleseg", "torch"} & sys.modules.keys()
"""


@pytest.mark.parametrize(
    "words",
    [
        ("train", "--config", "absent.yml"),
        ("train", "--config", TINY, "--dataset_root", "absent"),
        ("train", "--config", TINY, "--dataset_root", "DATA", "--resume_model", "absent/iter_1"),
        ("train", "--config", TINY, "--dataset_root", "DATA", "--input_scale", "0.4"),
        ("val", "--config", TINY, "--dataset_root", "DATA", "--model_path", "absent.pdparams"),
        ("predict", "--config", TINY, "--model_path", TINY, "--image_path", "absent"),
        ("export", "--config", TINY, "--model_path", TINY, "--input_shape", "1", "1", "9", "9"),
    ],
)
def test_what_needs_no_network_is_refused_without_importing_paddle(words, dataset, refused, tmp_path):
    (tmp_path / "refuse.py").write_text(REFUSE)
    words = [str(dataset.root) if word == "DATA" else word for word in words]
    assert ": error: " in refused(tmp_path / "refuse.py", *words, timeout=60)  # in a process that has nothing loaded
