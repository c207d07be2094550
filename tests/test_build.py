"""Whole data sets: form, labels, repetition, stops, failures; the command line around them."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import OpenEXR
import pytest
from PIL import Image
from typer.testing import CliRunner

from qdnet_keras.cli import app
from qdnet_keras.data.espl import read_espl
from qdnet_keras.data.reading import read_manifest
from qdnet_keras.errors import ConfigError, OutputError
from qdnet_keras.synthesis import build
from qdnet_keras.synthesis.build import BuildSettings, build_dataset, pseudo_mos
from qdnet_keras.synthesis.hdr import read_scene
from qdnet_keras.synthesis.tmqi import TMQI, tmqi
from qdnet_keras.synthesis.tone_mapping import FAULTS, OPERATORS

SMALL = BuildSettings(
    views=2, width=200, height=164, operators=("ReinhardTMO", "drago", "mertens"), faults=2
)


def write_exr(path: Path, rgb: np.ndarray) -> None:
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    with OpenEXR.File(header, {"RGB": rgb}) as file:
        file.write(str(path))


def radiance(seed: int, height: int = 170, width: int = 210) -> np.ndarray:
    log = np.random.default_rng(seed).normal(0, 2, (height // 10, width // 10, 3))
    return np.kron(2.0**log, np.ones((10, 10, 1))).astype(np.float32)


@pytest.fixture
def hdr(tmp_path) -> Path:
    """A photograph, a small panorama, one spoilt and one tiny picture."""
    folder = tmp_path / "hdr"
    folder.mkdir()
    write_exr(folder / "photo.exr", radiance(1))
    write_exr(folder / "pano.exr", radiance(2, 200, 400))
    spoilt = radiance(3)
    spoilt[5, 5] = np.nan
    write_exr(folder / "spoilt.exr", spoilt)
    write_exr(folder / "tiny.exr", radiance(4, 50, 60))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "labels.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_data_set_and_its_labels(hdr, tmp_path):
    """Both readers take it; TMQI of the files on disk is what the table says, up to JPEG."""
    out = tmp_path / "set"
    result = build_dataset(hdr, out, BuildSettings(**{**vars(SMALL), "keep_hdr": True}))
    assert list(result.failures) == ["spoilt", "tiny"]
    manifest = read_manifest(out)
    scenes = {"pano_0", "pano_1", "photo"}
    assert len(manifest) == len(scenes) * 5
    assert set(manifest.by_scene()) == scenes
    assert {r.group for r in manifest.renderings} == {"pano", "photo"}
    assert {path.stem for path in (out / "hdr").iterdir()} == scenes
    (out / "labels.csv").rename(tmp_path / "labels.csv")
    by_file = {r.file.name: r.mos for r in read_espl(out).renderings}
    (tmp_path / "labels.csv").rename(out / "labels.csv")
    for row in rows(out):
        assert by_file[row["file"]] == float(row["mos"])
        pixels = np.asarray(Image.open(out / "Images" / row["file"]))
        quality = tmqi(read_scene(out / "hdr" / f"{row['scene']}.exr"), pixels)
        assert quality.q == pytest.approx(float(row["tmqi_q"]), abs=0.01)
        if row["operator"] in OPERATORS:
            assert float(row["mos"]) == pytest.approx(100 * float(row["tmqi_q"]), abs=0.01)
            assert row["strength"] == ""
        else:
            assert row["operator"] in FAULTS
            assert 0.25 <= float(row["strength"]) <= 1
        assert row["mos_std"] == ""
    assert "not human votes" in (out / "README.md").read_text()


def test_pseudo_mos_of_faults():
    good, bad = TMQI(0.9, 1, 1), TMQI(0.7, 1, 1)
    assert pseudo_mos(good, bad, "drago", None) == pytest.approx(90)
    assert pseudo_mos(bad, good, "fault_underexposed", 0.5) == pytest.approx(70)
    assert pseudo_mos(good, bad, "fault_underexposed", 0.5) == pytest.approx(70)
    assert pseudo_mos(good, good, "fault_warm_cast", 0.5) == pytest.approx(90 - 15)


def test_the_same_seed_gives_the_same_bytes(hdr, tmp_path):
    for name, workers in (("a", 1), ("b", 3)):
        build_dataset(hdr, tmp_path / name, SMALL, workers=workers)
    build_dataset(hdr, tmp_path / "c", BuildSettings(**{**vars(SMALL), "seed": 1}))
    first, second, other = (contents(tmp_path / name) for name in "abc")
    assert first == second
    assert first["Images/photo_drago.jpg"] == other["Images/photo_drago.jpg"]
    assert first["Images/pano_0_drago.jpg"] != other["Images/pano_0_drago.jpg"]
    assert first["labels.csv"] != other["labels.csv"]


def test_a_picture_more_does_not_change_the_others(hdr, tmp_path):
    build_dataset(hdr, tmp_path / "a", SMALL)
    write_exr(hdr / "another.exr", radiance(9))
    result = build_dataset(hdr, tmp_path / "a", SMALL, resume=True)
    build_dataset(hdr, tmp_path / "b", SMALL)
    assert {row.group for row in result.rows} == {"another", "pano", "photo"}
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_a_build_goes_on_after_a_stop(hdr, tmp_path, monkeypatch):
    """Stopped in the middle of the second picture, the first is complete and is kept."""
    out = tmp_path / "set"
    kept = build._render_scene

    def stops(scene, *arguments):
        if scene == "photo":
            raise KeyboardInterrupt
        return kept(scene, *arguments)

    monkeypatch.setattr(build, "_render_scene", stops)
    with pytest.raises(KeyboardInterrupt):
        build_dataset(hdr, out, SMALL, workers=1)
    assert {row["group"] for row in rows(out)} == {"pano"}
    assert len(read_manifest(out)) == 10
    monkeypatch.setattr(build, "_render_scene", kept)
    stamps = {path: path.stat().st_mtime_ns for path in (out / "Images").glob("pano*")}
    build_dataset(hdr, out, SMALL, resume=True)
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
    build_dataset(hdr, tmp_path / "whole", SMALL)
    assert contents(out) == contents(tmp_path / "whole")


def test_outputs_are_not_mixed(hdr, tmp_path):
    out = tmp_path / "set"
    build_dataset(hdr, out, SMALL)
    before = contents(out)
    with pytest.raises(OutputError, match="is not empty"):
        build_dataset(hdr, out, SMALL)
    with pytest.raises(OutputError, match="not made with these settings"):
        build_dataset(hdr, out, BuildSettings(), resume=True)
    with pytest.raises(OutputError, match="is not empty"):
        build_dataset(hdr, hdr, SMALL)
    assert contents(out) == before


@pytest.mark.parametrize(
    "wrong",
    [
        {"operators": ("drago", "nothing")},
        {"operators": ("drago", "drago")},
        {"faults": 99},
        {"faults": 0, "operators": ()},
        {"height": 100},
        {"views": 0},
    ],
)
def test_settings_that_cannot_be_built(wrong):
    with pytest.raises(ConfigError):
        BuildSettings(**wrong)


def run(*arguments: object):
    return CliRunner().invoke(app, ["data", "build", *map(str, arguments)])


OPTIONS = ("--size", "200x164", "--views", 1, "--operators", "ReinhardTMO,drago", "--faults", 1)


def test_command_reports_and_goes_on_past_bad_pictures(hdr, tmp_path):
    done = run(hdr, "--out", tmp_path / "set", *OPTIONS, "--json")
    assert done.exit_code == 1
    *pictures, summary = [json.loads(line) for line in done.stdout.splitlines()]
    assert [Path(record["file"]).stem for record in pictures] == ["pano", "photo", "spoilt", "tiny"]
    assert [record.get("renderings") for record in pictures] == [3, 3, None, None]
    assert "NaN" in pictures[2]["error"]
    assert "161 pixels" in pictures[3]["error"]
    assert summary["renderings"] == 6
    assert summary["failed"] == 2
    assert summary["labels"] == "pseudo-MOS (TMQI)"
    assert 0 <= summary["mos_min"] <= summary["mos_mean"] <= summary["mos_max"] <= 100


def test_command_on_the_bundled_panoramas(tmp_path):
    done = run("--embedded", "--out", tmp_path / "set", *OPTIONS)
    assert done.exit_code == 0, done.output
    assert "24 renderings of 8 scenes from 8 pictures; pseudo-MOS" in done.stdout
    assert len(read_manifest(tmp_path / "set")) == 24


def test_wrong_use_of_the_command(hdr, tmp_path):
    out = tmp_path / "set"
    assert run("--out", out).exit_code == 2
    assert run(hdr, "--embedded", "--out", out).exit_code == 2
    assert run(hdr, "--out", out, "--size", "big").exit_code == 2
    assert run(hdr, "--out", out, "--operators", "nothing").exit_code == 5
    assert run(tmp_path / "none", "--out", out).exit_code == 4
    assert run(hdr, "--out", hdr).exit_code == 7
    assert not out.exists()


def test_missing_packages_are_named(hdr, tmp_path):
    script = f"""
import importlib.util, sys
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "OpenEXR" else found(name, *rest)
from qdnet_keras.cli import app
sys.argv = ["qdnet-keras", "data", "build", {str(hdr)!r}, "--out", {str(tmp_path / "set")!r}]
app()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 9
    assert done.stderr.splitlines() == [
        "error: This command needs OpenEXR; install it with: pip install 'qdnet-keras[data]'"
    ]
