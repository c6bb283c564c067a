from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regenhance_data.dataset.folder import Dataset
from regenhance_data.dataset.split_lists import SEPARATORS, read_pairs
from regenhance_data.errors import InputError
from regenhance_data.io.images import write_image
from tests.support.files import noise

PAIRS = [(f"origin_images/a/{name}.png", f"labels/a/{name}.png") for name in ("000000", "000001")]


def lines(separator=" ", pairs=PAIRS, ends="\n"):
    return "".join(f"{image}{separator}{label}{ends}" for image, label in pairs)


@pytest.mark.parametrize(
    "text",
    [
        lines(),
        lines(ends="  \t\n"),
        lines(ends="\r\n"),
        lines() + "\n  \n\n",
        "\ufeff" + lines(),
        lines().rstrip("\n"),
        lines("\t"),
        lines("  "),
        lines("|"),
        lines(" , "),
        lines().replace("labels", "./labels"),
        lines().replace("a/0", "a//0"),
    ],
)
def test_lists_are_taken_as_people_write_them(tmp_path, text):
    (tmp_path / "train.txt").write_text(text)
    assert read_pairs(tmp_path / "train.txt") == PAIRS


def test_absolute_paths_are_taken_inside_the_folder_also_through_a_link(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to("data")
    for written, read in (("data", "data"), ("link", "link"), ("data", "link"), ("link", "data")):
        path = tmp_path / read / "train.txt"
        path.write_text(
            lines().replace("origin", f"{tmp_path / written}/origin").replace("lab", f"{tmp_path}/{read}/lab")
        )
        assert read_pairs(path) == PAIRS
    assert Dataset(tmp_path / "data").read_split("train") == PAIRS


def test_folders_of_images_may_be_links_and_none_leads_out_of_those(tmp_path):
    disk, root = tmp_path / "disk", tmp_path / "data"
    (disk / "frames" / "a").mkdir(parents=True)
    root.mkdir()
    (root / "origin_images").symlink_to(disk / "frames")
    (root / "train.txt").write_text(lines())
    assert read_pairs(root / "train.txt") == PAIRS
    (disk / "frames" / "b").symlink_to(tmp_path)
    (root / "train.txt").write_text("origin_images/b/x.png labels/b/x.png\n")
    with pytest.raises(InputError, match=r"'origin_images/b/x\.png' leads out of the dataset folder"):
        read_pairs(root / "train.txt")


@pytest.mark.parametrize("name", ["../x.png", "/etc/passwd", "origin_images/../../x.png", "out/x.png", "a\0b.png"])
def test_paths_that_lead_out_are_refused(tmp_path, name):
    root = tmp_path / "data"
    root.mkdir()
    (root / "out").symlink_to("..")
    (root / "train.txt").write_text(f"{name} labels/a/000000.png\n")
    with pytest.raises(InputError, match=r"train.txt:1: .* leads out of the dataset folder"):
        read_pairs(root / "train.txt")


def test_names_with_spaces_are_found_by_the_files_that_exist(tmp_path):
    for name in ("origin_images/a/my frame 1.png", "labels/a/my frame 1.png"):
        write_image(tmp_path / name, noise(1, 8, 8)[0])
    expected = [("origin_images/a/my frame 1.png", "labels/a/my frame 1.png")]
    for separator in (" ", "|"):
        (tmp_path / "train.txt").write_text(lines(separator, expected))
        assert read_pairs(tmp_path / "train.txt") == expected
        assert read_pairs(tmp_path / "train.txt", separator) == expected


@given(st.sampled_from(SEPARATORS), st.lists(st.text("abc_1", min_size=1), min_size=1, max_size=5))
def test_the_separator_of_a_config_is_taken(tmp_path_factory, separator, names):
    path = Path(tmp_path_factory.mktemp("lists")) / "train.txt"
    pairs = [(f"origin_images/{name}.png", f"labels/{name}.png") for name in names]
    path.write_text(lines(separator, pairs))
    assert read_pairs(path, separator) == read_pairs(path) == pairs


@pytest.mark.parametrize("text", ["one\n", "a b c\n", "a\tb\tc\n"])
def test_other_lines_are_refused_by_their_number(tmp_path, text):
    (tmp_path / "val.txt").write_text(lines() + text)
    with pytest.raises(InputError, match=r"val.txt:3: expected 'image label'"):
        read_pairs(tmp_path / "val.txt")


def test_absolute_paths_are_taken_where_the_folder_of_images_is_a_link(tmp_path):
    disk, root = tmp_path / "disk", tmp_path / "data"
    (disk / "a").mkdir(parents=True)
    root.mkdir()
    (root / "origin_images").symlink_to(disk)
    (root / "train.txt").write_text("".join(f"{root / image} {root / label}\n" for image, label in PAIRS))
    assert read_pairs(root / "train.txt") == PAIRS
