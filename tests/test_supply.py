"""What is installed: the versions of constraints.txt, by the hashes of requirements.lock; what requires what."""

import re
import subprocess
import sys

from tests.support.files import ROOT

# docs/decisions.md has why each of these packages is installed without what it requires
EXPLAINED = {
    "paddleseg": {"opencv-python", "prettytable"},
    "tensorrt-stubs": {"tensorrt", "tensorrt-cu12-bindings"},
}
PIN = re.compile(r"^([\w.-]+)==([^ \n]+)((?: ; [^\\\n]+)?)(.*(?:\n {4}.*)*)", re.MULTILINE)


def pins(name: str) -> dict[str, tuple[str, str, list[str]]]:
    """Package → (version, marker, hashes)."""
    return {
        re.sub(r"[-_.]+", "-", package).lower(): (
            version,
            marker.strip().replace('"', "'"),
            re.findall(r"--hash=sha256:[0-9a-f]{64}\b", rest),
        )
        for package, version, marker, rest in PIN.findall((ROOT / name).read_text(encoding="utf-8"))
    }


def test_the_lock_has_hashes_for_the_versions_of_the_constraints():
    locked = pins("requirements.lock")
    assert {package: pin[:2] for package, pin in locked.items()} == {
        package: pin[:2] for package, pin in pins("constraints.txt").items()
    }, "run make lock"
    assert all(hashes for _, _, hashes in locked.values())
    assert "setuptools" in locked, "it builds the packages that have no wheel, and make setup takes it from the lock"


def test_packages_lack_nothing_that_they_require_but_what_is_explained():
    checked = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True, check=False)
    lines = [] if checked.returncode == 0 else checked.stdout.splitlines()
    lacking = {(package, name) for package, names in EXPLAINED.items() for name in names}
    for line in lines:
        found = re.fullmatch(r"(\S+) \S+ requires (\S+), which is not installed\.", line)
        assert found, line
        assert found.groups() in lacking, line
    reasons = (ROOT / "docs" / "decisions.md").read_text(encoding="utf-8")
    for package, names in EXPLAINED.items():
        assert all(f"`{name}`" in reasons for name in (package, *names))


def test_what_is_built_from_a_repository_is_named_by_its_commit():
    for page in ("README.md", "docs/detectors.md"):
        assert re.search(r"detectron2\S*@[0-9a-f]{40}\b", (ROOT / page).read_text(encoding="utf-8")), page
