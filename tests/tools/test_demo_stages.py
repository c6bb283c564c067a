from tests.support.cameras import fill_cameras
from tools import demo


def test_a_folder_with_a_space_is_one_word_of_each_command(tmp_path):
    out = tmp_path / "my demo"
    commands = demo.stages(demo.make_parser().parse_args(["--save_dir", str(out)]))
    first = [next(commands), next(commands)]
    fill_cameras(out / "dataset", {"camera": 2})  # what these make
    for words in (*first, *commands):
        folders = [word for word in words if str(tmp_path) in word]
        assert folders
        assert all(folder.startswith(str(out)) for folder in folders)
