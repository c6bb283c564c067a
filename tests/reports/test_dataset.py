"""The dataset's report: it shows a dataset at any stage, needs no network, and says in words what is amiss."""

import os
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from regenhance_data.dataset.folder import Dataset
from regenhance_data.dataset.importance_file import read_importance, write_importance
from regenhance_data.io.images import write_image
from regenhance_data.reports.dataset import write_dataset_report
from regenhance_data.stages.make_seg_dataset import make_seg_dataset
from regenhance_data.stages.super_resolve import super_resolve
from regenhance_data.upscalers.settings import UpscalerSettings
from tests.support.files import fill_dataset, noise


class Page(HTMLParser):
    """What a page loads, its headings and its words."""

    def __init__(self, path):
        super().__init__()
        self.loads, self.headings, self.words, self._open = [], [], [], []
        self.text = path.read_text(encoding="utf-8")
        self.feed(self.text)

    def handle_starttag(self, tag, attributes):
        self._open.append(tag)
        self.loads += [value for name, value in attributes if name in ("src", "href", "poster")]

    def handle_data(self, data):
        if self._open and self._open[-1] == "h2":
            self.headings.append(data.strip())
        self.words.append(data)

    def handle_endtag(self, tag):
        while self._open and self._open.pop() != tag:
            pass


@pytest.fixture
def dataset(tmp_path):
    """Two clips with HR frames, importance, labels and a split of 26 test frames."""
    dataset = fill_dataset(tmp_path / "my_dataset", {"day": 90, "night": 90}, 48, 80)
    super_resolve(dataset, UpscalerSettings("bicubic", 2))
    make_seg_dataset(dataset, gap=2)
    return Dataset.open(dataset.root)


def reported(dataset, tmp_path):
    """(the page, its warnings as one text)."""
    warned = write_dataset_report(dataset, tmp_path / "report.html")
    return Page(tmp_path / "report.html"), "\n".join(map(str, warned))


def test_a_whole_dataset_is_shown_on_one_page_without_a_network(dataset, tmp_path):
    page, warned = reported(dataset, tmp_path)
    assert warned == ""
    assert "No warnings" in page.text
    assert page.headings == [
        "Frames, from the least important to the most",
        "Effect of enhancement",
        "Splits and levels",
        "Importance over time",
        "Importance over the frame",
        "Settings and clips",
    ]
    assert page.loads
    assert all(address.startswith("data:image/") for address in page.loads)
    assert "url(" not in page.text
    assert "@import" not in page.text
    words = " ".join(page.words)
    assert "180 frames of 2 clips: " in words
    assert f"{len(dataset.read_split('test'))} test" in words
    assert "level 9" in words
    assert "upscaler bicubic" in words
    assert len(page.text) < 5_000_000


def test_the_contact_sheet_goes_from_the_least_to_the_most_important_frame_of_all_clips(dataset, tmp_path):
    page, _ = reported(dataset, tmp_path)
    rows = re.findall(r'<p class="row">(\w+) (\d+) · (\S+).*?than (\d+)%', page.text)
    assert len(rows) == 10
    assert {clip for clip, *_ in rows} == {"day", "night"}
    assert {"train", "val", "test"} <= {split for _, _, split, _ in rows}
    shares = [int(share) for *_, share in rows]
    assert shares == sorted(shares)
    assert shares[0] < 10
    assert shares[-1] > 90


@pytest.mark.parametrize(
    ("stage", "next_command", "headings"),
    [
        ("frames", "super_resolve.py", ["Frames", "Settings and clips"]),
        ("clear", "make_importance.py", ["Effect of enhancement"]),
        ("importance", "make_seg_dataset.py", ["Importance over time", "Importance over the frame"]),
    ],
)
def test_an_unfinished_dataset_is_shown_as_far_as_it_is(tmp_path, stage, next_command, headings):
    dataset = fill_dataset(tmp_path / "data", {"cam": 12})
    if stage != "importance":
        dataset.importance_path("cam").unlink()
    if stage != "frames":
        super_resolve(dataset, UpscalerSettings("bicubic", 2))
    page, _ = reported(Dataset.open(dataset.root), tmp_path)
    assert next_command in " ".join(page.words)
    assert set(headings) <= set(page.headings)
    assert "Splits and levels" not in page.headings


