import zlib
from itertools import pairwise

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from regenhance_data.dataset.folder import Dataset
from regenhance_data.dataset.importance_file import read_importance, write_importance
from regenhance_data.dataset.label_png import label_png, read_label
from regenhance_data.dataset.levels import Normaliser, to_levels
from regenhance_data.dataset.split import SPLITS
from regenhance_data.errors import InputError
from regenhance_data.grid import MacroblockGrid
from regenhance_data.io.images import write_image
from regenhance_data.stages.make_seg_dataset import make_seg_dataset
from tests.support.files import ROOT, fill_dataset, noise


def make(run, dataset, *flags):
    return run("tools/make_seg_dataset.py", "--data", dataset.root, *flags)


@given(st.integers(1, 120), st.integers(1, 120), st.integers(1, 40), st.integers(2, 255), st.integers(0, 2**32 - 1))
def test_a_label_has_the_exact_size_and_constant_blocks(height, width, mb_size, levels, seed):
    import io

    grid = MacroblockGrid(height, width, mb_size)
    level_grid = np.random.default_rng(seed).integers(0, levels, grid.shape, dtype=np.uint8)
    with Image.open(io.BytesIO(label_png(level_grid, grid, levels))) as image:
        assert image.mode == "P"
        label = np.asarray(image)
    assert label.shape == (height, width)
    for row in range(grid.rows):
        for col in range(grid.cols):
            block = label[row * mb_size : (row + 1) * mb_size, col * mb_size : (col + 1) * mb_size]
            assert (block == level_grid[row, col]).all()


def test_odd_frames_get_labels_of_their_size_with_the_levels_of_their_importance(run, tmp_path):
    dataset = fill_dataset(tmp_path, {"cam": 4}, height=359, width=637)
    make(run, dataset, "--gap", 0)
    info = yaml.safe_load((tmp_path / "dataset.yaml").read_text())
    importance, _ = read_importance(tmp_path / "importance" / "cam.npz")
    expected = to_levels(Normaliser.from_dict(info["normaliser"])(importance[2]), 10)
    label = read_label(tmp_path / "labels" / "cam" / "000002.png")
    assert label.shape == (359, 637)
    np.testing.assert_array_equal(label, MacroblockGrid(359, 637).spread(expected))


def test_the_normaliser_is_fitted_on_training_frames_alone(run, tmp_path):
    dataset = fill_dataset(tmp_path, {"cam": 40})
    make(run, dataset)
    before = Dataset.open(tmp_path).record.normaliser
    importance, frames = read_importance(dataset.importance_path("cam"))
    test_frames = [frame.number for frame in dataset.split_frames("test")]
    importance[test_frames] *= 1000
    write_importance(dataset.importance_path("cam"), importance, frames)
    make(run, dataset)
    assert Dataset.open(tmp_path).record.normaliser == before


def test_a_camera_that_is_mostly_empty_is_cut_so_that_each_split_has_objects_or_is_named(tmp_path, capsys):
    dataset = fill_dataset(tmp_path, {"cam": 90, "once": 40})
    for clip, seen in (("cam", (10, 22, 35)), ("once", (20,))):
        importance, frames = read_importance(dataset.importance_path(clip))
        importance[~np.isin(frames, seen)] = 0
        write_importance(dataset.importance_path(clip), importance, frames)
    make_seg_dataset(dataset, gap=4)
    listed = {name: {frame.number for frame in dataset.split_frames(name) if frame.clip == "cam"} for name in SPLITS}
    assert all(len({10, 22, 35} & numbers) == 1 for numbers in listed.values())
    said = " ".join("".join(capsys.readouterr()).split())
    assert "clip cam: cut into other blocks" in said
    assert (
        "clip once: no cut was found that gives each split a quarter of its share of importance, which 1 of 40 frames"
        in said
    )


def test_a_single_frame_with_objects_is_seen_among_more_than_are_fitted(tmp_path, monkeypatch):
    monkeypatch.setattr("regenhance_data.stages.make_seg_dataset._MOST_FITTED_CELLS", 60)
    for number in range(3, 9):
        dataset = fill_dataset(tmp_path / str(number), {"cam": 40})
        importance, frames = read_importance(dataset.importance_path("cam"))
        importance[frames != number] = 0
        write_importance(dataset.importance_path("cam"), importance, frames)
        make_seg_dataset(dataset, gap=0)
        training = {frame.number for frame in dataset.split_frames("train")}
        assert number in training
        label = read_label(dataset.path("labels", next(f for f in dataset.frames("cam") if f.number == number)))
        assert label.max() == 9


