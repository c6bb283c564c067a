"""Frames spread over a video, without decoding all of it."""

from fractions import Fraction

import av
import numpy as np
import pytest

from regenhance_data.io.video import sample_frames


def numbered(path, count, keyframes_every, container_format=None):
    """A video whose frame i has the brightness 2·i, with keyframes at a fixed distance."""
    with av.open(str(path), "w", format=container_format) as container:
        options = {"qp": "0", "g": str(keyframes_every), "keyint_min": str(keyframes_every), "sc_threshold": "0"}
        stream = container.add_stream("libx264", rate=Fraction(10), options=options)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv444p"
        for index in range(count):
            image = np.full((32, 48, 3), 2 * index, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("keyframes_every", [1, 7, 30, 250])
@pytest.mark.parametrize("name", ["v.mp4", "v.mkv", "v.avi", "v.ts"])
def test_frames_are_spread_over_the_whole_video(tmp_path, name, keyframes_every):
    path = numbered(tmp_path / name, 120, keyframes_every)
    numbers = [round(frame.mean() / 2) for frame in sample_frames(path, 12)]
    assert 10 <= len(numbers) <= 14
    assert numbers == sorted(set(numbers))
    assert numbers[0] <= 10
    assert numbers[-1] >= 100
    assert max(np.diff(numbers)) <= 21


def test_a_raw_stream_and_a_short_video_are_sampled_too(tmp_path):
    raw = numbered(tmp_path / "v.h264", 60, 250, "h264")
    numbers = [round(frame.mean() / 2) for frame in sample_frames(raw, 12)]
    np.testing.assert_allclose(numbers, range(0, 60, 5), atol=1)  # YUV rounds
    assert len(list(sample_frames(numbered(tmp_path / "s.mp4", 5, 250), 30))) == 5
