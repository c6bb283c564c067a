"""An upscaler trained for a detector, on frames whose squares interpolation blurs."""

import json
import shutil
from dataclasses import replace
from functools import partial

import cv2
import numpy as np
import pytest

from regenhance_data.dataset.folder import Dataset
from regenhance_data.detectors.builtin import BuiltinDetector
from regenhance_data.detectors.settings import DetectorSettings
from regenhance_data.errors import InputError
from regenhance_data.io.images import write_image
from regenhance_data.learning.upscaler import upscale
from regenhance_data.tuning.frames import read_pairs_of, read_training_pairs, refuse_blind
from regenhance_data.tuning.judge import Judge
from regenhance_data.tuning.settings import UpscalerTrainSettings
from regenhance_data.tuning.training import train_upscaler, training_state
from regenhance_data.upscalers.enhancement import RegionEnhancer
from regenhance_data.upscalers.general import load_general_upscaler
from regenhance_data.upscalers.loading import load_upscaler
from regenhance_data.upscalers.settings import UpscalerSettings
from tests.support.cameras import SCALE, square_frames
from tests.support.files import content, noise

HEIGHT, WIDTH, FRAMES = 96, 128, 16  # of HR frames
SMALL = ("--channels", 8, "--layers", 2)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A clip with originals whose dim squares are too faint for the detector once they are blurred."""
    root = tmp_path_factory.mktemp("originals")
    for number, hr in enumerate(square_frames(FRAMES, HEIGHT, WIDTH)):
        lr = cv2.resize(hr, (WIDTH // SCALE, HEIGHT // SCALE), interpolation=cv2.INTER_AREA)
        for folder, image in (("hr_images", hr), ("origin_images", lr)):
            write_image(root / folder / "gate" / f"{number:06d}.png", image)
    dataset = Dataset.open(root)
    dataset.save(scale=SCALE)
    frames = dataset.frames("gate")
    for split, some in {"train": frames[:10], "val": frames[10:13], "test": frames[13:]}.items():
        dataset.write_split(split, some)
    return root


@pytest.fixture
def pairs(data):
    """The training pairs, and those of the validation frames."""
    dataset = Dataset.open(data)
    training = read_training_pairs(dataset, dataset.split_frames("train"))
    return training, read_pairs_of(dataset, dataset.split_frames("val"), 3)


def test_a_detector_that_finds_something_in_one_frame_of_many_is_not_blind(data, detector, tmp_path):
    shutil.copytree(data, tmp_path / "data")
    dataset = Dataset.open(tmp_path / "data")
    frames = dataset.frames("gate")
    for number, frame in enumerate(frames):
        if number != 11:
            write_image(dataset.path("hr_images", frame), np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    refuse_blind(detector, dataset, frames)
    with pytest.raises(InputError, match="the detector finds nothing in 11 HR frames"):
        refuse_blind(detector, dataset, frames[:11])


@pytest.mark.slow
def test_the_command_makes_an_upscaler_with_which_the_detector_finds_more(run, data, detector_file, tmp_path):
    given = ("--data", data, "--detector", f"onnx:{detector_file}", "--save_dir", tmp_path)
    made = run("tools/train_upscaler.py", *given, *SMALL, "--iterations", 60, 160)
    assert f"--upscaler onnx:{tmp_path}/upscaler.onnx --save_dir runs/online" in made.stdout
    assert "the trained upscaler has too few test frames to be judged by: +" in made.stdout
    names = ["train_log.json", "upscaler.json", "upscaler.onnx", "upscaler.parity.json", "upscaler.ts"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    rows = {row["name"]: row for row in json.loads((tmp_path / "upscaler.json").read_text())["upscalers"]}
    final = rows["trained for the detector"]
    assert final["test"] > max(rows["bicubic"]["test"], rows["nothing (bilinear)"]["test"])
    assert final["val"] >= rows["trained on pixels alone"]["val"]
    assert final["halo_px"] == 3
    assert final["ms"] > 0
    onnx, script = (
        load_upscaler(UpscalerSettings(f"{kind}:{tmp_path}/upscaler.{suffix}", SCALE))
        for kind, suffix in (("onnx", "onnx"), ("torchscript", "ts"))
    )
    frame = np.stack(noise(1, 37, 51))
    assert np.abs(onnx(frame).astype(int) - script(frame)).max() <= 1
    assert RegionEnhancer(onnx).halo_px == 3


class Interrupted(Judge):
    """Is interrupted as it judges for the third time, when a part of the detector's phase is done."""

    calls = 0

    def score(self, upscale):
        self.calls += 1
        if self.calls == 3:
            raise KeyboardInterrupt
        return super().score(upscale)


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        (UpscalerTrainSettings(iterations=(4, 9), channels=4, layers=1), "6 of 13"),
        (UpscalerTrainSettings(iterations=(0, 9)), "2 of 9"),  # from the general weights
    ],
)
def test_an_interrupted_training_ends_with_the_weights_of_an_unbroken_one(settings, kept, pairs, detector, tmp_path):
    training, validation = pairs

    def trained(judge, folder):
        return train_upscaler(training, judge(detector, validation), detector, settings, tmp_path / folder, "same")

    whole = trained(Judge, "whole")
    with pytest.raises(KeyboardInterrupt, match=f"kept {kept} steps; give the command again to go on"):
        trained(Interrupted, "broken")
    resumed = trained(Judge, "broken")
    again = trained(Judge, "broken")  # as when the export of what is trained was interrupted
    assert all(bool((a == b).all()) for a, b in zip(again.best.parameters(), resumed.best.parameters(), strict=True))
    for folder in ("broken", "whole"):
        training_state(tmp_path / folder).unlink()
    assert content(tmp_path / "broken") == content(tmp_path / "whole")
    assert (whole.on_pixels is None) == (settings.iterations[0] == 0)
    for one, other in ((whole.best, resumed.best), (whole.on_pixels or whole.best, resumed.on_pixels or resumed.best)):
        assert all(bool((a == b).all()) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize(("more", "is_near"), [({}, True), ({"pretrained": False}, False), ({"layers": 4}, False)])
def test_a_training_begins_with_the_general_weights_of_its_size(more, is_near, pairs, detector, tmp_path):
    training, validation = pairs
    judge = Judge(detector, validation)
    settings = UpscalerTrainSettings(iterations=(1, 1), **more)
    trained = train_upscaler(training, judge, detector, settings, tmp_path, "same")
    first, general = (next(some.parameters()) for some in (trained.on_pixels, load_general_upscaler(SCALE)))
    assert bool((first - general).abs().max() < 0.01) == is_near


@pytest.mark.parametrize(("pretrained", "on_pixels"), [(True, 0), (False, 1)])
def test_a_training_from_the_general_weights_has_no_steps_on_pixels_alone(
    pretrained, on_pixels, pairs, detector, tmp_path, capsys
):
    training, validation = pairs
    judge, settings = Judge(detector, validation), UpscalerTrainSettings(minutes=1e-6, pretrained=pretrained)
    trained = train_upscaler(training, judge, detector, settings, tmp_path, "same")
    assert trained.iterations == (on_pixels, 1)
    assert (trained.on_pixels is None) == pretrained
    out, err = capsys.readouterr()
    said = out + err
    assert "--minutes 1e-06: 9 validations take" in said
    assert ("a step on pixels takes" in said, "before the first step: F1" in said) == (not pretrained, pretrained)


def test_weights_that_a_training_makes_worse_are_not_kept(pairs, detector, tmp_path, monkeypatch):
    training, validation = pairs
    judge, settings = Judge(detector, validation), UpscalerTrainSettings(iterations=(0, 3))
    scores = iter([0.5, 0.5, 0.4, 0.5])
    monkeypatch.setattr(judge, "score", lambda _: next(scores))
    trained = train_upscaler(training, judge, detector, settings, tmp_path, "same")
    of_general = judge.psnr(partial(upscale, load_general_upscaler(SCALE)))
    assert judge.psnr(partial(upscale, trained.best)) == of_general
    assert [row["step"] for row in trained.log if row["best"]] == [0]
    assert trained.log[0]["psnr"] == of_general != trained.log[-1]["psnr"]


def test_random_weights_need_steps_on_pixels(pairs, detector, tmp_path):
    training, validation = pairs
    settings = UpscalerTrainSettings(iterations=(0, 2), pretrained=False)
    with pytest.raises(InputError, match="--iterations 0 2: random weights need steps on pixels first"):
        train_upscaler(training, Judge(detector, validation), detector, settings, tmp_path, "same")


def test_another_training_in_the_folder_of_an_unfinished_one_is_told(pairs, detector, tmp_path, capsys):
    training, validation = pairs
    settings = UpscalerTrainSettings(iterations=(1, 9), channels=4, layers=1)
    with pytest.raises(KeyboardInterrupt):
        train_upscaler(training, Interrupted(detector, validation), detector, settings, tmp_path, "one")
    unfinished = training_state(tmp_path).read_bytes()
    with pytest.raises(InputError, match="have no gradient"):
        train_upscaler(training, Judge(detector, []), Blocking(DetectorSettings()), settings, tmp_path, "other")
    assert training_state(tmp_path).read_bytes() == unfinished
    train_upscaler(training, Judge(detector, validation), detector, settings, tmp_path, "other")
    said = "".join(capsys.readouterr())
    assert f"{tmp_path} has an unfinished training of other frames or settings, which this one replaces" in said


def test_the_verdict_follows_the_interval(pairs, detector):
    _, validation = pairs
    judge = Judge(detector, validation * 8)  # frames enough for an interval
    originals = iter([pair.hr for pair in validation * 8])
    blind = {"perfect": lambda _: next(originals)[None], "black": lambda lr: 0 * lr.repeat(SCALE, 1).repeat(SCALE, 2)}
    compared = judge.compare(blind)
    assert compared.lead("perfect", "black").value == 1
    assert compared.verdict("perfect", ["black"]).startswith("is better on the test frames: +")
    assert compared.verdict("black", ["perfect"]).startswith("is not shown to be better than each of the others")
    few = Judge(detector, validation).compare({"black": blind["black"]})
    assert few.verdict("black", []).startswith("has too few test frames to be judged by: +0.000 (")
    empty = [replace(pair, hr=np.zeros_like(pair.hr)) for pair in validation]
    without = Judge(detector, empty).compare({"black": blind["black"]})
    assert without.verdict("black", []) == "has no object in the test frames to be judged by"


def without_originals(root):
    shutil.rmtree(root / "hr_images")


def without_one_original(root):
    (root / "hr_images/gate/000003.png").unlink()


def of_another_scale(root):
    Dataset.open(root).save(scale=3)


def without_lists(root):
    (root / "train.txt").unlink()


def without_validation(root):
    (root / "val.txt").write_text("")


def without_objects(root):
    for path in (root / "hr_images").rglob("*.png"):
        write_image(path, np.zeros((HEIGHT, WIDTH, 3), np.uint8))


BAD = {
    without_originals: r"hr_images: no such folder; .* extract again with tools/extract.py --keep_hr",
    without_one_original: r"000003.png: no such HR frame \(1 of 10 are missing\); .*--keep_hr",
    of_another_scale: r"hr_images/gate/000000.png: is 128x96, expected 192x144",
    without_lists: r"train.txt: no such file; make it with",
    without_validation: r"val.txt: lists no frame; make it again",
    without_objects: r"hr_images: the detector finds nothing in \d+ HR frames: the best score",
}


@pytest.mark.parametrize("spoil", BAD, ids=lambda spoil: spoil.__name__)
def test_what_no_upscaler_can_be_trained_on_is_refused(spoil, data, detector_file, tmp_path):
    from tools import train_upscaler as command

    root = tmp_path / "data"
    shutil.copytree(data, root)
    spoil(root)
    words = ["--data", root, "--detector", f"onnx:{detector_file}", "--save_dir", tmp_path / "out", *SMALL]
    with pytest.raises(InputError, match=BAD[spoil]):
        command.main(command.make_parser().parse_args([str(word) for word in words]))
    assert not (tmp_path / "out").exists()


def test_overlapping_lists_are_told(data, detector_file, tmp_path, capsys):
    from tools import train_upscaler as command

    root = tmp_path / "data"
    shutil.copytree(data, root)
    without_objects(root)  # so that it ends before the training
    for name in ("val", "test"):
        shutil.copy(root / "train.txt", root / f"{name}.txt")
    words = ["--data", root, "--detector", f"onnx:{detector_file}", "--save_dir", tmp_path / "out"]
    with pytest.raises(InputError, match="finds nothing"):
        command.main(command.make_parser().parse_args([str(word) for word in words]))
    said = capsys.readouterr().err
    for shared in ("10 validation frames are training", "10 test frames are training", "10 test frames are validation"):
        assert f"10 of {shared} frames too" in said


class Blocking(BuiltinDetector):
    """The built-in detector without its gradient."""

    def dense(self, frames, proposals=None):
        return super().dense(frames.detach(), proposals)


def test_a_detector_without_a_gradient_is_refused(pairs, tmp_path):
    detector = Blocking(DetectorSettings())
    training, _ = pairs
    with pytest.raises(InputError, match="builtin: its results have no gradient"):
        train_upscaler(training, Judge(detector, []), detector, UpscalerTrainSettings(), tmp_path, "")


def test_frames_without_objects_say_nothing_of_a_detector_s_gradient(pairs, detector, tmp_path, monkeypatch):
    monkeypatch.setattr(detector, "same_rows", False)  # so that it is followed by the overlap of its boxes
    training, _ = pairs
    judge, settings = Judge(detector, []), UpscalerTrainSettings(iterations=(1, 1), channels=4, layers=1)
    empty = [(np.zeros_like(lr), np.zeros_like(hr)) for lr, hr in training]
    assert train_upscaler([*empty[:9], training[9]], judge, detector, settings, tmp_path / "some", "").iterations == (
        1,
        1,
    )
    with pytest.raises(InputError, match="its results have no gradient"):
        train_upscaler(empty, judge, detector, settings, tmp_path / "none", "")


@pytest.mark.parametrize(
    "wrong",
    [
        {"minutes": 0},
        {"iterations": (-1, 5)},
        {"iterations": (5, 0)},
        {"channels": 0},
        {"layers": 99},
        {"seed": -1},
        {"seed": 2**64},
    ],
    ids=str,
)
def test_flags_out_of_range_are_refused(wrong):
    with pytest.raises(InputError, match=f"--{next(iter(wrong))} "):
        UpscalerTrainSettings(**wrong)
