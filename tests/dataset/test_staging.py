import pytest

from regenhance_data.dataset.staging import finish_publishing, publish, stage, staging_folder


@pytest.fixture
def staged(tmp_path):
    """A part with an old file, and a new one beside it."""
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "a.txt").write_text("old")
    stage(tmp_path, "part", {"key": 1})
    (tmp_path / staging_folder("part") / "a.txt").write_text("new")
    return tmp_path


def test_new_files_replace_the_old_ones_and_their_record_is_saved(staged):
    saved = {}
    publish(staged, "part", saved.update)
    assert [path.read_text() for path in (staged / "part").iterdir()] == ["new"]
    assert saved == {"key": 1}


@pytest.mark.parametrize("left", [[], ["plan.json"], ["a.txt", "plan.json"]])
def test_a_replacement_that_was_killed_at_any_removal_is_finished(staged, left):
    folder = (staged / staging_folder("part")).rename(staged / "part" / ".ready")
    for path in list(folder.iterdir()):
        if path.name not in left:
            path.unlink()
    saved = {}
    finish_publishing(staged, "part", saved.update)
    assert not folder.exists()
    assert saved == ({"key": 1} if left else {})
    assert (staged / "part" / "a.txt").read_text() == ("new" if "a.txt" in left else "old")
    finish_publishing(staged, "part", saved.update)
