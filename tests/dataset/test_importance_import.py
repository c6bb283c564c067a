"""Importance that others wrote: read as they wrote it, and never run."""

import io
import os
import pickle
import sys
import types
import zipfile
from contextlib import suppress

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from regenhance_data.dataset.folder import Dataset
from regenhance_data.dataset.importance_file import write_importance
from regenhance_data.dataset.importance_import import importance_read_as, read_importance_file
from regenhance_data.errors import InputError
from regenhance_data.io.images import write_image
from regenhance_data.stages.make_seg_dataset import make_seg_dataset
from tests.support.files import fill_dataset, noise

MAPS = np.random.default_rng(0).pareto(1.0, (5, 3, 4)).astype(np.float32)


def saved(path, maps):
    """The ways in which others keep one video's maps [T, rows, cols], by the file's name."""
    pictures = torch.from_numpy(maps)[:, None]
    torch.save(pictures, path / "importance.pth")
    torch.save(pictures[:, 0], path / "flat.pth", _use_new_zipfile_serialization=False)
    torch.save({i: picture[None] for i, picture in enumerate(pictures)}, path / "by_frame.pth")
    contents = {
        "saliency.pickle": {("clip.mp4", i): {"saliency": p[None], "mean": 0.5} for i, p in enumerate(pictures)},
        "arrays.pickle": {("clip", np.int64(i)): {"saliency": p.numpy()} for i, p in enumerate(pictures)},
        "images.pickle": {i: picture[None] for i, picture in enumerate(pictures)},
        "listed.pickle": list(maps),
        "mask.rawmask": pictures,
    }
    for name, content in contents.items():
        (path / name).write_bytes(pickle.dumps(content))
    np.save(path / "maps.npy", maps)
    np.save(path / "columns.npy", np.asfortranarray(maps))
    np.savez(path / "one.npz", saliency=maps[:, None])
    np.savez_compressed(path / "several.npz", importance=maps, threshold=np.float32(1))
    write_importance(path / "own.npz", maps, np.arange(len(maps)))
    return sorted(p for p in path.iterdir() if p.is_file())


def test_every_kind_of_file_gives_the_maps_that_were_written(tmp_path):
    files = saved(tmp_path, MAPS)
    assert len(files) == 13
    for file in files:
        assert importance_read_as(file).startswith("importance of 5 frames: 3x4 macroblocks, float32, 0"), file
        importance, numbers = read_importance_file(file, "any", ["any"])
        np.testing.assert_array_equal(importance, MAPS, err_msg=file.name)
        assert importance.dtype == np.float32
        assert numbers is None or numbers.tolist() == list(range(5))


@given(
    arrays(
        st.sampled_from([np.float32, np.float64, np.float16]),
        st.tuples(*[st.integers(1, 4)] * 3),
        elements=st.floats(0, 1000, width=16),
    )
)
def test_any_maps_come_back_from_a_pickle_of_tensors(tmp_path_factory, maps):
    file = tmp_path_factory.mktemp("any") / "s.pickle"
    content = {("v", 7 * i): {"saliency": torch.from_numpy(m)[None, None]} for i, m in reversed(list(enumerate(maps)))}
    file.write_bytes(pickle.dumps(content))
    importance, numbers = read_importance_file(file, "c", ["c"])
    np.testing.assert_array_equal(importance, maps)
    assert numbers.tolist() == [7 * i for i in range(len(maps))]


@pytest.fixture
def detections(monkeypatch):
    """An instance of a class like detectron2's, of a module that is gone when the file is read."""
    module = types.ModuleType("instances_of_a_detector")
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, module.__name__, module)

        class Instances:
            def __init__(self, scores):
                self.scores = scores

        class Named(dict):
            pass

        class Rows(list):
            pass

        for kind in (Instances, Named, Rows):
            kind.__module__, kind.__qualname__ = module.__name__, kind.__name__
            setattr(module, kind.__name__, kind)
        yield [Instances(torch.rand(3)), Named(a=1), Rows([1, 2])]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_detections_beside_the_saliency_are_passed_over(tmp_path, detections, protocol):
    content = {
        ("clip", i): {"sr_result": {"instances": detections}, "saliency": torch.from_numpy(m)[None, None]}
        for i, m in enumerate(MAPS)
    }
    (tmp_path / "gt.pickle").write_bytes(pickle.dumps(content, protocol))
    del sys.modules["instances_of_a_detector"]
    np.testing.assert_array_equal(read_importance_file(tmp_path / "gt.pickle", "clip", ["clip"])[0], MAPS)


