"""Checkpoints that are small on the disk and large in memory."""

import resource
import zipfile
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from regenhance_data.detectors.class_names import MOST_CLASSES
from regenhance_data.detectors.loading import load_detector
from regenhance_data.detectors.settings import DetectorSettings
from regenhance_data.errors import InputError
from regenhance_data.io.torch_weights import read_checkpoint
from regenhance_data.upscalers.loading import load_upscaler
from regenhance_data.upscalers.settings import UpscalerSettings

pytestmark = pytest.mark.torch


@contextmanager
def at_most(megabytes):
    """What asks for more memory than this fails."""
    (used,) = (line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "VmData" in line)
    before = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (int(used) * 1024 + megabytes * 2**20, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def test_compressed_weights_are_refused_before_they_are_unpacked(tmp_path):
    path = tmp_path / "deflated.pt"
    torch.save({"a": torch.zeros(4)}, path)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive, archive.open("deflated/data/1", "w") as record:
        for _ in range(100):
            record.write(bytes(2**20))
    assert path.stat().st_size < 2**20
    with pytest.raises(InputError, match=r"deflated\.pt: is compressed, and far larger in memory; save it again"):
        read_checkpoint(path)


def test_an_archive_that_cannot_be_looked_into_is_refused(tmp_path):
    path = tmp_path / "odd.pt"
    torch.save({"a": torch.zeros(4)}, path)
    content = path.read_bytes()
    at = content.index(b"PK\1\2")
    path.write_bytes(content[: at + 6] + b"\xff" + content[at + 7 :])  # the version of the format
    with pytest.raises(InputError, match=r"odd\.pt: is not a checkpoint that can be read"):
        read_checkpoint(path)


@pytest.mark.parametrize("place", ["alone", "in a dict", "in lists", "many times", "sparse"])
def test_weights_that_claim_more_than_the_file_has_are_refused(tmp_path, place):
    one = torch.zeros(1).expand(2**25)
    sparse = torch.sparse_coo_tensor(torch.zeros(1, 1).long(), torch.ones(1), (2**25,), check_invariants=True)
    content = {
        "alone": {"a": one},
        "in a dict": {"a": {"b": one}},
        "in lists": {"a": [(0, one)]},
        "many times": {f"a{number}": one[: 2**20] for number in range(32)},
        "sparse": {"a": sparse},
    }[place]
    torch.save(content, tmp_path / "forged.pt")
    with pytest.raises(InputError, match=r"forged\.pt: has far fewer numbers than its weights claim"):
        read_checkpoint(tmp_path / "forged.pt")


def test_tied_sparse_and_expanded_weights_of_sound_files_are_read(tmp_path):
    tied = torch.arange(6.0)
    state = {"a": tied, "b": tied.reshape(2, 3), "c": tied.to_sparse(), "d": torch.ones(1).expand(1000)}
    torch.save(state, tmp_path / "sound.pt")
    found = read_checkpoint(tmp_path / "sound.pt")
    for name, value in state.items():
        torch.testing.assert_close(found[name].to_dense(), value.to_dense())


def test_a_large_edsr_of_names_alone_takes_no_memory(tmp_path):
    state = {f"body.{number}.body.0.weight": torch.zeros(1) for number in range(256)}
    state |= {"head.0.weight": torch.zeros(1024, 1, 1, 1), "tail.0.0.weight": torch.zeros(4096, 1, 1, 1)}
    torch.save(state, tmp_path / "forged.pth")
    with at_most(500), pytest.raises(InputError, match=r"forged\.pth: is no EDSR: it lacks add_mean\.bias"):
        load_upscaler(UpscalerSettings(f"edsr:{tmp_path / 'forged.pth'}", 2))


@pytest.mark.parametrize(
    ("classes", "says"),
    [(MOST_CLASSES, "has no backbone"), (MOST_CLASSES + 1, "is of 10001 classes"), (0, "is of 0 classes")],
)
def test_a_torchvision_detector_of_many_classes_takes_no_memory(tmp_path, classes, says):
    torch.save({"head.classification_head.module_list.0.bias": torch.zeros(4 * classes)}, tmp_path / "forged.pth")
    with at_most(500), pytest.raises(InputError, match=rf"forged\.pth: .*{says}"):
        load_detector(DetectorSettings("torchvision:ssd300_vgg16", weights=str(tmp_path / "forged.pth")))
