import os
import resource

import numpy as np
import pytest

from regenhance_data.parallel.limits import limited_memory


def test_more_memory_than_the_machine_has_is_an_error_and_the_limit_ends():
    before = resource.getrlimit(resource.RLIMIT_DATA)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with limited_memory():
        assert np.empty(10**8, np.uint8).size == 10**8
        with pytest.raises(MemoryError):
            np.empty(int(0.95 * memory), np.uint8)
    assert resource.getrlimit(resource.RLIMIT_DATA) == before
