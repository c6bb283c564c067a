"""The rules of the source tree, read from the source: who imports whom, where torch and paddle are, what things are
called.
"""

import ast
import importlib.metadata
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.files import ROOT

# A room (a folder, or a file beside the folders) imports itself and what stands before it. deploy stands on all of
# regenhance_data, its commands (deploy/*.py) on its rooms, and tools on everything.
LAYERS = {
    "regenhance_data": "defaults < errors grid kinds signals < console detections < cli < parallel < io < plots metrics"
    " regions < learning < street < detectors upscalers < dataset < importance < stages predictors < evaluation"
    " < many_clips < reports tuning",
    "deploy": "contract < artifacts < backends < export < online benchmarking serving",
}
TORCH, PADDLE = {"torch", "torchvision", "onnx2torch", "spandrel", "detectron2"}, {"paddle", "paddleseg", "paddle2onnx"}
TORCH_PLACES = (
    *("regenhance_data/detectors/", "regenhance_data/upscalers/", "regenhance_data/street/"),
    *("regenhance_data/learning/", "regenhance_data/tuning/"),
    *("regenhance_data/io/torch_weights.py", "regenhance_data/io/torchscript.py"),
    *("regenhance_data/importance/formulas.py", "regenhance_data/evaluation/formula_comparison.py"),
    "regenhance_data/predictors/accmodel/",
    "regenhance_data/dataset/importance_import.py",  # maps that were saved with torch.save
    "regenhance_data/parallel/processes.py",  # the threads of a worker
)
PADDLE_PLACES = ("regenhance_data/predictors/paddleseg/", "deploy/export/paddle.py")
RUNS_WITHOUT_TORCH = ("contract", "artifacts", "backends", "online", "benchmarking", "serving", "runtime", "trt_infer")
NO_FRAMEWORKS = ("settings", "arguments", "kinds", "registry", "networks")  # modules of these names, and commands
MOST_LINES = 60  # of a function
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


class Import(NamedTuple):
    """`from module import name`, or `import module`; when: "import", "call" of a function, "typing" (never)."""

    path: Path
    line: int
    module: str
    name: str
    when: str

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line} imports {self.module}{self.name and '.' + self.name}"

    @property
    def package(self) -> str:
        return self.module.split(".")[0]


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


FOLDERS = ("regenhance_data", "deploy", "tools")
FILES = {module_of(path): path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))}


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(FILES[module].read_text(encoding="utf-8"))


def functions(module: str) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(tree(module)) if isinstance(node, FUNCTIONS)]


