"""The README and the other pages: their commands parse, their links, paths and quoted messages exist, the README's
pipeline runs; pages and code use the words of the glossary.
"""

import ast
import io
import os
import re
import runpy
import shlex
import subprocess
import sys
import tokenize
from argparse import ArgumentParser
from functools import cache
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest

from regenhance_data.predictors.paddleseg.arguments import make_parser as paddleseg_parser
from tests.support.files import ROOT, encode

README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE_CODE = re.compile(r"`[^`]*`")
PATH_OF_THE_KIT = re.compile(r"(?<![\w/.-])(?:regenhance_data|deploy|tools|tests|docs|paddleseg_configs)/[\w/.-]*\w")
OTHER_WORDS = re.compile(
    r"\b(?:(?:origin|clear|blurred)[- ](?:image|frame|picture|pixel|folder)s?|blurred)\b", re.IGNORECASE
)
SOURCES = [path for folder in ("regenhance_data", "deploy", "tools") for path in sorted((ROOT / folder).rglob("*.py"))]
QUOTED_MESSAGE = re.compile(r"^\| `([^`]+)` \|", re.MULTILINE)
MESSAGES_OF_PYTHON = {"No module named 'regenhance_data'"}
MOST_README_LINES = 250
# flags that make the README's pipeline short, and what its detector finds
SHORTER = {
    "--height 360": "--height 64",
    "--classes person car bus truck": "--classes red blue",
    "--use_ema": "--use_ema --iters 4 --batch_size 2",
    "--save_dir runs/benchmark": "--save_dir runs/benchmark --rounds 1 --repeats 2 --warmup 1",
}
WRITTEN = [
    "my_dataset/train.txt",
    "my_dataset/report.html",
    "runs/predicted/predictions.npz",
    "runs/predictor/mb_nano.onnx",
    "runs/camera/overlay.mp4",
    "runs/benchmark/benchmark.json",
    "runs/evaluation/evaluation.json",
]


def shell_blocks(text: str) -> list[str]:
    """The fenced shell commands of a page: fences without a language."""
    return [body for language, body in FENCE.findall(text) if not language]


def commands() -> list[pytest.param]:
    """The words of each command of every page; `…` stands for more of the same."""
    lines = [
        (page, line)
        for page in PAGES
        for block in shell_blocks(page.read_text())
        for line in block.replace("\\\n", " ").splitlines()
    ]
    found = []
    for page, line in lines:
        words = [word for word in shlex.split(line, comments=True) if word != "…"]
        for is_and, command in groupby(words, "&&".__eq__):
            if not is_and:
                words = list(command)
                found.append(pytest.param(words, id=f"{page.stem}: {' '.join(words)[:60]}"))
    return found


@cache
def parser_of(script: str) -> ArgumentParser:
    return paddleseg_parser() if script == "paddleseg" else runpy.run_path(str(ROOT / script))["make_parser"]()


def parsed_as(words: list[str]) -> tuple[str, list[str]] | None:
    """(the kit's command, its arguments); None where the words run something else."""
    if words[0] == "paddleseg":
        return "paddleseg", words[1:]
    if words[:3] == ["python", "-m", "paddle.distributed.launch"]:
        return "paddleseg", words[words.index(".venv/bin/paddleseg") + 1 :]
    if words[0] == "python" and words[1].startswith(("tools/", "deploy/")):
        return words[1], words[2:]
    return None


@pytest.mark.parametrize("words", commands())
def test_commands_of_the_docs_exist_and_take_these_flags(words, capsys):
    if words[0] == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert {word for word in words[1:] if "=" not in word} <= set(targets)
    elif command := parsed_as(words):
        try:
            parser_of(command[0]).parse_args(command[1])
        except SystemExit:
            pytest.fail(capsys.readouterr().err)


def test_commands_were_found():
    known = [parsed_as(param.values[0]) for param in commands()]
    assert {command[0] for command in known if command} >= {"paddleseg", "tools/extract.py", "deploy/trt_infer.py"}


