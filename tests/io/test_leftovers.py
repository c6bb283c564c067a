import errno
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from regenhance_data.errors import InputError
from regenhance_data.io.files import atomic_write, refuse_unwritable, write_text
from regenhance_data.io.leftovers import owner, remove_abandoned, temporary_folder
from tests.support.files import ROOT

HANGING = """
import sys, time
from pathlib import Path
from regenhance_data.io.files import atomic_write
from regenhance_data.io.leftovers import temporary_folder
with temporary_folder() as own, temporary_folder(Path(sys.argv[1])), atomic_write(Path(sys.argv[1]) / "a.mp4") as half:
    half.write_bytes(b"half")
    (own / "half").write_bytes(b"half")
    print("ready", flush=True)
    time.sleep(60)
"""
NOBODY = 999_999_999  # no process has such a number


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def hanging(tmp_path, monkeypatch):
    """A process in the middle of a file and of two temporary folders, and the folders where they are."""
    folders = [tmp_path / name for name in ("out", "temporary")]
    for folder in folders:
        folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folders[1]))
    monkeypatch.setattr(tempfile, "tempdir", None)
    process = subprocess.Popen([sys.executable, "-c", HANGING, folders[0]], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    yield process, *folders
    process.kill()
    process.wait()
    process.stdout.close()


def test_what_a_killed_process_left_is_removed_by_the_next_and_what_a_living_one_has_is_not(hanging):
    process, out, temporary = hanging
    before = leftovers(out), leftovers(temporary)
    assert [len(names) for names in before] == [2, 1]
    remove_abandoned(out)
    with temporary_folder():
        pass
    assert (leftovers(out), leftovers(temporary)) == before
    process.send_signal(signal.SIGKILL)
    process.wait()
    again = "from regenhance_data.io.files import write_text as w; from pathlib import Path; import sys\n"
    again += "from regenhance_data.io.leftovers import temporary_folder as t\nw(Path(sys.argv[1]), '')\nwith t(): pass"
    subprocess.run([sys.executable, "-c", again, out / "another.json"], cwd=ROOT, check=True)
    assert (leftovers(out), leftovers(temporary)) == (["another.json"], [])


@pytest.mark.parametrize(
    ("name", "age_s", "stays"),
    [
        (f".writing-{NOBODY}-overlay.mp4", 0, False),  # of an older version, which did not name its machine
        (".writing-LIVING-overlay.mp4", 10**6, True),
        (f".writing-{NOBODY}.HERE-overlay.mp4", 0, False),
        (f".writing-{NOBODY}.00000000-overlay.mp4", 3600, True),  # of another machine: whether it lives is not known
        (f".writing-{NOBODY}.00000000-overlay.mp4", 2 * 24 * 3600, False),
        (".writing-LIVING.00000000-overlay.mp4", 2 * 24 * 3600, False),
        (".writing-model", 10**6, True),
        (f"writing-{NOBODY}-mine.mp4", 10**6, True),
        (f".writing-{'9' * 40}-x", 10**6, True),
    ],
)
@pytest.mark.parametrize("is_folder", [False, True])
def test_only_what_belongs_to_no_living_process_is_removed(tmp_path, name, age_s, stays, is_folder):
    machine = owner().partition(".")[2]
    path = tmp_path / name.replace("LIVING", str(os.getpid())).replace("HERE", machine)
    path.mkdir() if is_folder else path.touch()
    then = time.time() - age_s
    os.utime(path, (then, then))
    remove_abandoned(tmp_path)
    assert path.exists() == stays


def test_a_link_is_removed_and_what_it_leads_to_stays(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "photo.png").touch()
    (tmp_path / f".writing-{NOBODY}-x").symlink_to(tmp_path / "mine")
    write_text(tmp_path / "x", "")
    assert leftovers(tmp_path) == ["mine", "x"]
    assert leftovers(tmp_path / "mine") == ["photo.png"]


class Immutable(OSError):
    """As the exceptions of PyAV."""

    def __setattr__(self, name, value):
        raise AttributeError(name)


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), Immutable(errno.ENOSPC, "full")])
def test_a_full_disk_is_an_error_of_the_file_that_was_written(tmp_path, error):
    with pytest.raises(OSError, match="full") as full, atomic_write(tmp_path / "a.bin"):
        raise error
    assert (full.value.errno, full.value.filename) == (errno.ENOSPC, str(tmp_path / "a.bin"))
    with pytest.raises(OSError, match="full") as full, temporary_folder(tmp_path) as folder:
        raise type(error)(errno.ENOSPC, "full")
    assert full.value.filename == str(folder)
    assert leftovers(tmp_path) == []


def test_a_folder_that_cannot_be_written_to_is_refused_with_its_flag(tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match=rf"--save_dir {folder}: cannot be written to \(Not a directory\)"):
            refuse_unwritable(folder, "--save_dir")
    with pytest.raises(InputError, match=r"--save /proc/x: cannot be written to \(.+\); give another folder"):
        refuse_unwritable(Path("/proc/x"), "--save")
    refuse_unwritable(tmp_path / "new" / "deep", "--save_dir")
    refuse_unwritable(Path("relative/new"), "--save_dir")
    assert leftovers(tmp_path) == ["file"]