def test_the_flat_layout_is_shown(tmp_path):
    for number, image in enumerate(noise(5, 50, 70)):
        write_image(tmp_path / "flat" / "origin_images" / f"{number}.png", image)
    page, _ = reported(Dataset.open(tmp_path / "flat"), tmp_path)
    assert "5 frames of one clip" in " ".join(page.words)
    assert "No warnings" not in page.text  # little is known of it yet


def change_importance(dataset, clip, change):
    importance, numbers = read_importance(dataset.importance_path(clip))
    write_importance(dataset.importance_path(clip), change(importance), numbers)


def test_what_is_amiss_with_labels_and_splits_is_said_with_what_to_do(tmp_path):
    dataset = fill_dataset(tmp_path / "data", {"cam": 40})

    def rare(importance):
        importance[:, :, 1:] = 0
        importance[1:] = 0  # no cut gives each split some
        return importance

    change_importance(dataset, "cam", rare)
    make_seg_dataset(dataset, gap=6, levels=10)
    _, warned = reported(Dataset.open(dataset.root), tmp_path)
    assert re.search(r"9\d\.\d% of the test pixels are level 0|100\.0% of the test pixels are level 0", warned)
    assert "the test block of cam has no object: none of its" in warned
    assert re.search(r"test has \d frames, too few", warned)
    assert re.search(r"12 of 40 frames \(30%\) lie in the gaps", warned)
    assert "there is only one clip" in warned
    for line in warned.splitlines():
        what, fix = line.split("; ", 1)
        assert what
        assert fix


def test_what_is_amiss_with_clear_frames_and_clips_is_said(tmp_path):
    dataset = fill_dataset(tmp_path / "data", {"a": 4})
    fill_dataset(tmp_path / "data", {"b": 4}, 32, 48)
    for clip in ("a", "b"):
        for frame in dataset.frames(clip):
            flat = np.full_like(dataset.read("origin_images", frame), 90)
            write_image(dataset.path("origin_images", frame), flat)
            write_image(dataset.path("hr_images", frame), flat.repeat(3, 0).repeat(3, 1))
    change_importance(dataset, "a", lambda importance: 0 * importance)
    change_importance(dataset, "b", lambda importance: 0 * importance)
    _, warned = reported(Dataset.open(dataset.root), tmp_path)
    assert "HR frames differ from upsampled ones by only 0.00 of 255" in warned
    assert "importance is 0 everywhere" in warned
    assert "LR frames have 2 sizes: 93x70" in warned


def test_words_from_files_are_escaped(dataset, tmp_path):
    dataset.save(clips={"day": {"source": "<script>alert(1)</script>"}}, upscaler={"spec": "<b onclick=x>"})
    page, _ = reported(Dataset.open(dataset.root), tmp_path)
    assert "<script>alert" not in page.text
    assert "<b onclick" not in page.text


def test_the_command_writes_into_the_dataset_and_refuses_a_broken_one_without_a_page(run, refused, dataset):
    told = run("tools/report_dataset.py", "--data", dataset.root)
    assert (dataset.root / "report.html").exists()
    assert "open it in a browser" in told.stdout
    assert told.stderr == ""
    (dataset.root / "report.html").unlink()
    dataset.importance_path("night").write_bytes(b"broken")
    assert "night.npz: is not an importance file" in refused("tools/report_dataset.py", "--data", dataset.root)
    assert not (dataset.root / "report.html").exists()
    assert "is a folder" in refused("tools/report_dataset.py", "--data", dataset.root, "--save", dataset.root)


def test_a_clip_whose_frames_differ_in_size_is_refused_by_the_frame(run, refused, tmp_path):
    dataset = fill_dataset(tmp_path / "data", {"cam": 3})
    for frame in dataset.frames("cam")[1:]:
        write_image(dataset.path("origin_images", frame), noise(1, 40, 60)[0])
    assert "differs in size from the clip's first frame" in refused("tools/report_dataset.py", "--data", dataset.root)


def test_thin_splits_are_warned_of_by_the_check_too(run, tmp_path):
    dataset = fill_dataset(tmp_path / "data", {"cam": 30})
    run("tools/make_seg_dataset.py", "--data", dataset.root, "--gap", "1")
    told = run("tools/check_dataset.py", "--data", dataset.root)
    assert "no problems" in told.stdout
    assert "too few for a reliable F1" in told.stderr


def test_a_folder_whose_name_is_no_text_has_a_report(tmp_path):
    root = tmp_path / os.fsdecode(b"d\xe9")
    write_dataset_report(fill_dataset(root, {"cam": 4}), root / "report.html")
    assert "d?" in (root / "report.html").read_text(encoding="utf-8")
