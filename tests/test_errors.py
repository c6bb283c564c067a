import pytest

from regenhance_data.errors import one_line


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (KeyError(8), "KeyError 8"),
        (ValueError(), "ValueError"),
        (ValueError("[-1, 2]"), "ValueError [-1, 2]"),
        (ValueError("two\n lines"), "two lines"),
    ],
)
def test_an_exception_without_a_word_is_quoted_with_its_type(error, said):
    assert one_line(error) == said