def test_a_file_of_several_videos_serves_each_clip_its_own(tmp_path):
    content = {(f"videos/{v}.mp4", i): {"saliency": MAPS[i] + v} for v in (1, 2) for i in range(3)}
    content |= {("my clip", 4): {"saliency": MAPS[4]}}
    (tmp_path / "gt.pickle").write_bytes(pickle.dumps(content))
    clips = ["1", "2", "my_clip", "other"]
    np.testing.assert_array_equal(read_importance_file(tmp_path / "gt.pickle", "2", clips)[0], MAPS[:3] + 2)
    maps, numbers = read_importance_file(tmp_path / "gt.pickle", "my_clip", clips)
    assert (maps.tolist(), numbers.tolist()) == (MAPS[4:].tolist(), [4])
    with pytest.raises(
        InputError, match=r"no videos for clip 'other'; it has 'my clip', 'videos/1.mp4', 'videos/2.mp4'"
    ):
        read_importance_file(tmp_path / "gt.pickle", "other", clips)
    with pytest.raises(InputError, match="no videos for clip 'one'"):
        read_importance_file(tmp_path / "gt.pickle", "one", ["one"])
    np.save(tmp_path / "maps.npy", MAPS)
    with pytest.raises(InputError, match="importance of one clip, the dataset 4 clips"):
        read_importance_file(tmp_path / "maps.npy", "1", clips)


class Harm:
    def __init__(self, made):
        self._made = made

    def __reduce__(self):
        return os.mkdir, (str(self._made),)


def test_nothing_in_a_file_is_run(tmp_path):
    made = tmp_path / "made"
    legacy = io.BytesIO()
    torch.save(Harm(made), legacy, _use_new_zipfile_serialization=False)

    class Inner:
        def __init__(self, content):
            self._content = content

        def __reduce__(self):
            return torch.storage._load_from_bytes, (self._content,)

    entry = {("v", 0): {"saliency": MAPS[0], "sr_result": Harm(made)}}
    contents = {
        "beside": entry,
        "alone": Harm(made),
        "saliency": {("v", 0): {"saliency": Harm(made)}},
        "inner": {("v", 0): {"saliency": Inner(pickle.dumps(Harm(made)))}},
        "legacy": {("v", 0): {"saliency": Inner(legacy.getvalue())}},
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(pickle.dumps(content))
    torch.save(Harm(made), tmp_path / "new.pth")
    torch.save(Harm(made), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    np.save(tmp_path / "objects.npy", np.array([Harm(made)]), allow_pickle=True)
    np.savez(tmp_path / "objects.npz", importance=np.array([Harm(made)]))
    files = [p for p in tmp_path.iterdir() if p.name != "beside"]
    for file in files:
        with pytest.raises(InputError):
            read_importance_file(file, "c", ["c"])
    np.testing.assert_array_equal(read_importance_file(tmp_path / "beside", "c", ["c"])[0], MAPS[:1])
    assert len(files) == 8
    assert not made.exists()
    with suppress(Exception):
        pickle.loads((tmp_path / "saliency").read_bytes())
    assert made.exists()  # the files were harmful indeed


def promising(shape) -> bytes:
    """The head of a .npy that promises an array of `shape`, and a few bytes."""
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return content.getvalue() + bytes(64)


def test_what_promises_more_than_there_can_be_is_refused_before_room_is_made(tmp_path):
    for number, shape in enumerate([(2**40, 3, 4), (3, 2**20, 2**20)]):
        (tmp_path / f"{number}.npy").write_bytes(promising(shape))
        with zipfile.ZipFile(tmp_path / f"{number}.npz", "w") as archive:
            archive.writestr("importance.npy", promising(shape))
        spread = torch.zeros(1).expand(2**20, 2**20)
        torch.save(spread, tmp_path / f"{number}.pth")
        (tmp_path / f"{number}.pickle").write_bytes(pickle.dumps({("v", 0): {"saliency": spread}}))
    for file in tmp_path.iterdir():
        with pytest.raises(InputError, match="claims an array"):
            read_importance_file(file, "c", ["c"])
    (tmp_path / "short.npy").write_bytes(promising((1000, 3, 4)))
    with pytest.raises(InputError, match="is not an importance file"):
        read_importance_file(tmp_path / "short.npy", "c", ["c"])


def test_files_of_other_content_are_refused_in_one_line(tmp_path):
    def array(value):
        file = io.BytesIO()
        np.save(file, value)
        return file.getvalue()

    several = io.BytesIO()
    np.savez(several, a=MAPS, b=MAPS)
    contents = {
        "empty": (b"", "is not an importance file"),
        "text": (b"no importance at all", "is not an importance file"),
        "cut": (pickle.dumps(list(MAPS))[:-40], "is not an importance file"),
        "zip": (b"PK\x03\x04 and no more", "is not an importance file"),
        "several": (several.getvalue(), "holds 2 arrays; name the one"),
        "words": (array(np.array(["a"])), "expected numbers"),
        "complex": (array(MAPS * 1j), "expected numbers"),
        "flat": (array(MAPS[0]), r"expected numbers \[T, rows, cols\] or \[T, 1, rows, cols\], found float32 \[3, 4\]"),
        "channels": (array(np.zeros((2, 3, 4, 5))), "expected numbers"),
        "nothing": (array(MAPS[:0]), "expected numbers"),
        "nan": (array(MAPS * np.nan), "NaN or infinite"),
        "negative": (pickle.dumps({0: -1 - MAPS[0]}), "negative"),
        "value": (pickle.dumps(3), "holds a 'int'"),
        "none": (pickle.dumps({}), "holds a 'dict'"),
        "names": (pickle.dumps({"a": MAPS[0]}), r"has an entry 'a', expected \(video, frame number\)"),
        "key": (pickle.dumps({("a", "b"): MAPS[0]}), r"has an entry .*, expected"),
        "missing": (pickle.dumps({("a", 1): {"sr_result": 1}}), "has a 'NoneType' for saliency"),
        "grids": (pickle.dumps([MAPS[0], MAPS[0].T]), "grids of different sizes"),
    }
    for name, (content, message) in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=message) as refused:
            read_importance_file(tmp_path / name, "c", ["c"])
        assert "\n" not in str(refused.value)
        assert str(tmp_path / name) in str(refused.value)
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError, match="no such file"):
            read_importance_file(path, "c", ["c"])


