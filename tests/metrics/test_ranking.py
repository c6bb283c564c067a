import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from regenhance_data.metrics.ranking import agreement, spearman, top_recall

grids = arrays.arrays(np.float64, st.tuples(st.integers(1, 8), st.integers(1, 8)), elements=st.integers(0, 20))
shares = st.sampled_from([0.05, 0.1, 0.2, 1.0])


@given(grids, shares)
def test_the_truth_itself_and_whatever_keeps_its_order_rank_perfectly(truth, share):
    if np.ptp(truth) == 0:
        assert spearman(truth, truth) is None
        assert top_recall(truth, truth, share) is None
    else:
        assert np.isclose(spearman(np.exp(truth / 10), truth), 1)
        assert top_recall(truth**3, truth, share) == 1


@given(grids, shares)
def test_the_reverse_order_ranks_worst(truth, share):
    if np.ptp(truth) > 0:
        assert np.isclose(spearman(-truth, truth), -1)
        assert top_recall(-truth, truth, share) <= top_recall(truth, truth, share)


def test_the_top_are_counted_among_as_many_predicted_ones():
    truth = np.arange(10.0)
    predicted = np.array([0, 0, 0, 0, 0, 0, 0, 9, 0, 8.0])
    assert top_recall(predicted, truth, 0.1) == 0
    assert top_recall(predicted, truth, 0.2) == 0.5
    assert top_recall(predicted, truth, 0.3) == pytest.approx((2 + 1 / 8) / 3)  # the third is one of eight that tie


def test_a_constant_prediction_has_no_merit():
    assert spearman(np.ones(4), np.arange(4.0)) == 0
    assert top_recall(np.ones(10), np.arange(10.0), 0.2) == pytest.approx(0.2)


@given(grids, grids, shares, st.integers(0, 9))
def test_where_macroblocks_are_in_the_frame_has_no_part_in_the_recall(predicted, truth, share, seed):
    size = min(predicted.size, truth.size)
    predicted, truth = predicted.ravel()[:size], truth.ravel()[:size]
    order = np.random.default_rng(seed).permutation(size)
    assert top_recall(predicted[order], truth[order], share) == pytest.approx(top_recall(predicted, truth, share))


def test_unknown_cells_and_frames_without_order_do_not_count():
    truth = np.array([[0, 1, np.nan]])
    result = agreement([(np.array([[0, 1, -5.0]]), truth), (np.array([[1, 2, 3.0]]), np.zeros((1, 3)))])
    names = ("frames", "spearman", "recall_at_0.05", "recall_at_0.1", "recall_at_0.2", "kendall", "ranking")
    expected = dict.fromkeys(names, 1)
    assert result == pytest.approx(expected)
    assert agreement([])["spearman"] == 0
