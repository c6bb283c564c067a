import cv2
import numpy as np
import pytest
from conftest import noise

from regenhance_data import cli
from regenhance_data.dataset import Dataset
from regenhance_data.files import read_image, write_image
from regenhance_data.super_resolution import super_resolve
from regenhance_data.upscalers import load_upscaler


@pytest.fixture
def dataset(tmp_path):
    for clip, count in (("a", 3), ("b", 2)):
        for number, image in enumerate(noise(count, 20, 31)):
            write_image(tmp_path / "origin_images" / clip / f"{number:06d}.png", image)
    return Dataset.open(tmp_path)


def clear_files(dataset):
    return sorted(path.relative_to(dataset.root).as_posix() for path in dataset.root.glob("sr_images/**/*.png"))


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_bicubic_is_opencv_s(scale):
    frames = np.stack(noise(2, 20, 31))
    clear = load_upscaler("bicubic", scale)(frames)
    expected = [cv2.resize(frame, (31 * scale, 20 * scale), interpolation=cv2.INTER_CUBIC) for frame in frames]
    np.testing.assert_array_equal(clear, expected)


def test_the_builtin_upscaler_makes_frames_three_times_as_large():
    frames = np.stack(noise(2, 20, 31))
    clear = load_upscaler("builtin", 3)(frames)
    assert (clear.shape, clear.dtype) == ((2, 60, 93, 3), np.uint8)
    bilinear = cv2.resize(frames[0], (93, 60), interpolation=cv2.INTER_LINEAR)
    assert np.abs(clear[0].astype(int) - bilinear).mean() < 20


def test_every_frame_of_every_clip_gets_a_clear_frame(run, dataset):
    flags = ("--model", "bicubic", "--scale", 2, "--batch_size", 2)
    result = run("tools/super_resolve.py", "--data", dataset.root, *flags)
    assert "5 frames at 2 times" in result.stdout
    assert clear_files(dataset) == [f"sr_images/a/00000{n}.png" for n in range(3)] + [
        f"sr_images/b/00000{n}.png" for n in range(2)
    ]
    origin = dataset.read("origin_images", dataset.frames("a")[2])
    expected = load_upscaler("bicubic", 2)(origin[None])[0]
    np.testing.assert_array_equal(read_image(dataset.root / "sr_images/a/000002.png"), expected)
    info = Dataset.open(dataset.root).info
    assert (info["scale"], info["upscaler"]) == (2, {"spec": "bicubic", "sha256": None})


def test_frames_of_the_same_upscaler_are_kept_and_those_of_another_scale_are_not(dataset):
    super_resolve(dataset, "bicubic", 2)
    kept, lost = (dataset.root / "sr_images" / "a" / f"00000{n}.png" for n in (0, 1))
    before = kept.stat().st_mtime_ns
    lost.unlink()
    super_resolve(Dataset.open(dataset.root), "bicubic", 2)
    assert kept.stat().st_mtime_ns == before
    assert lost.exists()
    super_resolve(Dataset.open(dataset.root), "bicubic", 3)
    assert {read_image(dataset.root / name).shape for name in clear_files(dataset)} == {(60, 93, 3)}


def test_clear_frames_from_elsewhere_are_replaced_only_when_asked(dataset):
    own = dataset.root / "sr_images" / "a" / "000000.png"
    write_image(own, noise(1, 60, 93)[0])
    before = own.read_bytes()
    with pytest.raises(cli.InputError, match="was not made by this tool; move it away or give --overwrite"):
        super_resolve(dataset, "bicubic", 3)
    assert own.read_bytes() == before
    super_resolve(dataset, "bicubic", 3, overwrite=True)
    assert own.read_bytes() != before


def test_what_cannot_be_upscaled_is_refused(refused, dataset):
    line = refused("tools/super_resolve.py", "--data", dataset.root, "--model", "edsr:x.pt")
    assert "--model edsr:x.pt: no such upscaler; there are: builtin, bicubic" in line
    for spec, scale, message in (("builtin", 4, "does x3 only"), ("bicubic", 1, "2 to 8"), ("bicubic", 9, "2 to 8")):
        with pytest.raises(cli.InputError, match=message):
            load_upscaler(spec, scale)
    with pytest.raises(cli.InputError, match="--batch_size 0"):
        super_resolve(dataset, "bicubic", 3, 0)
    (dataset.root / "hr_images").mkdir()
    dataset.save(scale=3)
    with pytest.raises(cli.InputError, match="hr_images/ are at 3 times"):
        super_resolve(dataset, "bicubic", 2)


def test_frames_of_different_sizes_are_refused(dataset):
    write_image(dataset.root / "origin_images" / "a" / "000001.png", noise(1, 21, 31)[0])
    with pytest.raises(cli.InputError, match="differ in size"):
        super_resolve(dataset, "bicubic", 2, batch_size=3)
