import pytest

from regenhance_data.parallel.threads import bounded_map


@pytest.mark.parametrize("workers", [1, 3])
def test_results_come_in_order_and_nothing_is_begun_after_an_error(workers):
    begun = []

    def half(number):
        begun.append(number)
        if number == 4:
            raise ValueError("four")
        return number / 2

    found = []
    with pytest.raises(ValueError, match="four"):
        found.extend(bounded_map(half, range(100), workers))
    assert found == [0, 0.5, 1, 1.5]
    assert len(begun) <= 5 + workers
