import cv2
import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deploy.export.graph import predictor_graph
from deploy.export.matrices import interpolation_matrix, macroblock_matrix, pooling_matrix
from regenhance_data.errors import InputError
from regenhance_data.grid import MacroblockGrid
from tests.support.predictors import NORMALISATION, red_network

sides = st.tuples(st.integers(1, 20), st.integers(1, 90))


@given(sides, sides, st.integers(0, 2**32 - 1))
def test_two_matrices_upsample_as_opencv_does(rows, cols, seed):
    low = np.random.default_rng(seed).random((rows[0], cols[0]), dtype=np.float32)
    height, width = max(rows), max(cols)
    matrices = interpolation_matrix(rows[0], height), interpolation_matrix(cols[0], width)
    expected = cv2.resize(low, (width, height), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(matrices[0] @ low @ matrices[1].T, expected, atol=1e-5)


@given(st.integers(1, 20), st.integers(1, 90), st.integers(0, 2**32 - 1))
def test_aligned_corners_meet_the_first_and_the_last_value(size, out, seed):
    values = np.random.default_rng(seed).random(size)
    result = interpolation_matrix(size, out, "align_corners") @ values
    expected = np.interp(np.linspace(0, size - 1, out) if out > 1 else [0.0], np.arange(size), values)
    np.testing.assert_allclose(result, expected, atol=1e-9)


@given(sides, sides, st.integers(1, 33), st.integers(0, 2**32 - 1))
def test_the_macroblock_matrices_are_upsampling_and_then_the_mean_of_every_partial_block(rows, cols, mb_size, seed):
    low = np.random.default_rng(seed).random((rows[0], cols[0]))
    height, width = rows[1], cols[1]
    full = interpolation_matrix(rows[0], height) @ low @ interpolation_matrix(cols[0], width).T
    short = macroblock_matrix(rows[0], height, mb_size) @ low @ macroblock_matrix(cols[0], width, mb_size).T
    np.testing.assert_allclose(short, MacroblockGrid(height, width, mb_size).mean(full), atol=1e-9)


@given(sides, sides, st.integers(0, 2**32 - 1))
def test_two_matrices_pool_as_adaptive_pooling_does(rows, cols, seed):
    picture = np.random.default_rng(seed).random((rows[1], cols[1]))
    expected = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(picture)[None], (rows[0], cols[0]))[0]
    found = pooling_matrix(rows[1], rows[0]) @ picture @ pooling_matrix(cols[1], cols[0]).T
    np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize("head", ["macroblock", "pixels"])
def test_the_graph_takes_camera_pixels_and_ends_at_the_chosen_resolution(head):
    height, width = 40, 52
    model = predictor_graph(
        red_network(height, width), NORMALISATION, head, MacroblockGrid(height, width), {"kit": "x"}
    )
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    blue, red = (np.zeros((1, height, width, 3), np.uint8) for _ in range(2))
    blue[..., 0], red[..., 2] = 255, 255
    for frames, normalised_red in ((blue, -1.0), (red, 1.0)):
        (result,) = session.run(None, {"frames": frames})
        assert result.shape == ((1, 3, 4) if head == "macroblock" else (1, height, width))
        # away from the padded edge the level expected is the sigmoid of the red
        np.testing.assert_allclose(result[0, 0, 0], 1 / (1 + np.exp(-normalised_red)), atol=1e-5)
    assert "Resize" not in [node.op_type for node in model.graph.node] or head == "pixels"


def test_pixels_of_a_frame_that_the_network_sees_smaller_are_refused():
    with pytest.raises(InputError, match="has no output for pixels"):
        predictor_graph(red_network(32, 32), NORMALISATION, "pixels", MacroblockGrid(64, 64), {}, shrink=2)


def test_a_network_that_does_not_end_in_an_upsampling_is_refused():
    with pytest.raises(InputError, match="--head pixels"):
        predictor_graph(red_network(32, 32, upsamples=False), NORMALISATION, "macroblock", MacroblockGrid(32, 32), {})
