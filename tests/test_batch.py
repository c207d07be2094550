"""Batches: tables of good and bad files, sources of every kind, crashes that cost nothing done."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import psutil
import pyarrow.parquet
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

import qdnet_keras
from qdnet_keras.batch.sources import list_files, output_names
from qdnet_keras.batch.table import COLUMNS
from qdnet_keras.cli import app
from qdnet_keras.errors import DataError


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["batch", *map(str, arguments)])


@pytest.fixture
def folder(photo, tmp_path) -> Path:
    """Five photographs in two folders, two bad files, one that is hidden."""
    for name in ("in/b.png", "in/deep/a.jpg", "in/deep/c.png", "in/e.jpg", "in/.hidden/h.png"):
        photo(name, seed=len(name))
    photo("in/tiny.png", size=(20, 20))
    (tmp_path / "in/d.jpg").write_text("no picture")
    return tmp_path / "in"


def rows_of(table: Path) -> dict[str, dict[str, Any]]:
    rows = pyarrow.parquet.read_table(table).to_pylist()
    assert len({row["file"] for row in rows}) == len(rows)
    return {row["file"]: row for row in rows}


# --- Tables ---------------------------------------------------------------------------------------


def test_good_and_bad_files_are_rows(tiny_preset, folder, tmp_path):
    table = tmp_path / "out/scores.parquet"
    options = ("--preset", tiny_preset, "--part-size", 2, "--json")
    result = run(folder, "--out", table, *options)
    assert result.exit_code == 1, result.output
    record = json.loads(result.stdout)
    assert (record["table"], record["files"], record["bad"]) == (str(table), 6, 2)
    rows = rows_of(table)
    assert list(rows) == sorted(rows, key=lambda file: (file.count("/"), file))
    good = rows[str(folder / "deep/a.jpg")]
    expected = qdnet_keras.score(folder / "deep/a.jpg", qdnet_keras.load(tiny_preset))
    for name in ("score", "mos", "mos_std", "novelty"):
        assert good[name] == pytest.approx(getattr(expected, name), rel=1e-5)
    assert (good["mos_low"], good["mos_high"]) == pytest.approx(expected.interval, rel=1e-5)
    assert good["error"] is None
    bad = [row for row in rows.values() if row["error"]]
    assert {row["file"] for row in bad} == {str(folder / "d.jpg"), str(folder / "tiny.png")}
    assert all(row["file"] in row["error"] and row["score"] is None for row in bad)
    assert not (tmp_path / "out/scores.parquet.parts").exists()
    assert run(folder, "--out", table, *options).exit_code == 7


def test_a_csv_says_the_same(tiny_preset, folder, tmp_path):
    options = ("--preset", tiny_preset, "--part-size", 2)
    for name in ("a.csv", "a.parquet"):
        assert run(folder, "--out", tmp_path / name, *options).exit_code == 1
    with (tmp_path / "a.csv").open(newline="") as file:
        told = {row["file"]: row for row in csv.DictReader(file)}
    rows = rows_of(tmp_path / "a.parquet")
    assert told.keys() == rows.keys()
    for file, row in rows.items():
        assert told[file].keys() == COLUMNS.keys()
        assert told[file]["error"] == (row["error"] or "")
        if row["score"] is not None:
            assert float(told[file]["score"]) == pytest.approx(row["score"], rel=1e-5)


def test_renderings_go_where_the_originals_lie_among_each_other(tiny_preset, folder, tmp_path):
    out, table = tmp_path / "new", tmp_path / "a.parquet"
    options = ("--enhance-to", out, "--target", 50, "--preset", tiny_preset)
    result = run(folder, "--out", table, *options)
    assert result.exit_code == 1, result.output
    names = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert names == {"b.png", "e.jpg", "deep/a.jpg", "deep/c.png"}
    row = rows_of(table)[str(folder / "b.png")]
    assert row["output"] == str(out / "b.png")
    assert row["target"] == 50
    assert row["reached"] == (abs(row["score_after"] - 50) <= 1)
    assert Image.open(out / "b.png").size == Image.open(folder / "b.png").size
    again = run(folder, "--out", tmp_path / "b.parquet", *options)
    assert again.exit_code == 7
    assert "not empty" in again.stderr


def test_wrong_use_is_told_before_the_work(tiny_preset, folder, tmp_path):
    table = tmp_path / "a.parquet"
    assert run(folder, "--out", table, "--target", 50).exit_code == 2
    assert run(folder, "--out", table, "--enhance-to", tmp_path / "new").exit_code == 2
    assert run(folder, "--out", tmp_path / "a.xlsx").exit_code == 2
    (tmp_path / "empty").mkdir()
    result = run(tmp_path / "empty", "--out", table, "--preset", tiny_preset)
    assert result.exit_code == 4
    assert run(folder, "--out", table, "--preset", tmp_path / "none").exit_code == 6
    assert not table.exists()
    assert not (tmp_path / "a.parquet.parts").exists()


# --- Sources --------------------------------------------------------------------------------------


def test_a_bucket_and_a_list_say_what_a_folder_says(tiny_preset, folder, tmp_path):
    bucket = fsspec.filesystem("memory")
    bucket.put(f"{folder}/", "/shop/in/", recursive=True)
    try:
        lines = [str(folder / "b.png"), "memory://shop/in/e.jpg", "memory://shop/in/none.png"]
        (tmp_path / "list.txt").write_text("\n".join([*lines, "", lines[0]]))
        options = ("--preset", tiny_preset)
        for source, name in (
            (folder, "folder"),
            ("memory://shop/in", "bucket"),
            (tmp_path / "list.txt", "list"),
        ):
            assert run(source, "--out", tmp_path / f"{name}.parquet", *options).exit_code == 1
    finally:
        bucket.rm("/shop", recursive=True)
    local, remote, listed = (
        rows_of(tmp_path / f"{name}.parquet") for name in ("folder", "bucket", "list")
    )
    assert {file.removeprefix(f"{folder}/") for file in local} == {
        file.removeprefix("memory:///shop/in/").removeprefix("memory://shop/in/") for file in remote
    }
    for file, row in local.items():
        (twin,) = (row for name, row in remote.items() if name.endswith(file.split("/in/")[1]))
        assert row["score"] == twin["score"]
    assert list(listed) == lines
    assert [bool(row["error"]) for row in listed.values()] == [False, False, True]
    assert "none.png does not exist" in listed[lines[2]]["error"]


@pytest.mark.parametrize(
    "source",
    ["/none/at/all", "/none.txt", "memory://nowhere", "nokind://a/b", "file:///none/at/all"],
)
def test_a_source_that_is_not_there_is_told(source):
    with pytest.raises(DataError, match=source):
        list_files(source)


def test_output_names_stay_below_their_folder(tmp_path):
    assert output_names(["s3://b/x/a.png", "s3://b/x/y/a.png"]) == ["a.png", "y/a.png"]
    assert output_names([str(tmp_path / "a.png")]) == ["a.png"]
    names = output_names(["s3://b/../../etc/a.png", "/data/a.png"])
    assert len(set(names)) == 2
    assert not any(name.startswith("/") or ".." in name for name in names)


# --- Crashes --------------------------------------------------------------------------------------


@pytest.fixture
def many(photo, tmp_path) -> Path:
    for index in range(24):
        photo(f"many/{index:02d}.png", size=(40, 40), seed=index)
    return tmp_path / "many"


@pytest.fixture
def started() -> Iterator[Callable[..., subprocess.Popen]]:
    """Starts the command as a process of its own."""
    processes = []

    def start(*arguments: object) -> subprocess.Popen:
        command = [sys.executable, "-m", "qdnet_keras", "batch", *map(str, arguments)]
        processes.append(
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        )
        return processes[-1]

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.wait()


def wait_for(condition: Callable[[], Any], seconds: float = 600.0) -> Any:
    end = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.02)
    return result


def test_a_run_that_was_killed_goes_on_where_it_was(tiny_preset, many, started, tmp_path):
    table = tmp_path / "a.parquet"
    parts = tmp_path / "a.parquet.parts"
    options = ("--out", table, "--preset", tiny_preset, "--part-size", 1, "--json")
    process = started(many, *options)
    wait_for(lambda: len(list(parts.glob("*.parquet"))) >= 2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = {path: path.stat().st_mtime_ns for path in parts.glob("*.parquet")}
    assert 2 <= len(done) < 24
    assert not table.exists()
    other = run(many, *options, "--working-size", 64)
    assert other.exit_code == 7
    assert "settings" in other.stderr
    assert {path: path.stat().st_mtime_ns for path in parts.glob("*.parquet")} == done
    result = run(many, *options)
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    assert record["resumed"] == len(done)
    assert len(rows_of(table)) == record["files"] == 24
    assert not parts.exists()


@pytest.mark.parametrize("rendering", [(), ("--enhance-to", "new", "--target", "50")])
def test_a_damaged_preset_is_told_once(tiny_preset, many, tmp_path, monkeypatch, rendering):
    monkeypatch.chdir(tmp_path)
    preset = shutil.copytree(tiny_preset, tmp_path / "preset")
    weights = (preset / "weights.safetensors").read_bytes()
    (preset / "weights.safetensors").write_bytes(weights[: len(weights) // 2])
    result = run(many, "--out", "a.parquet", "--preset", preset, *rendering)
    assert result.exit_code == 6
    (line,) = result.stderr.splitlines()
    assert str(preset) in line
    assert not (tmp_path / "a.parquet").exists()


def test_names_that_are_not_utf8_are_rows_too(tiny_preset, photo, tmp_path):
    path = photo("in/a.png")
    os.rename(path, os.fsencode(tmp_path / "in") + b"/\xff.png")
    for name in ("a.parquet", "a.csv"):
        result = run(tmp_path / "in", "--out", tmp_path / name, "--preset", tiny_preset)
        assert result.exit_code == 0, result.output
    (file,) = rows_of(tmp_path / "a.parquet")
    assert file.endswith("\\udcff.png")


def test_without_ray_several_workers_are_one(tiny_preset, many, tmp_path, monkeypatch):
    monkeypatch.setattr("qdnet_keras.cli.batch.find_spec", lambda name: None)
    result = run(many, "--out", tmp_path / "a.csv", "--preset", tiny_preset, "--workers", 2)
    assert result.exit_code == 0, result.output
    assert "Ray is not installed" in result.stderr


def test_a_worker_of_ray_that_is_killed_loses_nothing(
    tiny_preset, many, started, tmp_path, monkeypatch
):
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_worker_niceness", "0")  # else a busy machine starves them
    table, parts = tmp_path / "a.parquet", tmp_path / "a.parquet.parts"
    (many / "bad.png").write_text("no picture")
    options = ("--preset", tiny_preset, "--part-size", 1, "--workers", 1, "--address", "local")
    process = started(many, "--out", table, *options, "--json")

    def worker() -> psutil.Process | None:
        children = psutil.Process(process.pid).children(recursive=True)
        actors = [child for child in children if "MapWorker" in "".join(child.cmdline())]
        return actors[0] if actors else None

    wait_for(lambda: list(parts.glob("*.parquet")) or process.poll() is not None)
    if process.poll() == 8:
        pytest.skip("Ray did not start within its 30 seconds on this busy machine")
    killed = worker()
    assert killed is not None
    os.kill(killed.pid, signal.SIGKILL)
    output, errors = process.communicate(timeout=600)
    assert process.returncode == 1, errors
    assert json.loads(output)["files"] == 25
    rows = rows_of(table)
    assert len(rows) == 25
    assert [file for file, row in rows.items() if row["error"]] == [str(many / "bad.png")]
    scores = [row["score"] for row in rows.values() if row["error"] is None]
    assert np.isfinite(scores).all()