@cache
def imports(module: str) -> list[Import]:
    """All imports of a file, those in functions and under TYPE_CHECKING too."""
    when = {node: "call" for function in functions(module) for node in ast.walk(function)}
    for block in ast.walk(tree(module)):
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING":
            when |= dict.fromkeys(ast.walk(block), "typing")
    found = []
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            names = [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [(f"{'.' * node.level}{node.module}", alias.name) for alias in node.names]
        else:
            continue
        names = [(f"{source}.{name}", "") if f"{source}.{name}" in FILES else (source, name) for source, name in names]
        found += [Import(FILES[module], node.lineno, *pair, when.get(node, "import")) for pair in names]
    return found


IMPORTS = [one for module in FILES for one in imports(module)]


def chains(module: str, calls_of: str = "") -> Iterator[tuple[Import, ...]]:
    """Each import that follows from importing a module, after those that lead to it; and those that follow from calls
    of functions, if they are in the package `calls_of`.
    """
    seen, todo = {module}, [(module, ())]
    while todo:
        module, chain = todo.pop(0)
        for one in imports(module):
            if one.when == "import" or (one.when == "call" and module.split(".")[0] == calls_of):
                yield (*chain, one)
                if one.module in FILES and one.module not in seen:
                    seen.add(one.module)
                    todo.append((one.module, (*chain, one)))


def first_chains(modules: list[str], packages: set[str], calls_of: str = "") -> list[str]:
    """How each module comes to import one of the packages, if it does."""
    found = [next((c for c in chains(module, calls_of) if c[-1].package in packages), ()) for module in modules]
    return [", ".join(map(str, chain)) for chain in found if chain]


def layer(module: str) -> tuple[int, int]:
    """Where a module stands: what stands on it is greater."""
    package, _, inside = module.partition(".")
    if not inside:
        return FOLDERS.index(package), -1
    levels = LAYERS.get(package, "").split("<")
    found = [level for level, rooms in enumerate(levels) if inside.split(".")[0] in rooms.split()]
    is_command = package != "regenhance_data" and "." not in inside
    assert found or is_command, f"{FILES[module]}: LAYERS does not name its room"
    return FOLDERS.index(package), found[0] if found else len(levels)


def refuse(rule: str, violations: Iterator[str] | list[str]) -> None:
    found = sorted({*violations})
    assert not found, "\n".join((rule, *found))


def test_a_room_imports_only_itself_and_what_stands_before_it():
    def room(module: str) -> str:
        return ".".join(module.split(".")[:2])

    pairs = [(one, module_of(one.path), one.module) for one in IMPORTS if one.module in FILES]
    wrong = [str(one) for one, this, other in pairs if room(this) != room(other) and layer(other) >= layer(this)]
    refuse("a room imports itself and what stands before it in LAYERS", wrong)


def test_no_module_imports_itself_through_others():
    done: set[str] = set()
    cycles = []

    def visit(module: str, chain: list[Import]) -> None:
        for one in imports(module):
            begin = [module_of(step.path) for step in (*chain, one)]
            if one.module in begin:
                cycles.append(", ".join(map(str, [*chain, one][begin.index(one.module) :])))
            elif one.module in FILES and one.module not in done:
                visit(one.module, [*chain, one])
        done.add(module)

    for module in FILES:
        visit(module, [])
    refuse("no import cycle between modules", cycles)


def test_imports_are_absolute():
    refuse("imports are absolute", [str(one) for one in IMPORTS if one.module.startswith(".")])


@pytest.mark.parametrize(("packages", "places"), [(TORCH, TORCH_PLACES), (PADDLE, PADDLE_PLACES)])
def test_torch_and_paddle_are_imported_only_in_their_places(packages, places):
    found = [str(one) for one in IMPORTS if one.package in packages]
    refuse(f"{sorted(packages)} only in {places}", [one for one in found if not one.startswith(places)])
    unused = [place for place in places if not any(one.startswith(place) for one in found)]
    refuse("places that import none of them are no exceptions", unused)


def test_a_predictor_runs_without_torch():
    modules = [module for module in FILES if module.startswith(tuple(f"deploy.{room}" for room in RUNS_WITHOUT_TORCH))]
    refuse("what runs a predictor imports no torch", first_chains(modules, TORCH, calls_of="deploy"))


def test_no_command_imports_torch_or_paddle_before_it_has_read_its_flags():
    commands = [module for module in FILES if module.split(".")[0] != "regenhance_data" and module.count(".") == 1]
    tables = [module for module in FILES if module.split(".")[-1] in NO_FRAMEWORKS]
    wrong = first_chains([*commands, *tables], TORCH | PADDLE)
    refuse("commands, settings, arguments and tables import torch and paddle only in functions", wrong)


def test_packages_hold_only_a_docstring():
    def is_plain(body: list[ast.stmt]) -> bool:
        constants = [isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) for node in body[1:]]
        return bool(body) and isinstance(body[0], ast.Expr) and all(constants)

    packages = {path: tree(module).body for module, path in FILES.items() if path.stem == "__init__"}
    first = ROOT / "regenhance_data" / "__init__.py"  # which runs before any library is imported, and says no to some
    wrong = [f"{path}:1" for path, body in packages.items() if not is_plain(body) and path != first]
    refuse("__init__.py holds a docstring, and constants of the package", wrong)


def test_nothing_beside_a_command_hides_a_package():
    taken = {*sys.stdlib_module_names, *importlib.metadata.packages_distributions(), *FOLDERS, "tests"}
    beside = [path for folder in ("deploy", "tools") for path in (ROOT / folder).iterdir()]
    refuse("`python deploy/x.py` puts deploy/ first on the path", [str(path) for path in beside if path.stem in taken])


def test_private_names_stay_in_their_module():
    def is_private(name: str) -> bool:
        return name.startswith("_") and not name.startswith("__")

    wrong = [str(one) for one in IMPORTS if one.module in FILES and is_private(one.name)]
    for module, path in FILES.items():
        others = {one.module.split(".")[-1] for one in imports(module) if one.module in FILES and not one.name}
        for node in ast.walk(tree(module)):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) in others and is_private(node.attr):
                wrong.append(f"{path}:{node.lineno} uses {ast.unparse(node)}")
    refuse("no private name is used outside its module", wrong)


def test_functions_are_short():
    wrong = []
    for module, path in FILES.items():
        for function in functions(module):
            lines = function.end_lineno - function.lineno + 1
            if lines > MOST_LINES:
                wrong.append(f"{path}:{function.lineno} {function.name}: {lines}")
    refuse(f"a function has at most {MOST_LINES} lines", wrong)
