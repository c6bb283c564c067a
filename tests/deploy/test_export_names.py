import cv2
import pytest

from deploy import export_onnx
from deploy.artifacts.onnx import read_onnx
from deploy.export.frames import asked_sizes, compared_frames, frame_sizes, training_frames
from deploy.export.parity import export_name, file_name
from deploy.export.static_map import export_flat_map
from regenhance_data.dataset.folder import Dataset
from regenhance_data.errors import InputError
from regenhance_data.predictors.paddleseg.checkpoints import refuse_missing_weights
from tests.support.files import ROOT, fill_dataset
from tests.support.predictors import red_network

MB_NANO, TINY = (ROOT / "paddleseg_configs" / f"{name}.yml" for name in ("mb_nano", "pp_mobileseg_tiny"))


def export(save_dir, *flags, config=MB_NANO):
    words = ["--config", config, "--random_weights", "--save_dir", save_dir, *flags]
    export_onnx.main(export_onnx.make_parser().parse_args([str(word) for word in words]))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Two clips of 96x64 frames and one of 64x48."""
    root = tmp_path_factory.mktemp("mixed")
    fill_dataset(root, {"a": 3, "b": 2}, 64, 96)
    return fill_dataset(root, {"square": 2}, 48, 64)


def test_names_tell_all_exports_of_a_config_apart_and_the_usual_one_has_its_name():
    names = [
        file_name(export_name("c", size_hw, batch, input_scale, scale), precision, head)
        for scale in (3, 2, 4)
        for size_hw in (None, (360, 640), (640, 360))
        for batch in (1, 2, 12, None)
        for input_scale in (1.0, 0.5)
        for precision in ("fp32", "fp16", "int8")
        for head in ("macroblock", "pixels")
    ]
    assert names[0] == "c.onnx"
    assert len({*names}) == len(names)
    assert file_name("c", "int8") == "c_int8.onnx"


@pytest.mark.slow
@pytest.mark.paddle
def test_exports_that_differ_lie_side_by_side(tmp_path, capsys):
    size = ["--input_size", 64, 96]
    for flags in ([], ["--dynamic_batch"], ["--batch_size", 2], ["--precision", "fp16"], ["--input_scale", 0.5]):
        export(tmp_path, *size, *flags)
    export(tmp_path, *size, "--scale", 4)
    scales = [read_onnx(tmp_path / f"mb_nano_random{x}_96x64.onnx").metadata["scale"] for x in ("", "_x4")]
    assert scales == ["3", "4"]
    export(tmp_path, "--input_size", 48, 64, "--with_paddle")
    said = capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".json") == [
        "mb_nano_random_64x48.onnx",
        "mb_nano_random_64x48_network",
        "mb_nano_random_64x48_paddle",
        "mb_nano_random_96x64.onnx",
        "mb_nano_random_96x64_batch2.onnx",
        "mb_nano_random_96x64_dynamic.onnx",
        "mb_nano_random_96x64_fp16.onnx",
        "mb_nano_random_96x64_scale0.5.onnx",
        "mb_nano_random_x4_96x64.onnx",
    ]
    assert len([*tmp_path.glob("*.parity.json")]) == 7
    assert f"--model {tmp_path}/mb_nano_random_96x64_dynamic.onnx --video VIDEO" in said
    assert "mb_nano_random_64x48_paddle, the levels of all macroblocks" in said


@pytest.mark.slow
@pytest.mark.paddle
def test_a_dataset_of_several_sizes_is_asked_which_or_has_a_file_of_each(mixed, tmp_path, refused):
    where = ["--dataset_root", mixed.root]
    words = ["--config", MB_NANO, "--random_weights", "--save_dir", tmp_path, *where]
    said = refused("deploy/export_onnx.py", *words)
    assert f"{mixed.root}: its frames are 96x64 (a, b) and 64x48 (square)" in said
    assert "--input_size 64 96, or --all_sizes" in said
    assert not list(tmp_path.iterdir())
    export(tmp_path, *where, "--all_sizes")
    found = {path.name: read_onnx(path).input_hw for path in tmp_path.glob("*.onnx")}
    assert found == {"mb_nano_random_96x64.onnx": (64, 96), "mb_nano_random_64x48.onnx": (48, 64)}


def test_frames_to_compare_and_calibrate_on_are_those_of_the_size(mixed):
    assert frame_sizes(mixed) == {(64, 96): ["a", "b"], (48, 64): ["square"]}
    images = [mixed.read("origin_images", frame) for frame in mixed.frames("square")]
    (mixed.root / "train.txt").write_text(
        "".join(f"origin_images/{clip}/000000.png labels/{clip}/000000.png\n" for clip in ("a", "b", "square"))
    )
    [compared] = compared_frames(mixed, (48, 64))
    assert (compared == images[0]).all()
    [calibrated] = training_frames(mixed, (48, 64), 4)
    assert (calibrated[..., ::-1] == images[0]).all()
    assert len(compared_frames(mixed, (32, 48))) == 3  # of no clip: all are resized


def test_a_flat_dataset_may_have_several_sizes_as_well(tmp_path):
    fill_dataset(tmp_path, {"": 2}, 64, 96)
    picture = cv2.imread(str(tmp_path / "origin_images" / "000000.png"))
    cv2.imwrite(str(tmp_path / "origin_images" / "000002.png"), picture[:48])
    assert frame_sizes(Dataset.open(tmp_path)) == {(64, 96): [""], (48, 96): [""]}


@pytest.mark.parametrize(
    ("asked", "frames", "says"),
    [
        ((96, 64), (64, 96), "is 64x96, the dataset's frames are 96x64; height comes first: --input_size 64 96"),
        ((64, 48), (48, 64), "--input_size 48 64"),
        ((192, 128), (64, 96), "--input_size 128 192"),
        ((64, 96), (96, 64), "--input_size 96 64"),
    ],
)
def test_a_size_with_height_and_width_swapped_is_refused(tmp_path, asked, frames, says):
    dataset = fill_dataset(tmp_path, {"a": 1}, *frames)
    with pytest.raises(InputError, match=says):
        asked_sizes(dataset, asked, False)


def test_another_shape_is_told_and_the_same_shape_is_not(tmp_path, capsys):
    dataset = fill_dataset(tmp_path, {"a": 1}, 64, 96)
    for size_hw in ((64, 96), (32, 48), (128, 192)):
        assert asked_sizes(dataset, size_hw, False)[0][0] == size_hw
    assert capsys.readouterr().err == ""
    asked_sizes(dataset, (64, 64), False)
    assert "is 64x64, another aspect ratio than the frames' (96x64)" in capsys.readouterr().err
    asked_sizes(None, (96, 64), False)
    assert "frames of 64x96, higher than wide; height comes first" in capsys.readouterr().err
    asked_sizes(None, (64, 96), False)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("content", [b"no ONNX", red_network(48, 64).SerializeToString()])
def test_a_file_of_other_software_is_not_overwritten_and_an_export_is(tmp_path, content):
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"{path}: is no export of this kit, and would be overwritten"):
        export_flat_map((64, 96), 3, path)
    assert path.read_bytes() == content
    path.unlink()
    for scale in (3, 2):
        export_flat_map((64, 96), scale, path)
    assert read_onnx(path).metadata["scale"] == "2"


def test_a_file_of_other_software_is_named_before_a_network_is_built(mixed, tmp_path, monkeypatch):
    (tmp_path / "mb_nano_random_64x48_int8.onnx").write_bytes(b"no ONNX")
    monkeypatch.setattr(export_onnx, "predictor_config", None)
    with pytest.raises(InputError, match=r"mb_nano_random_64x48_int8\.onnx: is no export of this kit"):
        export(tmp_path, "--dataset_root", mixed.root, "--all_sizes", "--precision", "int8")


@pytest.mark.parametrize("folder", ["", "best_model"])
def test_a_folder_of_weights_is_answered_with_the_file_that_is_there(tmp_path, folder):
    weights = tmp_path / folder / "model.pdparams"
    weights.parent.mkdir(exist_ok=True)
    weights.touch()
    with pytest.raises(InputError, match=rf"is a folder, not weights; give the file, such as {weights}$"):
        refuse_missing_weights(tmp_path)


def test_flags_that_do_not_go_together_are_refused(tmp_path):
    (tmp_path / "file").touch()
    for save_dir, flags, says in (
        (tmp_path, ["--all_sizes", "--input_size", 64, 96], "--all_sizes: takes the sizes from --dataset_root"),
        (tmp_path / "file", ["--input_size", 64, 96], f"--save_dir {tmp_path}/file: cannot be written to"),
        (tmp_path, ["--input_size", 64, 96, "--scale", 17], "--scale 17: expected a whole number from 2 to 8"),
        (tmp_path, ["--dataset_root", tmp_path, "--scale", 2], "--scale is for an export without --dataset_root"),
    ):
        with pytest.raises(InputError, match=says):
            export(save_dir, *flags)