def anchors(page: Path) -> set[str]:
    """What links may name after # in a page, as GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", page.read_text())):
        if link.startswith(("http://", "https://")):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_exist(page):
    missing = [path for path in PATH_OF_THE_KIT.findall(page.read_text()) if not (ROOT / path).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_frames_are_called_by_the_words_of_the_glossary(page):
    prose = INLINE_CODE.sub("", FENCE.sub("", page.read_text()))
    assert not [match.group() for match in OTHER_WORDS.finditer(" ".join(prose.split()))]


def strings_of(source: str) -> list[str]:
    """The string constants of Python code, docstrings and the literal parts of f-strings included."""
    nodes = ast.walk(ast.parse(source))
    return [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def comments_of(source: str) -> str:
    """All comments of Python code as one text, since a sentence may go on in the next line."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return " ".join(token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT)


def other_words_in(source: str) -> list[str]:
    texts = [*strings_of(source), comments_of(source)]
    return [match.group() for text in texts for match in OTHER_WORDS.finditer(" ".join(text.split()))]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_strings_and_comments_of_the_code_use_the_words_of_the_glossary(path):
    assert not other_words_in(path.read_text())


@pytest.mark.parametrize(
    "source",
    [
        '"""The clear\nframe."""',
        'print(f"{path}: has no origin image")',
        "x = 1  # of the clear\ny = 2  # pixels",
        'add_argument("--x", help="Blurred, of " "the LR frame")',
    ],
)
def test_other_words_are_found_in_strings_and_comments(source):
    assert other_words_in(source)


def test_names_of_folders_and_flags_are_no_other_words():
    assert not other_words_in('"origin_images/<clip>/ and --clear sr_images"  # hr_folder of --clear')


def test_messages_that_the_troubleshooting_page_quotes_exist():
    messages = set(QUOTED_MESSAGE.findall((ROOT / "docs/troubleshooting.md").read_text())) - MESSAGES_OF_PYTHON
    assert len(messages) >= 6
    texts = [text for path in SOURCES for text in strings_of(path.read_text())] + [(ROOT / "Makefile").read_text()]
    for message in messages:
        literal = max(re.split(r"\d+", message), key=len)  # its numbers are placeholders in the source
        assert any(literal in text for text in texts), message


def test_the_readme_is_short():
    assert len(README.read_text().splitlines()) <= MOST_README_LINES


def test_the_tree_of_the_architecture_page_is_the_source_tree():
    tree = next(body for language, body in FENCE.findall((ROOT / "docs/architecture.md").read_text()) if language)
    folders, listed = [], set()
    for line in tree.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        folders[depth:] = [line.split()[0]]
        listed.add("".join(folders))
    assert not [path for path in listed if not (ROOT / path).exists()]
    rooms = {f"{path.parent.relative_to(ROOT)}/" for room in ("regenhance_data", "deploy") for path in packages(room)}
    assert rooms <= listed


def packages(room: str) -> list[Path]:
    return list((ROOT / room).rglob("__init__.py"))


def write_camera(path: Path) -> None:
    """70 frames of 96x64 with red and blue squares that the detector of `detector_file` finds."""
    frames = []
    for index in range(70):
        frame = np.full((64, 96, 3), 60, np.uint8)
        for number in range(3):
            top, left = 20 * number + 2, (30 * number + index) % 80
            frame[top : top + 16, left : left + 16] = (0, 0, 200) if number % 2 else (200, 0, 0)
        frames.append(frame)
    encode(path, frames, pixel_format="yuv444p")


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.paddle
@pytest.mark.timeout(600)
def test_the_pipeline_of_the_readme_runs(detector_file, tmp_path):
    pipeline = README.read_text().split("\n## Pipeline\n")[1].split("\n## ")[0]
    script = "".join(shell_blocks(pipeline))
    for flags, shorter in SHORTER.items():
        assert flags in script
        script = script.replace(flags, shorter)
    for folder in ("tools", "deploy", "paddleseg_configs"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    (tmp_path / "yolox_nano.onnx").symlink_to(detector_file)
    write_camera(tmp_path / "camera.mp4")
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": programs, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    result = subprocess.run(
        ["bash", "-euxo", "pipefail", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"
    assert not [path for path in WRITTEN if not (tmp_path / path).is_file()]
