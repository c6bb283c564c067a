"""A dataset survives what happens to it: killed runs, two runs at once, pictures that change, clips that come later."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from regenhance_data.dataset.folder import Dataset
from regenhance_data.dataset.importance_file import read_importance, write_importance
from regenhance_data.dataset.split import SPLITS
from regenhance_data.dataset.staleness import fingerprint
from regenhance_data.io.files import locked
from regenhance_data.io.images import write_image
from tests.support.files import ROOT, content, encode, fill_dataset, noise


def same_bytes(root, expected):
    made, wanted = content(root), content(expected)
    assert made.keys() == wanted.keys()
    assert [name for name in wanted if made[name] != wanted[name]] == []


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    frames = noise(40, 64, 96)
    for number, frame in enumerate(frames):
        frame[24:32, 2 * number : 2 * number + 8] = (230, 20, 20)  # what the detector looks for
    return [encode(folder / "a.mp4", frames), encode(folder / "b.mp4", frames[::-1][:25])]


@pytest.fixture(scope="module")
def commands(videos, detector_file):
    """All stages of a dataset, each in two processes where possible."""

    detector = ["--detector", f"onnx:{detector_file}", "--score_threshold", "0.01"]

    def of(root):
        return [
            ["tools/extract.py", "--data", root, "--height", "32", "--video", *videos],
            ["tools/super_resolve.py", "--data", root, "--model", "bicubic", "--scale", "2", "--workers", "2"],
            ["tools/make_importance.py", "--data", root, "--workers", "2", *detector],
            ["tools/make_seg_dataset.py", "--data", root, "--gap", "2"],
        ]

    return of


@pytest.fixture(scope="module")
def undisturbed(run, commands, tmp_path_factory):
    """The dataset of an undisturbed run."""
    root = tmp_path_factory.mktemp("undisturbed") / "data"
    for words in commands(root):
        run(*words)
    return root


@pytest.fixture
def finished(undisturbed, tmp_path):
    """A copy of the undisturbed dataset, to be changed."""
    return Path(shutil.copytree(undisturbed, tmp_path / "data"))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_runs_killed_at_any_moment_end_in_the_same_bytes(run):
    """Each stage, up to three times, each run going on from what the one before left."""
    stages = ("extract", "super_resolve", "make_importance", "make_seg_dataset")
    said = run("tests/torture.py", "--kinds", "kill", "--works", *stages, "--rounds", 4, "--workers", 1).stdout
    kills = int(re.findall(r"^kills +(\d+)", said, re.MULTILINE)[0])
    assert kills >= 3, said


# Runs a command again and again, each time ended by the kernel before or after the n-th time that it renames a file or
# folder, until it ends by itself. What the command imports late is imported once, before the runs are forked.
ENDS = """
import importlib, os, runpy, signal, sys
imports, script, *words = sys.argv[1:]
for name in imports.split():
    importlib.import_module(name)
for place in (1, 2, 5):
    for when in ("before", "after"):
        if not (child := os.fork()):
            real, renamed = os.replace, 0
            def replace(*paths):
                global renamed
                renamed += 1
                if (when, renamed) == ("before", place):
                    os.kill(os.getpid(), signal.SIGKILL)
                real(*paths)
                if (when, renamed) == ("after", place):
                    os.kill(os.getpid(), signal.SIGKILL)
            os.replace, sys.argv = replace, [script, *words]
            runpy.run_path(script, run_name="__main__")
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code != -signal.SIGKILL:
            sys.exit(code)
        print("killed", flush=True)  # else the next one's process has it too
