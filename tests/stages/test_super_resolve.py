"""HR frames by another upscaler are made beside the present ones, which stay until all new ones are there."""

import os

import numpy as np
import pytest

from regenhance_data import errors
from regenhance_data.dataset.folder import Dataset
from regenhance_data.dataset.staging import publish
from regenhance_data.io.images import read_image, write_image
from regenhance_data.parallel.executors import Executor
from regenhance_data.stages.super_resolve import super_resolve
from regenhance_data.upscalers.settings import UpscalerSettings
from tests.support.files import content, noise


class Interrupted(Executor):
    """Ctrl-C, or another exception, after the first chunk."""

    def __init__(self, error=KeyboardInterrupt):
        object.__setattr__(self, "error", error)

    def map(self, make_worker, chunks):
        yield chunks[0], make_worker()(chunks[0])
        raise self.error


@pytest.fixture(params=["clips", "flat"])
def dataset(request, tmp_path):
    """20 frames in two clips, or in the flat layout, with HR frames at twice the size."""
    clips = {"a": 18, "b": 2} if request.param == "clips" else {"": 20}
    for clip, count in clips.items():
        for number, image in enumerate(noise(count, 20, 31)):
            write_image(tmp_path / "data" / "origin_images" / clip / f"{number:06d}.png", image)
    dataset = Dataset.open(tmp_path / "data")
    super_resolve(dataset, UpscalerSettings("bicubic", 2))
    return Dataset.open(dataset.root)


def hr_frames(root):
    """The HR frames and dataset.yaml: what a user has."""
    return {name: data for name, data in content(root).items() if "/.new/" not in name and "origin_images" not in name}


def heights(dataset):
    frames = dataset.all_frames()
    return {read_image(dataset.path("sr_images", frame)).shape[0] for frame in frames}


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_an_interrupted_run_leaves_the_frames_of_another_upscaler_and_goes_on(dataset, error):
    before = hr_frames(dataset.root)
    with pytest.raises((KeyboardInterrupt, OSError)) as stop:
        super_resolve(dataset, UpscalerSettings("bicubic", 3), executor=Interrupted(error))
    if error is KeyboardInterrupt:
        assert str(stop.value) == "kept 16 of 20 frames; give the command again to go on"
    assert hr_frames(dataset.root) == before
    with Dataset.writing(dataset.root) as again:
        assert super_resolve(again, UpscalerSettings("bicubic", 3)) == (20, 4)
    assert heights(Dataset.open(dataset.root)) == {60}
    assert Dataset.open(dataset.root).scale == 3
    assert not list(dataset.root.rglob(".new"))
    assert not list(dataset.root.rglob(".ready"))


def test_unfinished_frames_of_a_third_upscaler_are_not_taken(dataset):
    with pytest.raises(KeyboardInterrupt):
        super_resolve(dataset, UpscalerSettings("bicubic", 3), executor=Interrupted())
    assert super_resolve(Dataset.open(dataset.root), UpscalerSettings("bicubic", 4)) == (20, 20)
    assert heights(dataset) == {80}


def test_who_goes_back_to_the_present_upscaler_has_all_frames_at_once(dataset):
    before = hr_frames(dataset.root)
    with pytest.raises(KeyboardInterrupt):
        super_resolve(dataset, UpscalerSettings("bicubic", 3), executor=Interrupted())
    assert super_resolve(Dataset.open(dataset.root), UpscalerSettings("bicubic", 2)) == (20, 0)
    assert content(dataset.root).keys() - before.keys() == {
        name for name in content(dataset.root) if "origin_images" in name
    }
    assert hr_frames(dataset.root) == before


def test_a_first_run_that_is_interrupted_goes_on_too(tmp_path):
    for number, image in enumerate(noise(20, 20, 31)):
        write_image(tmp_path / "origin_images" / "a" / f"{number:06d}.png", image)
    with pytest.raises(KeyboardInterrupt, match="kept 16 of 20 frames"):
        super_resolve(Dataset.open(tmp_path), UpscalerSettings("bicubic", 2), executor=Interrupted())
    assert super_resolve(Dataset.open(tmp_path), UpscalerSettings("bicubic", 2)) == (20, 4)


class Killed(BaseException):
    """What ends a run without its clean-up."""


@pytest.mark.parametrize("place", range(1, 6))
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_run_killed_while_the_new_frames_move_in_is_finished_by_the_next(dataset, place, when, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        super_resolve(dataset, UpscalerSettings("bicubic", 3), executor=Interrupted())
    before, real, renames = hr_frames(dataset.root), os.replace, []

    def replace(*paths):
        if "sr_images" not in str(paths[1]) or "/.new/" in str(paths[1]):  # the frames themselves
            return real(*paths)
        renames.append(paths)
        if len(renames) == place and when == "before":
            raise Killed
        real(*paths)
        if len(renames) == place and when == "after":
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace)
        try:
            super_resolve(Dataset.open(dataset.root), UpscalerSettings("bicubic", 3))
        except Killed:
            if place == 1 and when == "before":
                assert hr_frames(dataset.root) == before
    with Dataset.writing(dataset.root) as again:
        if not (place == 1 and when == "before"):
            assert heights(again) == {60}
            assert (again.scale, again.record.upscaler["spec"]) == (3, "bicubic")
        super_resolve(again, UpscalerSettings("bicubic", 3))
    assert heights(Dataset.open(dataset.root)) == {60}
    assert not list(dataset.root.rglob(".ready"))


def test_frames_in_a_folder_on_another_disk_are_replaced_there(dataset, tmp_path):
    """sr_images may be a link."""
    os.rename(dataset.root / "sr_images", tmp_path / "disk")
    (dataset.root / "sr_images").symlink_to(tmp_path / "disk")
    super_resolve(dataset, UpscalerSettings("bicubic", 3))
    assert (dataset.root / "sr_images").is_symlink()
    assert heights(Dataset.open(dataset.root)) == {60}


def test_what_the_file_was_taken_for_makes_nothing_stale(dataset):
    upscaler = dict(dataset.record.upscaler)
    assert upscaler.pop("read_as") == "bicubic interpolation, ×2, RGB"
    dataset.save(upscaler=upscaler)  # as an older kit recorded it
    assert super_resolve(Dataset.open(dataset.root), UpscalerSettings("bicubic", 2)) == (20, 0)
    assert "read_as" in Dataset.open(dataset.root).record.upscaler


def test_a_plan_that_another_program_wrote_is_refused(dataset):
    folder = dataset.root / "sr_images" / ".ready"
    folder.mkdir()
    (folder / "plan.json").write_text("[]")
    refused = pytest.raises(errors.InputError, match=r"\.ready: is not what this kit writes; remove it")
    with refused, Dataset.writing(dataset.root):
        pass
    (folder / "plan.json").unlink()
    folder.rmdir()
    with pytest.raises(FileNotFoundError):
        publish(dataset.root, "sr_images", dataset.save)
    assert np.unique(list(heights(dataset))).tolist() == [40]