def gaps_of(dataset, clip):
    listed = [{f.number for f in dataset.split_frames(name) if f.clip == clip} for name in ("train", "val", "test")]
    return [min(later) - max(earlier) - 1 for earlier, later in pairwise(listed)]


def test_the_gap_shrinks_with_the_sampling_unless_one_is_given(run, tmp_path):
    dataset = fill_dataset(tmp_path, {"all": 100, "fifth": 40, "slow": 40})
    records = {"fifth": {"every": 5}, "slow": {"every": 1, "fps": 3, "frame_rate": 3, "source_rate": 30}}
    dataset.save(clips=records)
    assert "as long as 10 frames of the video" in make(run, dataset).stdout
    dataset = Dataset.open(tmp_path)
    assert dataset.record.split.gap is None
    assert [gaps_of(dataset, clip) for clip in ("all", "fifth", "slow")] == [[10, 10], [2, 2], [1, 1]]
    assert "no problems" in run("tools/check_dataset.py", "--data", tmp_path).stdout
    assert "up to date" in make(run, dataset).stdout
    make(run, dataset, "--gap", 3)
    dataset = Dataset.open(tmp_path)
    assert dataset.record.split.gap == 3
    assert [gaps_of(dataset, clip) for clip in ("all", "fifth", "slow")] == [[3, 3]] * 3


def test_the_default_gap_of_a_dataset_with_every_frame_is_recorded_as_ever(run, tmp_path):
    dataset = fill_dataset(tmp_path, {"cam": 60})
    make(run, dataset)
    assert Dataset.open(tmp_path).record.split.gap == 10
    assert "up to date" in make(run, dataset, "--gap", 10).stdout


def test_a_made_dataset_is_sound_and_says_what_it_holds(run, tmp_path):
    dataset = fill_dataset(tmp_path, {"a": 60, "b": 45, "short": 1})
    result = make(run, dataset, "--levels", 7, "--mb_size", 16, "--gap", 4)
    assert "next: python tools/check_dataset.py" in result.stdout
    assert "short" in result.stderr
    dataset = Dataset.open(tmp_path)
    assert "no problems" in run("tools/check_dataset.py", "--data", tmp_path).stdout
    for name in ("train", "val", "test"):
        frames = dataset.split_frames(name)
        counts = np.zeros(7, int)
        for frame in frames:
            counts += np.bincount(read_label(dataset.path("labels", frame)).ravel(), minlength=7)
        assert dataset.record.level_pixels[name] == counts.tolist()
        assert dataset.record.split.frames[name] == len(frames)
    assert ("origin_images/short/000000.png", "labels/short/000000.png") in dataset.read_split("train")


def test_whole_clips_are_dealt_out_on_demand(run, tmp_path):
    dataset = fill_dataset(tmp_path, {f"clip{i}": 3 for i in range(5)})
    make(run, dataset, "--split_by", "clip", "--split", 0.6, 0.2, 0.2)
    sets = [{frame.clip for frame in dataset.split_frames(name)} for name in ("train", "val", "test")]
    assert [len(clips) for clips in sets] == [3, 1, 1]
    assert len(set.union(*sets)) == 5


def test_the_flat_layout_is_a_dataset_with_one_unnamed_clip(run, tmp_path):
    rng = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        write_image(tmp_path / "origin_images" / f"{name}.png", noise(1, 50, 70)[0])
    np.save(tmp_path / "mine.npy", rng.random((3, 4, 5)))
    run(
        *("tools/make_seg_dataset.py", "--data", tmp_path, "--importance", tmp_path / "mine.npy"),
        *("--normalize", "none", "--gap", 0, "--split", 0.34, 0.33, 0.33),
    )
    assert (tmp_path / "train.txt").read_text() == "origin_images/a.png labels/a.png\n"
    assert "no problems" in run("tools/check_dataset.py", "--data", tmp_path).stdout
    kept, numbers = read_importance(tmp_path / "importance" / "importance.npz")
    np.testing.assert_allclose(kept, np.load(tmp_path / "mine.npy"), rtol=1e-6)
    assert numbers.tolist() == [0, 1, 2]


