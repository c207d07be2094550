"""The wheel and the sdist as they are built: what they hold, and that an installed wheel works."""

import datetime
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

import qdnet_keras

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "MANIFEST.in", "qdnet_keras", "tests")


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """Folder with a wheel and the sdist that it was built from."""
    source = tmp_path_factory.mktemp("source")
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in SOURCES:
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=ignore)
        else:
            shutil.copy(path, source / name)
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out


def test_the_version_has_its_day_in_the_changelog():
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    version, day = headings[0].split(", ")
    assert version == qdnet_keras.__version__
    assert datetime.date.fromisoformat(day)


def test_the_wheel_holds_every_file_of_the_package(built):
    (wheel,) = built.glob("*.whl")
    held = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("qdnet_keras/")}
    tracked = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "qdnet_keras").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert held == tracked


def test_the_sdist_holds_no_test_that_could_not_run(built):
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = [Path(*Path(name).parts[1:]).as_posix() for name in archive.getnames()]
    assert not [name for name in names if name.startswith("tests")]
    assert {"pyproject.toml", "README.md", "LICENSE", "qdnet_keras/__init__.pyi"} <= set(names)


def test_an_installed_wheel_works(built, tmp_path):
    """In an environment of its own that borrows the dependencies from this one."""
    (wheel,) = built.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet"]
    subprocess.run([*install, "--no-deps", "--no-index", wheel], check=True)
    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")

    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def said(*command: str) -> str:
        return subprocess.run(
            [python.parent / command[0], *command[1:]],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env=environment,
        ).stdout

    file = said("python", "-c", "import qdnet_keras; print(qdnet_keras.__file__)")
    assert Path(file.strip()).parent == site / "qdnet_keras"
    assert said("qdnet-keras", "--version") == f"qdnet-keras {qdnet_keras.__version__}\n"
    record = json.loads(said("qdnet-keras", "info", "--json"))
    assert Path(record["preset"]).is_relative_to(site)
    assert record["version"] == qdnet_keras.__version__
