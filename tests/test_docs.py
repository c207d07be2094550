"""What the documentation shows is there: commands, scripts, links; references are fresh."""

import re
import runpy
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer

import qdnet_keras
from qdnet_keras.cli import app
from qdnet_keras.cli.evaluate import _methods
from qdnet_keras.defaults import DEFAULT_CONFIG, DEFAULT_TEACHING
from qdnet_keras.model.presets import preset_names
from qdnet_keras.training.config import load_config
from qdnet_keras.training.people.config import load_people_config

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES += [ROOT / "serving" / "README.md", *ROOT.glob("qdnet_keras/presets/*/CARD.md")]
PAGES = [page for page in PAGES if page.name != "cli.md"]


def shell_lines(page: Path) -> list[str]:
    """Commands in the page's `sh` blocks, continued lines joined, comments left out."""
    blocks = re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [re.sub(r"(^|  )#.*", "", line).strip() for line in lines]


COMMANDS = [
    (page.name, part.strip().split(">")[0])
    for page in PAGES
    for line in shell_lines(page)
    for part in line.split("&&")
    if part.strip().startswith("qdnet-keras ")
]


def parse(words: list[str], program: typer.Typer = app) -> dict[str, Any]:
    """Parses a command line as the program would, and runs nothing: what it was given."""
    command = typer.main.get_command(program)
    context = None
    while hasattr(command, "commands"):
        context = command.make_context(command.name, list(words[:1]), parent=context)
        name, *words = words
        command = command.commands[name]
    return command.make_context(command.name, list(words), parent=context).params


@pytest.mark.parametrize(("page", "line"), COMMANDS, ids=lambda value: value[:60])
def test_commands_that_are_shown_parse(page, line):
    _, *words = shlex.split(line)
    parse(words)


EVALUATIONS = [line for _, line in COMMANDS if line.startswith("qdnet-keras evaluate ")]


@pytest.mark.parametrize("line", EVALUATIONS, ids=lambda line: line[:80])
def test_evaluations_that_are_shown_name_methods_that_go_together(line):
    given = parse(shlex.split(line)[1:])
    assert _methods(given["methods"], given["preset"], given["renderings"])


@pytest.mark.parametrize(("page", "line"), COMMANDS, ids=lambda value: value[:60])
def test_presets_that_are_shown_are_released_or_folders(page, line):
    words = shlex.split(line)
    for before, word in pairwise(words):
        if before == "--preset":
            assert word in preset_names() or "/" in word, (page, line)


SCRIPTS = sorted(
    {
        line
        for page in PAGES
        for line in shell_lines(page)
        if line.startswith("python scripts/") and "convert_encoder" not in line
    }
)


@pytest.mark.parametrize("line", SCRIPTS, ids=lambda line: line[:80])
def test_scripts_that_are_shown_parse(line):
    """Those of typer; the others take the names of files alone."""
    _, script, *words = shlex.split(line)
    names = runpy.run_path(str(ROOT / script), run_name="shown")
    program = names.get("app")
    if program is None:
        program = typer.Typer()
        program.command()(names["main"])
    parse(words, program)


def recipes() -> list[str]:
    """Commands of this program that the Makefile runs."""
    text = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    return re.findall(r"^\t\$\(BIN\)/(qdnet-keras .*)$", text, re.MULTILINE)


@pytest.mark.parametrize("line", recipes(), ids=lambda line: line[:60])
def test_commands_of_the_makefile_parse(line):
    _, *words = shlex.split(line)
    parse(words)


def configured() -> list[list[str]]:
    """Words of commands that are shown or run with `--set`."""
    lines = [line for _, line in COMMANDS] + recipes()
    return [shlex.split(line) for line in lines if " --set " in line]


@pytest.mark.parametrize("words", configured(), ids=" ".join)
def test_values_that_are_set_are_those_of_a_configuration(words):
    name = words[words.index("--config") + 1] if "--config" in words else None
    overrides = [word for before, word in pairwise(words) if before == "--set"]
    kept = [word for word in overrides if not word.startswith("train.init=")]
    if words[1] == "teach":
        load_people_config(name or DEFAULT_TEACHING, kept)
    else:
        load_config(name or DEFAULT_CONFIG, kept)


def test_a_command_with_an_unknown_option_does_not_parse():
    with pytest.raises(Exception, match="No such option"):
        parse(["score", "a.jpg", "--stars"])


def make_targets() -> list[str]:
    return re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_the_makefile_has_each_target_that_its_head_names_once():
    text = (ROOT / "Makefile").read_text()
    head = text.split("\n\n")[0]
    named = re.findall(r"^# make ([a-z-]+)", head, re.MULTILINE)
    phony = re.search(r"^\.PHONY: (.+)$", text, re.MULTILINE)
    assert phony
    assert sorted(named) == sorted(make_targets()) == sorted(phony[1].split())


def test_continuous_integration_checks_tests_and_runs_the_notebooks():
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    assert [line for line in lines if line.startswith("make ")] == [
        "make check",
        "make test",
        "make test-notebooks",
    ]
    planned = subprocess.run(
        ["make", "--dry-run", "test-notebooks"], cwd=ROOT, capture_output=True, text=True
    )
    assert "pytest -m notebook" in planned.stdout, planned.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_scripts_and_make_targets_that_are_shown_exist(page):
    for line in shell_lines(page):
        words = line.split()
        if words[:1] == ["make"]:
            assert words[1] in make_targets(), line
        scripts = [w for w in words if w.endswith(".py") and w.startswith(("scripts/", "tests/"))]
        assert all((ROOT / script).is_file() for script in scripts), line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_the_architecture_names_every_room():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = "\n".join(line for line in text.splitlines() if line.startswith("| `"))
    package = ROOT / "qdnet_keras"
    rooms = {f"{path.parent.name}/" for path in package.glob("*/__init__.py")}
    rooms |= {path.name for path in package.glob("*.py") if not path.name.startswith("__")}
    assert {room for room in rooms if f"`{room}`" not in table} == set()


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


def test_the_reference_of_the_command_line_is_fresh():
    command = [sys.executable, ROOT / "scripts" / "cli_reference.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_reference_of_the_api_has_every_public_name():
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"^::: \S+\.(\w+)$", page, re.MULTILINE))
    errors = {
        name
        for name in qdnet_keras.__all__
        if isinstance(getattr(qdnet_keras, name), type)
        and issubclass(getattr(qdnet_keras, name), Exception)
    }
    assert shown - {"errors"} == set(qdnet_keras.__all__) - errors
