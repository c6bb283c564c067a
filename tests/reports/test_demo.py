import numpy as np
import pytest

from regenhance_data.regions.selection import select_macroblocks
from regenhance_data.reports.demo import order_of_selection


@pytest.mark.parametrize("scores", [np.zeros((5, 7)), np.eye(9), np.arange(35.0).reshape(7, 5) % 6, np.ones((1, 1))])
def test_the_reports_slider_enhances_what_the_kit_would_choose(scores):
    order = order_of_selection(scores)
    assert sorted(order) == list(range(scores.size))
    for percent in range(101):
        selected = select_macroblocks(scores, percent / 100)
        assert set(order[: selected.sum()]) == set(np.flatnonzero(selected))