def test_a_dataset_without_dataset_yaml_is_checked_and_said(run, tmp_path):
    dataset = fill_dataset(tmp_path, {"cam": 20})
    make(run, dataset, "--gap", 1)
    (tmp_path / "dataset.yaml").unlink()
    assert "no dataset.yaml" in run("tools/check_dataset.py", "--data", tmp_path).stderr


def test_frames_without_importance_are_left_out_and_said(run, tmp_path):
    dataset = fill_dataset(tmp_path, {"cam": 30})
    importance, frames = read_importance(dataset.importance_path("cam"))
    write_importance(dataset.importance_path("cam"), importance[:25], frames[:25])
    assert "5 of 30 frames have no importance" in make(run, dataset, "--gap", 2).stderr
    assert len(dataset.frames("cam", "labels")) == 25


def test_a_second_run_with_other_settings_leaves_no_label_of_the_first(run, tmp_path):
    dataset = fill_dataset(tmp_path, {"cam": 30})
    make(run, dataset, "--gap", 2)
    importance, frames = read_importance(dataset.importance_path("cam"))
    write_importance(dataset.importance_path("cam"), importance[:12], frames[:12])
    make(run, dataset, "--gap", 1, "--levels", 3)
    assert len(dataset.frames("cam", "labels")) == 12
    assert "no problems" in run("tools/check_dataset.py", "--data", tmp_path).stdout


def test_importance_on_the_edge_of_a_level_is_in_it_from_file_to_label(run, tmp_path):
    edges = np.arange(11).reshape(11, 1, 1) / 10
    for name in range(11):
        write_image(tmp_path / "origin_images" / f"{name:02d}.png", noise(1, 9, 12)[0])
    np.save(tmp_path / "edges.npy", edges)
    flags = ("--importance", tmp_path / "edges.npy", "--normalize", "none", "--gap", 0)
    run("tools/make_seg_dataset.py", "--data", tmp_path, *flags)
    got = [int(read_label(tmp_path / "labels" / f"{name:02d}.png")[0, 0]) for name in range(11)]
    assert got == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9]


def test_a_refusal_leaves_a_finished_dataset_as_it_was(run, refused, tmp_path):
    dataset = fill_dataset(tmp_path, {"cam": 40})
    make(run, dataset)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    refused("tools/make_seg_dataset.py", "--data", tmp_path, "--normalize", "none")
    refused("tools/extract.py", "--data", tmp_path, "--video", ROOT / "README.md")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("names", [("a b.png", "c.png"), ("a.png", "a.jpg")])
def test_file_names_that_a_list_cannot_hold_are_refused(refused, tmp_path, names):
    for name in names:
        write_image(tmp_path / "origin_images" / name, noise(1, 9, 12)[0])
    np.save(tmp_path / "i.npy", np.ones((2, 1, 1)))
    flags = ("--importance", tmp_path / "i.npy", "--normalize", "none")
    assert "file names" in refused("tools/make_seg_dataset.py", "--data", tmp_path, *flags)


def test_importance_too_large_for_float32_is_refused(refused, tmp_path):
    write_image(tmp_path / "origin_images" / "a.png", noise(1, 9, 12)[0])
    np.save(tmp_path / "i.npy", np.full((1, 1, 1), 1e39))
    assert "infinite" in refused("tools/make_seg_dataset.py", "--data", tmp_path, "--importance", tmp_path / "i.npy")


BAD_IMPORTANCE = {
    "NaN": lambda a: np.where(np.arange(a.size).reshape(a.shape) == 7, np.nan, a),
    "negative": lambda a: a - 100,
    "grid": lambda a: a[:, :-1],
    "T, rows, cols": lambda a: a[0],
}


@pytest.mark.parametrize("what", BAD_IMPORTANCE)
def test_importance_that_cannot_be_is_refused_and_nothing_is_written(refused, tmp_path, what):
    dataset = fill_dataset(tmp_path, {"cam": 20})
    path = dataset.importance_path("cam")
    importance, frames = read_importance(path)
    write_importance(path, BAD_IMPORTANCE[what](importance), frames)
    line = refused("tools/make_seg_dataset.py", "--data", tmp_path)
    assert what in line
    assert str(path) in line
    assert sorted(p.name for p in tmp_path.iterdir()) == ["importance", "origin_images"]


