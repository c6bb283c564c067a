import os
import shutil
from functools import partial

import numpy as np
import pytest

from regenhance_data import errors
from regenhance_data.dataset.folder import Dataset, Frame
from regenhance_data.dataset.importance_file import read_importance
from regenhance_data.io.images import write_image
from regenhance_data.parallel.executors import CHUNK, Executor, chunks_of
from tests.support.files import ROOT, content, noise

FRAMES = [Frame("cam", number, f"{number:06d}.png") for number in range(3 * CHUNK + 5)]


@pytest.fixture(scope="module")
def cluster():
    """A Ray cluster on this machine, whose workers find the tests too."""
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=2, include_dashboard=False, runtime_env={"env_vars": {"PYTHONPATH": str(ROOT)}})
    yield ray.get_runtime_context().gcs_address
    ray.shutdown()


class Numbers:
    """A worker: the numbers of a chunk's frames, and the process that it works in."""

    def __init__(self, refused=None, ends=False):
        self.refused, self.ends = refused, ends

    def __call__(self, chunk):
        if self.refused in [frame.number for frame in chunk]:
            raise errors.InputError(f"frame {self.refused}: cannot be")
        if self.ends:
            os._exit(7)
        return [frame.number for frame in chunk], os.getpid()


@pytest.mark.parametrize("workers", [1, 2, 50])
def test_every_chunk_is_worked_on_once_and_comes_back_in_order(workers):
    results = list(Executor("local", workers).map(Numbers, chunks_of(FRAMES)))
    assert [frame.number for chunk, _ in results for frame in chunk] == list(range(len(FRAMES)))
    assert [number for _, (numbers, _) in results for number in numbers] == list(range(len(FRAMES)))
    processes = {process for _, (_, process) in results}
    assert (processes == {os.getpid()}) == (workers == 1)


@pytest.mark.slow
@pytest.mark.parametrize("executor", [Executor("local", 1), Executor("local", 2), Executor("ray", 2)])
def test_what_a_worker_refuses_is_refused(executor, cluster):
    with pytest.raises(errors.InputError, match="frame 20: cannot be"):
        list(executor.map(partial(Numbers, refused=20), chunks_of(FRAMES)))


@pytest.mark.slow
def test_a_worker_that_ends_is_told(cluster):
    for executor, message in ((Executor("local", 2), "ended from outside"), (Executor("ray", 2), "cluster was lost")):
        with pytest.raises(errors.InputError, match=message):
            list(executor.map(partial(Numbers, ends=True), chunks_of(FRAMES)))


def test_without_frames_there_is_nothing_to_do():
    assert list(Executor("ray").map(Numbers, chunks_of([]))) == []


def test_settings_that_make_no_sense_are_refused():
    for settings, message in (
        (("cloud",), "--executor cloud"),
        (("local", 0), "--workers 0"),
        (("local", 1, "10.0.0.1:6379"), "--address: is of a Ray cluster; give --executor ray"),
    ):
        with pytest.raises(errors.InputError, match=message):
            Executor(*settings)


def test_no_cluster_at_an_address_is_one_line(refused, tmp_path):
    write_image(tmp_path / "origin_images" / "cam" / "000000.png", noise(1, 32, 48)[0])
    words = ("tools/super_resolve.py", "--data", tmp_path, "--model", "bicubic", "--executor", "ray")
    assert "no Ray cluster answers" in refused(*words, "--address", "127.0.0.1:1", timeout=60)


class Here:
    """A worker: the folder that relative paths begin in."""

    def __call__(self, chunk):
        return os.getcwd()


@pytest.mark.slow
def test_relative_paths_mean_the_same_on_a_cluster(cluster, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (_, folder), *_ = Executor("ray", 1).map(Here, chunks_of(FRAMES))
    assert folder == str(tmp_path)


@pytest.mark.slow
def test_processes_and_a_ray_cluster_give_the_files_of_one_process_bit_for_bit(run, cluster, tmp_path):
    for clip, count in (("a", CHUNK + 3), ("b", 5)):
        for number, image in enumerate(noise(count, 50, 70)):
            image[10:30, 3 * number : 3 * number + 9] = 255 - image[10:30, 3 * number : 3 * number + 9]
            write_image(tmp_path / "one" / "origin_images" / clip / f"{number:06d}.png", image)
    ways = {"one": ["--workers", "1"], "two": ["--workers", "2"], "ray": ["--executor", "ray", "--address", cluster]}
    for way in list(ways)[1:]:
        shutil.copytree(tmp_path / "one", tmp_path / way)
    for way, flags in ways.items():
        run("tools/super_resolve.py", "--data", tmp_path / way, "--model", "builtin", *flags)
        words = ("--detector", "builtin", "--score_threshold", "0.01", "--max_box_area", "1")
        run("tools/make_importance.py", "--data", tmp_path / way, *words, *flags)
    dataset = Dataset(tmp_path / "one")
    assert np.any(read_importance(dataset.importance_path("a"))[0] > 0)
    assert content(tmp_path / "one") == content(tmp_path / "two") == content(tmp_path / "ray")
