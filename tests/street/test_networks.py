"""The two networks that come with the kit: their accuracy on streets outside the training."""

import cv2
import numpy as np
import pytest
import torch

from regenhance_data.detectors.loading import load_detector
from regenhance_data.detectors.settings import DetectorSettings
from regenhance_data.errors import InputError
from regenhance_data.learning.upscaler import upscale
from regenhance_data.learning.weights import save_weights
from regenhance_data.regions.composite import upsample_frame
from regenhance_data.street.detector import CLASS_NAMES, load_street_detector, train_street_detector
from regenhance_data.street.samples import TRAINING_SEEDS, camera_view, training_samples
from regenhance_data.street.scene import render_scene
from regenhance_data.street.upscaler import load_street_upscaler, train_street_upscaler
from regenhance_data.street.weights import DETECTOR_WEIGHTS, UPSCALER_WEIGHTS
from tests.support.detectors import doubles, slope_and_gradient
from tools import train_builtin_detector, train_builtin_upscaler


@pytest.fixture(scope="module")
def detector():
    return load_street_detector()


@pytest.fixture(scope="module")
def upscaler():
    return load_street_upscaler()


@pytest.fixture(scope="module")
def unseen():
    """[(HR frame, true boxes, labels, LR frame)] of streets outside the training."""
    moments = []
    for seed in range(TRAINING_SEEDS + 100, TRAINING_SEEDS + 106):
        clip = list(render_scene(seed, 3))
        *_, lr = camera_view((frame for frame, _, _ in clip), crf=28)
        moments.append((*clip[-1], lr))
    return moments