def test_importance_of_frames_that_do_not_exist_is_refused(refused, tmp_path):
    dataset = fill_dataset(tmp_path, {"cam": 20})
    importance, frames = read_importance(dataset.importance_path("cam"))
    write_importance(dataset.importance_path("cam"), importance, frames + 5)
    assert "frame 20, which is not in the clip" in refused("tools/make_seg_dataset.py", "--data", tmp_path)


def test_a_pickle_in_the_place_of_importance_is_never_loaded(refused, tmp_path):
    class Bomb:
        def __reduce__(self):
            return print, ("BOOM",)

    dataset = fill_dataset(tmp_path, {"cam": 5})
    np.savez(dataset.importance_path("cam"), importance=np.array([Bomb()], dtype=object), frames=np.arange(1))
    assert "is not an importance file" in refused("tools/make_seg_dataset.py", "--data", tmp_path)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--levels", "1"], "--levels 1"),
        (["--levels", "256"], "2 to 255"),
        (["--split", "0.7", "0.2", "0.2"], "sum to 1"),
        (["--mb_size", "0"], "--mb_size 0"),
        (["--mb_size", "8"], "have 9x12"),
        (["--gap", "-1"], "--gap -1"),
        (["--normalize", "none"], "[0, 1]"),
        (["--normalize", "square"], "invalid choice"),
        (["--importance", "nowhere.npy"], "nowhere.npy: no such file"),
    ],
)
def test_senseless_settings_are_refused(refused, tmp_path, flags, told):
    fill_dataset(tmp_path, {"cam": 40})
    assert told in refused("tools/make_seg_dataset.py", "--data", tmp_path, *flags)


def test_a_folder_without_frames_is_refused(refused, tmp_path):
    assert "no frames" in refused("tools/make_seg_dataset.py", "--data", tmp_path)


def other_size(dataset):
    write_image(next(iter(sorted(dataset.root.glob("origin_images/cam/*.png")))), noise(1, 33, 44)[0])


def edit_label(change):
    def edit(dataset):
        path = dataset.path("labels", dataset.split_frames("train")[0])
        label = read_label(path).copy()
        change(label)
        Image.fromarray(label).save(path)

    return edit


def append_line(name, line):
    def edit(dataset):
        with (dataset.root / f"{name}.txt").open("a") as file:
            file.write(line + "\n")

    return edit


