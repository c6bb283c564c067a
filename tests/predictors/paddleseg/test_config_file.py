import os

import pytest
import yaml

from regenhance_data.errors import InputError
from regenhance_data.predictors.paddleseg import config_file
from regenhance_data.predictors.paddleseg.config_file import read_config


def write(path, **content):
    path.write_text(yaml.safe_dump(content))
    return path


def test_each_base_is_read_once_however_often_it_is_named(tmp_path, monkeypatch):
    read = []
    real = config_file.read_yaml
    monkeypatch.setattr(config_file, "read_yaml", lambda path, *most: read.append(path.name) or real(path, *most))
    for level in range(40):
        write(tmp_path / f"b{level}.yml", _base_=[f"b{level + 1}.yml"] * 2, **{f"key{level}": level})
    write(tmp_path / "b40.yml", key40=40)
    assert read_config(tmp_path / "b0.yml") == {f"key{level}": level for level in range(41)}
    assert len(read) == 41


def test_a_base_is_a_regular_file_of_bounded_size(tmp_path):
    os.mkfifo(tmp_path / "pipe.yml")
    (tmp_path / "folder.yml").mkdir()
    (tmp_path / "large.yml").write_text("a: " + "x" * (2 << 20))
    says = {"/dev/zero": "not a regular file", "pipe.yml": "not a regular file", "folder.yml": "not a regular file"}
    for base, said in {**says, "large.yml": "more than 1 MB", "absent.yml": "no such file", "a\0b.yml": "read"}.items():
        with pytest.raises(InputError, match=said):
            read_config(write(tmp_path / "config.yml", _base_=base))


def test_a_chain_of_bases_without_end_is_refused(tmp_path):
    for level in range(60):
        write(tmp_path / f"b{level}.yml", _base_=f"b{level + 1}.yml")
    with pytest.raises(InputError, match="more than 50 times"):
        read_config(tmp_path / "b0.yml")


def test_aliases_stand_for_copies_of_bounded_number(tmp_path):
    path = tmp_path / "aliases.yml"
    path.write_text("loss: {types: [&one {type: CrossEntropyLoss}, *one], coef: [1, 1]}")
    types = read_config(path)["loss"]["types"]
    assert types == [{"type": "CrossEntropyLoss"}] * 2
    assert types[0] is not types[1]
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x]"] + [
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 8)}]" for n in range(1, 12)
    ]
    for text in ("\n".join(lines), "a: &a [*a]"):
        path.write_text(text)
        with pytest.raises(InputError, match="not readable as YAML"):
            read_config(path)