def tensor(frame: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(frame).permute(2, 0, 1)[None].float()


def found_share(detector, frame, boxes, labels) -> float:
    """The share of true boxes that a prediction of the right class above 0.3 covers with an IoU of 0.5."""
    with torch.inference_mode():
        predicted, scores = (value[0].numpy() for value in detector(tensor(frame)))
    kept = scores.max(1) > 0.3
    predicted, classes = predicted[kept], scores[kept].argmax(1)
    if not len(predicted):
        return 0.0
    low, high = np.maximum(predicted[:, None, :2], boxes[:, :2]), np.minimum(predicted[:, None, 2:], boxes[:, 2:])
    inner = (high - low).clip(0).prod(-1)
    area, true_area = ((b[:, 2:] - b[:, :2]).prod(-1) for b in (predicted, boxes))
    iou = inner / (area[:, None] + true_area - inner) * (classes[:, None] == labels)
    return float((iou.max(0) >= 0.5).mean())


@pytest.mark.slow
def test_the_detector_finds_most_objects_on_sharp_frames_of_unseen_streets(detector, unseen):
    shares = [found_share(detector, clear, boxes, labels) for clear, boxes, labels, _ in unseen]
    assert np.mean(shares) > 0.75


@pytest.mark.slow
def test_the_gradient_of_the_detectors_accuracy_is_its_slope(unseen):
    with doubles():
        detector = load_detector(DetectorSettings())
        slope, gradient = slope_and_gradient(detector, unseen[0][0], 1e-4, "float64")
    assert gradient > 0
    assert slope == pytest.approx(gradient, rel=0.02)


@pytest.mark.slow
def test_the_detector_finds_more_on_the_upscaled_frame_than_on_the_upsampled_one(detector, upscaler, unseen):
    upscaled = [found_share(detector, upscale(upscaler, o[None])[0], b, n) for _, b, n, o in unseen]
    upsampled = [found_share(detector, upsample_frame(o, 3), b, n) for _, b, n, o in unseen]
    assert np.mean(upscaled) > np.mean(upsampled) + 0.15


def test_the_detector_sees_little_on_an_empty_frame(detector):
    with torch.inference_mode():
        _, scores = detector(torch.full((1, 3, 96, 160), 110.0))
    assert scores.max() < 0.3


@pytest.mark.parametrize(("height", "width"), [(1, 1), (37, 101), (64, 64), (99, 33)])
def test_the_detector_takes_frames_of_any_size(detector, height, width):
    with torch.inference_mode():
        boxes, scores = detector(torch.rand(2, 3, height, width) * 255)
    assert boxes.shape[:2] == scores.shape[:2]
    assert boxes.shape[2] == 4
    assert scores.shape[2] == len(CLASS_NAMES)
    assert boxes.isfinite().all()
    assert (boxes[..., 2:] >= boxes[..., :2]).all()
    assert ((scores >= 0) & (scores <= 1)).all()


@pytest.mark.slow
def test_the_scores_have_a_gradient_where_the_objects_are(detector, unseen):
    hr, boxes, _, _ = unseen[0]
    frame = tensor(hr).requires_grad_()
    _, scores = detector(frame)
    scores[scores > 0.3].sum().backward()
    gradient = frame.grad[0].abs().sum(0).numpy()
    inside = np.zeros(gradient.shape, bool)
    for x0, y0, x1, y1 in boxes.astype(int):
        inside[y0:y1, x0:x1] = True
    assert gradient[inside].mean() > 3 * gradient[~inside].mean()


@pytest.mark.slow
def test_the_upscaler_is_nearer_to_the_hr_frame_than_bilinear(upscaler, unseen):
    for hr, _, _, lr in unseen:
        made = upscale(upscaler, lr[None])[0]
        assert cv2.PSNR(hr, made) > cv2.PSNR(hr, upsample_frame(lr, 3)) + 0.5


@pytest.mark.parametrize(("height", "width"), [(1, 1), (17, 31), (36, 64)])
def test_the_upscaler_gives_three_times_the_size_of_any_frame(upscaler, height, width):
    frames = np.random.default_rng(0).integers(0, 256, (2, height, width, 3), np.uint8)
    made = upscale(upscaler, frames)
    assert made.shape == (2, 3 * height, 3 * width, 3)
    assert made.dtype == np.uint8


@pytest.mark.parametrize(
    ("path", "most_mb"), [(DETECTOR_WEIGHTS, 2.0), (UPSCALER_WEIGHTS, 1.0)], ids=lambda v: str(v)[-20:]
)
def test_the_weights_are_small(path, most_mb):
    assert path.stat().st_size < most_mb * 1e6


def test_weights_that_are_broken_or_missing_are_told_in_one_line(tmp_path):
    broken = tmp_path / "broken.pt"
    broken.write_bytes(b"no weights")
    for path in (broken, tmp_path / "missing.pt"):
        with pytest.raises(InputError, match=path.name):
            load_street_upscaler(path)


def test_weights_of_another_network_are_refused_in_one_line(tmp_path):
    torch.save({"weights": "none"}, tmp_path / "words.pt")
    for load, path in (
        (load_street_detector, UPSCALER_WEIGHTS),
        (load_street_upscaler, DETECTOR_WEIGHTS),
        (load_street_upscaler, tmp_path / "words.pt"),
    ):
        with pytest.raises(InputError, match=rf"{path.name}: its weights are not of \w+ \(") as refusal:
            load(path)
        assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("command", "flags", "says"),
    [
        (train_builtin_detector, ("--iterations", "0"), "--iterations 0: expected at least 1"),
        (train_builtin_detector, ("--seed", "-1"), "--seed -1: expected 0 to"),
        (train_builtin_upscaler, ("--iterations", "-5"), "--iterations -5: expected at least 1"),
        (train_builtin_upscaler, ("--detector_iterations", "0"), "--detector_iterations 0: expected at least 1"),
        (train_builtin_upscaler, ("--seed", str(2**64)), "--seed 18446744073709551616: expected 0 to"),
        (train_builtin_upscaler, ("--detector", str(UPSCALER_WEIGHTS)), "its weights are not of StreetDetector"),
    ],
)
def test_the_commands_refuse_what_cannot_be_trained(tmp_path, command, flags, says):
    with pytest.raises(InputError, match=says):
        command.main(command.make_parser().parse_args(["--save_dir", str(tmp_path), "--streets", "1", *flags]))
    assert not list(tmp_path.iterdir())


def test_both_networks_can_be_trained_anew_and_saved(tmp_path):
    samples = training_samples(1)
    detector = train_street_detector(samples, iterations=2, batch=2)
    upscaler = train_street_upscaler(samples, iterations=2, batch=2, detector=detector)
    assert save_weights(detector, tmp_path / "detector.pt").stat().st_size < 2e6
    path = save_weights(upscaler, tmp_path / "upscaler.pt")
    reloaded = load_street_upscaler(path)
    for saved, loaded in zip(upscaler.parameters(), reloaded.parameters(), strict=True):
        torch.testing.assert_close(saved, loaded, rtol=1e-3, atol=1e-3)


def test_training_keeps_the_streets_of_the_demo_and_the_tests_out():
    with pytest.raises(InputError, match="streets"):
        training_samples(TRAINING_SEEDS + 1)