BROKEN = {
    "its image 44x33": other_size,
    "has value 200": edit_label(lambda label: label.__setitem__(slice(0, 16), 200)),
    "not constant over": edit_label(lambda label: label.__setitem__((3, 3), (label[3, 3] + 1) % 10)),
    "pixels of each level": edit_label(lambda label: label.__setitem__(slice(None), 0)),
    "no such label": lambda dataset: dataset.path("labels", dataset.split_frames("val")[0]).unlink(),
    "no such image": lambda dataset: dataset.path("origin_images", dataset.split_frames("val")[0]).unlink(),
    "is also in": append_line("val", "origin_images/cam/000001.png labels/cam/000001.png"),
    "dataset.yaml records a gap": append_line("val", "origin_images/cam/000028.png labels/cam/000028.png"),
    "leads out of": append_line("test", "origin_images/../../secret.png labels/cam/000001.png"),
    "leads out of the": append_line("test", "/etc/passwd labels/cam/000001.png"),
    "one space": append_line("test", "origin_images/my clip.png labels/cam/000001.png"),
    "does not decode": lambda dataset: dataset.path("labels", dataset.split_frames("val")[0]).write_bytes(b"\x89PNG"),
    "does not decode as an image": lambda dataset: dataset.path(
        "origin_images", dataset.split_frames("val")[0]
    ).write_bytes(b"\x89PNG"),
    "no such file": lambda dataset: (dataset.root / "test.txt").unlink(),
    "NaN": lambda dataset: write_importance(
        dataset.importance_path("cam"), np.full((1, 5, 6), np.nan), np.zeros(1, int)
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_check_dataset_finds_what_is_broken(run, tmp_path, what):
    dataset = fill_dataset(tmp_path, {"cam": 45})
    make(run, dataset, "--gap", 4)
    BROKEN[what](Dataset.open(tmp_path))
    result = run("tools/check_dataset.py", "--data", tmp_path, code=2)
    assert what in result.stderr
    assert "Traceback" not in result.stderr


def test_a_picture_that_promises_a_giant_is_refused(run, refused, tmp_path):
    dataset = fill_dataset(tmp_path, {"cam": 45})
    make(run, dataset, "--gap", 4)
    path = dataset.path("origin_images", dataset.frames("cam")[0])
    head = b"IHDR" + (200_000).to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"
    path.write_bytes(path.read_bytes()[:12] + head + zlib.crc32(head).to_bytes(4, "big") + path.read_bytes()[33:])
    assert "000000.png: does not decode" in run("tools/check_dataset.py", "--data", tmp_path, code=2).stderr
    assert "000000.png: does not decode" in refused("tools/make_seg_dataset.py", "--data", tmp_path, "--gap", 4)


def test_clear_frames_of_another_size_are_found(run, tmp_path):
    dataset = fill_dataset(tmp_path, {"cam": 30})
    make(run, dataset, "--gap", 2)
    write_image(tmp_path / "sr_images" / "cam" / "000000.png", noise(1, 210, 279)[0])
    assert "no problems" in run("tools/check_dataset.py", "--data", tmp_path).stdout
    write_image(tmp_path / "sr_images" / "cam" / "000000.png", noise(1, 200, 279)[0])
    assert "not 3 times 93x70" in run("tools/check_dataset.py", "--data", tmp_path, code=2).stderr


@pytest.mark.parametrize(
    "yaml_text",
    [
        *("[1, 2]", "a: !!python/object/apply:os.system ['true']", "\x00", "levels: many", "levels: 1"),
        *("mb_size: 1000000000", "scale: 0", "split: {gap: x}", "split: {gap: [1]}", "clips: {cam: 1}"),
    ],
)
def test_a_broken_dataset_yaml_is_refused(refused, tmp_path, yaml_text):
    fill_dataset(tmp_path, {"cam": 30})
    (tmp_path / "dataset.yaml").write_text(yaml_text)
    for name in ("train", "val", "test"):
        (tmp_path / f"{name}.txt").write_text("")
    assert "dataset.yaml" in refused("tools/check_dataset.py", "--data", tmp_path)


def test_folders_on_another_disk_are_linked_and_labelled(tmp_path):
    dataset = fill_dataset(tmp_path / "data", {"cam": 30})
    for part in ("origin_images", "labels"):
        (tmp_path / "disk" / part).mkdir(parents=True)
        if (dataset.root / part).exists():
            (tmp_path / "disk" / part).rmdir()
            (dataset.root / part).rename(tmp_path / "disk" / part)
        (dataset.root / part).symlink_to(tmp_path / "disk" / part)
    assert make_seg_dataset(dataset)
    assert len(dataset.split_frames("train")) > 0
    assert len(list((tmp_path / "disk" / "labels" / "cam").iterdir())) == 30


@pytest.mark.parametrize("place", ["cam", "cam/000007.png"])
def test_links_out_of_the_folder_are_refused_before_anything_is_written(tmp_path, place):
    dataset = fill_dataset(tmp_path / "data", {"cam": 30})
    path = dataset.root / "origin_images" / place
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"'origin_images/cam/00000\d\.png' leads out of the dataset folder"):
        make_seg_dataset(dataset)
    assert not (dataset.root / "labels").exists()


def test_imported_importance_of_another_order_makes_its_labels_stale(tmp_path):
    dataset = fill_dataset(tmp_path, {"cam": 30})
    path = tmp_path / "importance.npz"
    dataset.importance_path("cam").rename(path)
    assert make_seg_dataset(dataset, importance_file=path)
    assert not make_seg_dataset(dataset, importance_file=path)
    for frame in dataset.frames("cam"):
        for folder in ("origin_images", "labels"):
            old = dataset.path(folder, frame)
            old.rename(old.with_name(f"{frame.number}_{old.suffix}"))
    assert make_seg_dataset(dataset, importance_file=path)


def test_frames_are_in_the_order_of_the_numbers_in_their_names(tmp_path):
    dataset = fill_dataset(tmp_path, {"cam": 12})
    for frame in dataset.frames("cam"):
        path = dataset.path("origin_images", frame)
        path.rename(path.with_name(f"frame_{frame.number + 1}.png"))
    names = [f"frame_{number}.png" for number in range(1, 13)]
    assert [(frame.number, frame.name) for frame in dataset.frames("cam")] == list(enumerate(names))
