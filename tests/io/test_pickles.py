import io
import os
import pickle
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regenhance_data.io.pickles import ARRAYS, restricted_load

VALUE = {
    "floats": np.arange(6.0).reshape(2, 3),
    "columns": np.asfortranarray(np.eye(3, 2)),
    "words": np.array(["a", "bc"]),
    "number": np.float32(3.5),
    "plain": (1, None, True, "ä", [b"yz\xff", 2.5]),
}


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_and_plain_values_come_back_from_every_protocol(tmp_path, protocol):
    (tmp_path / "value.pkl").write_bytes(pickle.dumps(VALUE, protocol))
    found = restricted_load(tmp_path / "value.pkl", ARRAYS)
    assert found.pop("plain") == VALUE["plain"]
    for key, array in found.items():
        np.testing.assert_array_equal(array, VALUE[key])
        assert array.dtype == VALUE[key].dtype


def test_what_is_not_listed_is_refused_before_it_is_made():
    class Harm:
        def __reduce__(self):
            return os.mkdir, ("/made-by-a-pickle",)

    with pytest.raises(pickle.UnpicklingError, match="mkdir, which is not read"):
        restricted_load(io.BytesIO(pickle.dumps([Harm()])), ARRAYS)
    assert restricted_load(io.BytesIO(pickle.dumps(len)), {("builtins", "len"): max}) is max


@given(st.integers(0, 400), st.integers(0, 255), st.integers(2, 5))
def test_a_broken_pickle_is_read_or_refused_and_does_nothing_else(place, byte, protocol):
    content = bytearray(pickle.dumps(VALUE, protocol))
    content[place % len(content)] = byte
    with suppress(pickle.UnpicklingError):
        restricted_load(io.BytesIO(bytes(content)), ARRAYS)


def test_a_huge_memo_number_costs_no_memory():
    with pytest.raises(pickle.UnpicklingError):
        restricted_load(io.BytesIO(b"Nr\xff\xff\xff\xff"), ARRAYS)


@pytest.mark.parametrize("key_in", [b"}%sNs.", b"}(%sNu.", b"(%sNd.", b"\x8f(%s\x90.", b"(%s\x91."], ids=repr)
def test_keys_that_take_for_ever_to_hash_are_refused(key_in):
    """Forty tuples, each twice in the next."""
    deep = b")" + b"2\x86" * 40
    with pytest.raises(pickle.UnpicklingError):
        restricted_load(io.BytesIO(b"\x80\x04" + key_in.replace(b"%s", deep)), ARRAYS)


def test_flat_keys_are_read():
    value = {("video", 7): [((1, 2), (3,))], 3: {}, "a": None, (): 0}
    for protocol in range(6):
        assert restricted_load(io.BytesIO(pickle.dumps(value, protocol)), ARRAYS) == value


def test_a_type_that_says_it_holds_objects_is_not_believed():
    """NumPy takes a type's flags from the pickle: bytes of the file's choice would become addresses."""

    class Type:
        def __reduce__(self):
            return np.dtype, ("O8", False, True), (3, "|", None, None, None, -1, -1, 0)

    class Array:
        def __reduce__(self):
            return np.core.multiarray._reconstruct, (np.ndarray, (0,), b"b"), (1, (2,), Type(), False, b"A" * 16)

    with pytest.raises(pickle.UnpicklingError, match="an array of object, which is not read"):
        restricted_load(io.BytesIO(pickle.dumps(Array(), 2)), ARRAYS)
