from regenhance_data import console


def test_work_without_a_terminal_prints_a_line_now_and_then(capsys, monkeypatch):
    monkeypatch.setattr(console, "LINE_EVERY_S", 0.0)
    assert list(console.progress(range(3), "decode", unit="frame")) == [0, 1, 2]
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert lines[2].startswith("decode: 2 of 3 frames in ")
    assert lines[2].endswith(" left")


def test_the_line_of_work_of_unknown_length_has_no_estimate(capsys, monkeypatch):
    monkeypatch.setattr(console, "LINE_EVERY_S", 0.0)
    assert list(console.progress(iter("ab"), "read", unit="file")) == ["a", "b"]
    assert capsys.readouterr().err.splitlines()[1] == "read: 1 files in 00:00"


def test_short_work_without_a_terminal_prints_nothing(capsys):
    assert list(console.progress(range(100), "decode")) == list(range(100))
    assert capsys.readouterr().err == ""


def test_tell_prints_one_line_on_stdout(capsys):
    console.tell("read as\n  a detector")
    assert capsys.readouterr() == ("read as a detector\n", "")