"""
IMPORTED = {"tools/make_importance.py": "regenhance_data.detectors.onnx"}  # PyTorch, which takes seconds


@pytest.mark.slow
def test_runs_killed_beside_a_rename_end_in_the_same_bytes(run, commands, undisturbed, tmp_path):
    """The first, second and fifth rename of each stage, as far as there are so many."""
    root = tmp_path / "data"
    for script, *words in commands(root):
        alone = ["1" if word == "2" and flag == "--workers" else word for flag, word in pairwise(["", *words])]
        said = run("-c", ENDS, IMPORTED.get(script, "numpy"), script, *alone).stdout
        assert said.count("killed") >= 2, said
        run(script, *words)
    same_bytes(root, undisturbed)


@pytest.mark.slow
def test_the_same_commands_again_change_nothing(run, commands, undisturbed):
    root = undisturbed
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}
    for words, there in zip(commands(root), ("40 frames", "already", "already", "up to date"), strict=True):
        assert there in run(*words).stdout
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_a_second_run_on_one_dataset_is_refused_and_names_the_first(run, refused, tmp_path):
    root = fill_dataset(tmp_path / "data", {"cam": 5}).root
    with locked(root / ".lock"):
        for words in (
            ["tools/make_seg_dataset.py"],
            ["tools/make_importance.py", "--detector", "builtin"],
            ["tools/super_resolve.py", "--model", "bicubic"],
            ["tools/extract.py", "--video", "x.mp4"],
        ):
            line = refused(words[0], "--data", root, *words[1:])
            assert f"another run is working there (process {os.getpid()} on " in line
    run("tools/make_seg_dataset.py", "--data", root, "--gap", "0")
    assert not (root / ".lock").exists()


def test_the_lock_of_a_killed_run_holds_nobody_up(run, tmp_path):
    root = fill_dataset(tmp_path / "data", {"cam": 5}).root
    code = (
        "import pathlib, time; from regenhance_data.io.files import locked\n"
        f"with locked(pathlib.Path({str(root / '.lock')!r})): print('held', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (root / ".lock").exists()
    run("tools/make_seg_dataset.py", "--data", root, "--gap", "0")
    assert not (root / ".lock").exists()


def test_what_is_half_written_is_removed_by_the_next_run(run, tmp_path):
    root = fill_dataset(tmp_path / "data", {"cam": 5}).root
    for half in (".writing-7-dataset.yaml", "labels/cam/.writing-7-000001.png", "importance/.writing-7-cam.npz"):
        (root / half).parent.mkdir(parents=True, exist_ok=True)
        (root / half).write_bytes(b"half")
    run("tools/make_seg_dataset.py", "--data", root, "--gap", "0")
    assert not list(root.rglob(".writing*"))


@pytest.mark.slow
def test_only_what_depends_on_a_changed_picture_is_made_again(run, commands, finished):
    root = finished
    dataset = Dataset(root)
    before = {clip: dataset.importance_path(clip).stat().st_mtime_ns for clip in dataset.clips()}
    picture = root / "origin_images" / "b" / "000003.png"
    write_image(picture, np.zeros_like(dataset.read("origin_images", dataset.frames("b")[3])))
    outputs = [run(*words).stdout for words in commands(root)[1:]]
    assert "40 of them existed already" in outputs[0]
    assert "40 of them existed already" in outputs[1]
    assert "written" in outputs[2]
    assert dataset.importance_path("a").stat().st_mtime_ns == before["a"]
    assert dataset.importance_path("b").stat().st_mtime_ns != before["b"]
    numbers = read_importance(dataset.importance_path("b"))[1]
    assert numbers.tolist() == list(range(25))


def test_a_lock_that_is_a_link_is_refused_and_what_it_leads_to_left_alone(refused, tmp_path):
    root = fill_dataset(tmp_path / "data", {"cam": 5}).root
    (tmp_path / "letter.txt").write_text("dear")
    (root / ".lock").symlink_to("../letter.txt")
    assert ".lock: is a link" in refused("tools/make_seg_dataset.py", "--data", root, "--gap", "0")
    assert (tmp_path / "letter.txt").read_text() == "dear"


@pytest.mark.slow
def test_an_upscaler_that_is_refused_leaves_the_clear_frames_of_another(run, refused, tmp_path):
    root = fill_dataset(tmp_path / "data", {"cam": 3}).root
    run("tools/super_resolve.py", "--data", root, "--model", "bicubic", "--scale", "2")
    before = content(root)
    (tmp_path / "bad.pt").write_bytes(b"no weights")
    ray = ("bicubic", "--scale", "3", "--executor", "ray", "--address", "127.0.0.1:1")
    for words in (("builtin", "--scale", "4"), (f"edsr:{tmp_path}/bad.pt",), ray):
        refused("tools/super_resolve.py", "--data", root, "--model", *words)
    assert content(root) == before


@pytest.mark.slow
def test_importance_of_other_frames_makes_no_labels_and_no_sound_dataset(run, refused, finished):
    root = finished
    run("tools/super_resolve.py", "--data", root, "--model", "bicubic", "--scale", "3")
    stale = "a.npz: was made from other frames; run tools/make_importance.py again"
    assert stale in refused("tools/make_seg_dataset.py", "--data", root, "--gap", "2")
    assert stale in run("tools/check_dataset.py", "--data", root, code=2).stderr
    shutil.rmtree(root / "sr_images")  # HR frames may be removed once importance is computed
    run("tools/make_seg_dataset.py", "--data", root, "--gap", "2")
    run("tools/check_dataset.py", "--data", root)


@pytest.mark.slow
def test_a_dataset_whose_labels_are_not_of_its_importance_is_not_called_sound(run, commands, finished):
    root = finished
    _, _, importance, labels = commands(root)
    check = ("tools/check_dataset.py", "--data", root)
    run(*check)
    said = run(*importance, "--formula", "gradient").stderr
    assert "importance: was made with other settings or frames and is recomputed" in said
    assert "b.npz: is other importance than its labels were made from" in run(*check, code=2).stderr
    run(*labels)
    run(*check)
    later = root / "origin_images" / "later"
    shutil.copytree(root / "origin_images" / "b", later)
    assert "later.npz: is missing; run tools/make_importance.py" in run(*check, code=2).stderr
    shutil.rmtree(later)
    Dataset(root).importance_path("a").unlink()
    assert "a.npz: is missing" in run(*check, code=2).stderr


def test_the_same_extraction_heals_a_clip_and_leaves_what_came_of_it(run, videos, tmp_path):
    root = tmp_path / "data"
    words = ("tools/extract.py", "--data", root, "--height", "32", "--keep_hr", "--video", *videos)
    run(*words)
    write_image(root / "sr_images" / "a" / "000000.png", np.zeros((64, 96, 3), np.uint8))
    whole = content(root)
    (root / "origin_images" / "a" / "000003.png").unlink()
    run(*words)
    assert content(root) == whole
    shutil.rmtree(root / "hr_images")
    run(*words)
    assert content(root) == whole


@pytest.mark.parametrize("suffix", [".bmp", ".png", ".jpg"])
def test_a_changed_picture_of_another_writer_changes_the_fingerprint(tmp_path, suffix):
    """PNGs with words behind the pixels, as ImageMagick writes them, and formats without a checksum."""
    dataset = fill_dataset(tmp_path / "data", {"cam": 1})
    dataset.path("origin_images", dataset.frames("cam")[0]).unlink()
    path = dataset.root / "origin_images" / "cam" / f"000000{suffix}"
    words = [b"\0\0\0\4gAMA\0\0\xb1\x8f\x0b\xfca\x05", b"\0\0\0\x60tEXt" + b"date:create\0" + 84 * b"2" + b"crc."]
    image, prints = np.zeros((70, 93, 3), np.uint8), []
    for value in (10, 200):
        image[20:30, 50:60] = value
        made = cv2.imencode(suffix, image, [cv2.IMWRITE_PNG_COMPRESSION, 0])[1].tobytes()
        if suffix == ".png":
            made = made[:33] + words[0] + made[33:-12] + words[1] + made[-12:]
        path.write_bytes(made)
        prints.append(fingerprint(dataset, "origin_images", "cam"))
    assert prints[0] != prints[1] == fingerprint(dataset, "origin_images", "cam")


@pytest.mark.parametrize("compression", [0, 1, 9])
def test_one_changed_pixel_changes_the_fingerprint_even_where_the_size_stays(tmp_path, compression):
    dataset = fill_dataset(tmp_path / "data", {"cam": 3})
    path = dataset.path("origin_images", dataset.frames("cam")[1])
    image = noise(1, 90, 161)[0]
    prints = []
    for value in (10, 11):
        image[40, 50] = value
        path.write_bytes(cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, compression])[1].tobytes())
        prints.append(fingerprint(dataset, "origin_images", "cam"))
    assert prints[0] != prints[1] == fingerprint(dataset, "origin_images", "cam")


@pytest.mark.parametrize("split_by", ["block", "clip"])
def test_a_clip_that_comes_later_moves_no_frame_of_the_others(run, tmp_path, split_by):
    dataset = fill_dataset(tmp_path / "data", {f"cam{n}": 20 for n in range(4)})
    words = ("tools/make_seg_dataset.py", "--data", dataset.root, "--gap", "1", "--split_by", split_by)
    run(*words)
    before = {name: dataset.read_split(name) for name in SPLITS}
    fill_dataset(tmp_path / "more", {"a_first": 20, "zlast": 20})
    for clip in ("a_first", "zlast"):
        for folder, name in (("origin_images", clip), ("importance", f"{clip}.npz")):
            os.rename(tmp_path / "more" / folder / name, dataset.root / folder / name)
    run(*words)
    after = {name: dataset.read_split(name) for name in SPLITS}
    for name in SPLITS:
        assert set(before[name]) <= set(after[name])
    assert sum(map(len, after.values())) > sum(map(len, before.values()))


def test_labels_are_made_again_where_one_is_missing_or_importance_is_other(run, tmp_path):
    dataset = fill_dataset(tmp_path / "data", {"cam": 30})
    words = ("tools/make_seg_dataset.py", "--data", dataset.root, "--gap", "1")
    run(*words)
    whole = content(dataset.root)
    (dataset.root / "labels" / "cam" / "000007.png").unlink()
    assert "written" in run(*words).stdout
    assert content(dataset.root) == whole
    path = dataset.importance_path("cam")
    importance, numbers = read_importance(path)
    write_importance(path, importance[:, ::-1], numbers)
    assert "written" in run(*words).stdout
    assert content(dataset.root) != whole


@pytest.mark.slow
def test_a_worker_that_is_killed_is_told_and_its_work_goes_on_later(run, commands, undisturbed, tmp_path):
    root = tmp_path / "data"
    extract, super_resolve, importance, labels = commands(root)
    run(*extract)
    run(*super_resolve)
    process = subprocess.Popen(
        [sys.executable, *map(str, importance)], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        workers = [
            int(pid)
            for pid in children.read_text().split()
            if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
        ]
        if workers:
            os.kill(workers[0], signal.SIGKILL)
            break
        time.sleep(0.02)
    _, errors = process.communicate(timeout=150)
    assert process.returncode == 2, errors
    assert "a worker process was ended from outside" in errors
    assert "Traceback" not in errors
    for words in (importance, labels):
        run(*words)
    assert content(root) == content(undisturbed)
