"""`qdnet-keras evaluate` as a user sees it."""

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from qdnet_keras.cli import app


def run(*arguments):
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Six groups of three renderings, the grainier the worse; the last two groups are test."""
    folder = tmp_path_factory.mktemp("data")
    rows = ["file,mos,scene,operator,split"]
    for scene in range(6):
        rng = np.random.default_rng(scene)
        coarse = Image.fromarray(rng.integers(30, 220, (6, 7, 3), np.uint8))
        smooth = np.asarray(coarse.resize((56, 48), Image.Resampling.BICUBIC), np.float32)
        for k, operator in enumerate(("ReinhardTMO", "GA", "FattalTMO")):
            pixels = np.clip(smooth + rng.normal(0, 1 + 8 * k, smooth.shape), 0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{scene}_{operator}.png")
            split = "test" if scene > 3 else "train"
            rows.append(f"{scene}_{operator}.png,{60 - 12 * k + scene},{scene},{operator},{split}")
    (folder / "labels.csv").write_text("\n".join(rows))
    return folder


def test_tables_and_records(data, tmp_path):
    arguments = ("--data", data, "--out", tmp_path / "run", "--methods", "gm-log,brisque")
    result = run(*arguments, "--splits", 3, "--jobs", 1)
    assert result.exit_code == 0, result.output
    assert (
        "3 random 4:1 splits, disjoint by group: 18 pictures, 6 scenes, 6 groups" in result.stdout
    )
    rows = [line for line in result.stdout.splitlines() if line.startswith("| brisque")]
    assert len(rows) == 4  # figures, after the logistic fit, by kind of operator, differences
    folder = tmp_path / "run" / "random-seed0"
    assert (folder / "results.md").read_text() == result.stdout

    again = run(*arguments, "--splits", 3, "--json")
    first, second, pair = [json.loads(line) for line in again.stdout.splitlines()]
    assert (first["method"], second["method"], first["splits"]) == ("gm-log", "brisque", 3)
    assert first["srocc_low"] <= first["srocc"] <= first["srocc_high"]
    assert {"plcc_5", "krocc", "rmse_4", "srocc_tmo", "seconds_per_picture"} <= first.keys()
    assert (pair["first"], pair["second"], pair["test"]) == ("gm-log", "brisque", "wilcoxon")
    stored = json.loads((folder / "results.json").read_text())
    assert stored["methods"] == [first, second] and stored["differences"] == [pair]
    assert np.median(stored["srocc_per_split"]["brisque"]) == second["srocc"]


def test_a_preset_beside_others_on_the_fixed_split(data, tmp_path, tiny_preset):
    result = run(
        *("--data", data, "--out", tmp_path / "run", "--methods", "gm-log"),
        *("--fixed-split", "--preset", tiny_preset, "--json"),
    )
    assert result.exit_code == 0, result.output
    *methods, pair, note = [json.loads(line) for line in result.stdout.splitlines()]
    name = f"qdnet@{tiny_preset.name}"
    assert [(m["method"], m["splits"]) for m in methods] == [("gm-log", 1), (name, 1)]
    assert pair["test"] == "bootstrap"
    assert str(tiny_preset) in note["note"]

    import qdnet_keras

    lines = (tmp_path / "run" / "fixed" / name / "fixed.csv").read_text().splitlines()
    file, *_, predicted, _ = lines[1].split(",")
    expected = qdnet_keras.score(data / file, qdnet_keras.load(tiny_preset)).mos
    assert float(predicted) == pytest.approx(expected, abs=1e-3)


def test_pictures_of_an_unknown_operator_are_told(data, tmp_path):
    """They count in every figure but those by kind."""
    for picture in data.glob("*.png"):
        (tmp_path / picture.name).symlink_to(picture)
    labels = (data / "labels.csv").read_text()
    labels = labels.replace(",FattalTMO,", ",mine,").replace(",ReinhardTMO,", ",WardHistAdj,")
    (tmp_path / "labels.csv").write_text(labels)
    arguments = ("--data", tmp_path, "--out", tmp_path / "run", "--methods", "gm-log")
    result = run(*arguments, "--fixed-split", "--json")
    method, note = [json.loads(line) for line in result.stdout.splitlines()]
    assert {"srocc_tmo", "srocc_fusion"} <= method.keys()
    assert note == {"note": "Of unknown kind, so in no row by kind: 6 pictures (mine)."}


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--methods", "brisk"), 2, "'brisk' is no method; known are gm-log"),
        (("--methods", "qdnet,qdnet-rgb", "--preset", "x"), 2, "ablations have to be trained"),
        (("--methods", "qdnet", "--renderings"), 2, "needs --preset"),
        (("--methods", "qdnet", "--preset", "nothing"), 6, "no preset 'nothing'"),
        (("--methods", "qdnet", "--config", "nothing.yaml"), 5, "nothing.yaml"),
        (("--methods", "brisque", "--splits", "0"), 2, "--splits"),
    ],
)
def test_wrong_use(data, tmp_path, arguments, code, words):
    result = run("--data", data, "--out", tmp_path / "run", *arguments)
    assert result.exit_code == code
    assert words in " ".join(result.stderr.replace("│", " ").split())


def test_wrong_data(data, tmp_path):
    (tmp_path / "a.png").write_text("no picture")
    (tmp_path / "labels.csv").write_text("file,mos\na.png,50\n")
    result = run("--data", tmp_path, "--out", tmp_path / "run", "--methods", "brisque")
    assert result.exit_code == 3
    assert "a.png" in result.stderr and "Traceback" not in result.output
    result = run("--data", data, "--out", tmp_path / "a.png", "--methods", "brisque")
    assert result.exit_code == 7
    assert "is not a folder" in result.stderr


def test_one_group_is_too_few_to_learn_from(data, tmp_path):
    for picture in data.glob("*.png"):
        (tmp_path / picture.name).symlink_to(picture)
    rows = [line for line in (data / "labels.csv").read_text().splitlines() if line[0] not in "123"]
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    arguments = ("--data", tmp_path, "--out", tmp_path / "run", "--methods", "gm-log")
    result = run(*arguments, "--fixed-split")
    assert result.exit_code == 4, result.output
    assert "one group; two are needed" in result.stderr