@given(st.integers(0, 10**6), st.integers(0, 255), st.integers(0, 12))
def test_a_broken_file_is_read_or_refused(tmp_path_factory, place, byte, which):
    folder = tmp_path_factory.mktemp("broken")
    file = saved(folder, MAPS[:2])[which]
    content = bytearray(file.read_bytes())
    content[place % len(content)] = byte
    file.write_bytes(bytes(content))
    with suppress(InputError):
        assert read_importance_file(file, "c", ["c"])[0].ndim == 3


@pytest.mark.slow
def test_labels_of_a_flat_folder_come_from_every_kind_of_file(tmp_path, run):
    files = saved(tmp_path, np.random.default_rng(1).pareto(1.0, (40, 3, 4)).astype(np.float32))
    labels = set()
    for file in files:
        root = tmp_path / file.name.replace(".", "_")
        for number, image in enumerate(noise(40, 40, 60)):
            write_image(root / "origin_images" / f"street{number:03d}.png", image)
        if file.name == "saliency.pickle":
            run("tools/make_seg_dataset.py", "--data", root, "--importance", file, "--gap", 2)
        else:
            make_seg_dataset(Dataset.open(root), file, gap=2)
        labels.add(b"".join(p.read_bytes() for p in sorted((root / "labels").iterdir())))
    assert len(labels) == 1


def test_importance_of_another_grid_is_refused(tmp_path, refused):
    dataset = fill_dataset(tmp_path / "d", {"a": 5}, 70, 93)
    np.save(tmp_path / "maps.npy", MAPS)
    line = refused("tools/make_seg_dataset.py", "--data", dataset.root, "--importance", tmp_path / "maps.npy")
    assert "importance on a grid of 3x4, 93x70 frames with --mb_size 16 have 5x6" in line


def test_importance_that_is_numbered_as_the_video_of_a_sampled_clip_is_refused_or_warned_of(tmp_path, capsys):
    dataset = fill_dataset(tmp_path / "data", {"cam": 20})
    maps = np.random.default_rng(1).pareto(1.0, (20, 5, 6)).astype(np.float32)
    dataset.save(clips={"cam": {"source": "cam.mp4", "every": 2}})
    file = tmp_path / "own.npz"
    write_importance(file, maps, np.arange(0, 40, 2))
    with pytest.raises(
        InputError, match=r"own.npz: has frame 38, the clip ends with 19: .*; number them as the files in"
    ):
        make_seg_dataset(dataset, file, gap=1)
    write_importance(file, maps[:10], np.arange(0, 20, 2))  # of the first half of the video, or every second frame
    make_seg_dataset(dataset, file, gap=1)
    warned = capsys.readouterr().err
    assert "10 of 20 frames have no importance and get no label; numbers count as those of the files in" in warned
    dataset.save(clips={})
    make_seg_dataset(dataset, file, gap=2)
    assert "numbers count as" not in capsys.readouterr().err


def test_what_imported_importance_is_taken_for_is_told_and_recorded(tmp_path, capsys):
    dataset = fill_dataset(tmp_path / "data", {"a": 20, "b": 20})
    maps = {(f"{clip}.mp4", i): dataset.importance(clip)[i] * 0 + i / 8 for clip in "ab" for i in range(20)}
    file = tmp_path / "truth.pickle"
    file.write_bytes(pickle.dumps({key: {"saliency": values} for key, values in maps.items()}))
    read_as = "importance of 40 frames: 5x6 macroblocks, float32, 0..2.38, keys (video, frame) of 'a.mp4', 'b.mp4'"
    assert make_seg_dataset(dataset, file, gap=1)
    assert f"{file}: read as {read_as}\n" in capsys.readouterr().out
    recorded = Dataset(dataset.root).record.importance
    assert (recorded.file, recorded.read_as) == ("truth.pickle", read_as)
    assert Dataset(dataset.root).record.recorded_scale is None  # nothing has said it yet
    assert not make_seg_dataset(Dataset(dataset.root), file, gap=1)
    np.save(tmp_path / "maps.npy", np.zeros((2, 3, 4), np.int16))
    words = "importance of 2 frames: 3x4 macroblocks, int16, 0..0, frames in order"
    assert importance_read_as(tmp_path / "maps.npy") == words
