"""JSON and YAML that is not trusted: one line, in a moment, whatever is in it."""

import os

import pytest

from regenhance_data.errors import InputError
from regenhance_data.io.files import parse_json, read_json, read_yaml

HEX, DIGITS = "0x" + "f" * 4000, "9" * 4000


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"a: {HEX}", "line 1 has a number of hundreds of digits; put it in quotes"),
        (f"? {HEX}\n: 1", "hundreds of digits"),
        (f"a: {DIGITS}", "hundreds of digits"),
        ("a: " + "[" * 50_000, "nested too deeply"),
        ("- " * 50_000, "nested too deeply"),
        ("a: 1\n" + "k" * 3_000_000 + ": 1\n", "could not find expected"),
        ("a: &a [1]\nb: *a", "it has an alias"),
        ("a: 1\nb: 2\na: 3", "line 3 has the key 'a' for the second time"),
        ("a: [{b: {c: 1}, d: [b, b]}, {b: 1, 'b': 2}]", "line 1 has the key 'b' for the second time"),
        ("[1, 2]", "expected a YAML mapping, found list"),
        ("a: 1\n" * 1_000_000, "has more than 4 MB"),
    ],
    ids=lambda value: value[:12],
)
def test_odd_yaml_is_refused(tmp_path, text, said):
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=said) as refusal:
        read_yaml(path)
    assert str(refusal.value).startswith(f"{path}: ")
    assert len(str(refusal.value)) < 400


def test_a_key_may_be_in_several_mappings_and_merged_into_one(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("a: &a {k: 1, v: a}\nb: {<<: *a, k: 2}\nk: [k, k, {k: k}]")
    assert read_yaml(path, 100) == {"a": {"k": 1, "v": "a"}, "b": {"k": 2, "v": "a"}, "k": ["k", "k", {"k": "k"}]}


@pytest.mark.parametrize(
    ("text", "said"),
    [(DIGITS, "hundreds of digits"), ("[" * 50_000, "nested too deeply"), ("{", "Expecting"), ("\xff", "decode")],
    ids=lambda value: value[:12],
)
def test_odd_json_is_refused(tmp_path, text, said):
    path = tmp_path / "x.json"
    path.write_bytes(text.encode("latin1"))
    with pytest.raises(InputError, match=rf"x\.json: not readable as JSON .*{said}"):
        read_json(path)
    with pytest.raises(ValueError, match=said):
        parse_json(path.read_bytes())


@pytest.mark.parametrize("read", [read_json, read_yaml])
def test_only_regular_files_of_a_bounded_size_are_read(tmp_path, read):
    os.mkfifo(tmp_path / "pipe")
    says = {"/dev/zero": "regular", "pipe": "regular", ".": "regular", "no": "no such file", "a\0": "no file name"}
    for name, said in says.items():
        with pytest.raises(InputError, match=said):
            read(tmp_path / name)
    (tmp_path / "large").write_text('{"a": 1}')
    with pytest.raises(InputError, match="more than 0 MB, which no such file needs"):
        read(tmp_path / "large", most_bytes=7)
    assert read(tmp_path / "large", most_bytes=8) == {"a": 1}


@pytest.mark.parametrize("number", [2**1023 - 1, -(2**1022)])
def test_integers_that_a_float_holds_are_kept(tmp_path, number):
    for read, name, text in ((read_json, "x.json", f'{{"a": {number}}}'), (read_yaml, "x.yaml", f"a: {number}")):
        (tmp_path / name).write_text(text)
        assert float(read(tmp_path / name)["a"]) == float(number)
