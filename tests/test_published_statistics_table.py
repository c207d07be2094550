"""Tables of published statistics with votes, and the script that learns from them."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from qdnet_keras.data.published_statistics import COLUMNS, read_statistics
from qdnet_keras.errors import DataError

SCRIPT = Path(__file__).parent.parent / "scripts/evaluate_statistics.py"
OPERATORS = ("ReinhardTMO", "GA", "surreal")


def write(path, rows, header=None):
    header = header or ["name", "scene", "type", "mos", "mos_std", *COLUMNS]
    path.write_text("\n".join(",".join(map(str, row)) for row in [header, *rows]) + "\n")
    return path


def rows(scenes, rng):
    """The MOS follows two statistics; all others are noise."""
    for scene in range(scenes):
        for operator in OPERATORS:
            values = rng.uniform(size=73).round(4)
            mos = round(40 + 15 * values[3] - 10 * values[60], 3)
            yield [f"H_scene_{scene}_{operator}.PNG", scene, "TMO", mos, 12.5, *values]


def test_reads_pictures_and_statistics(tmp_path):
    given = list(rows(2, np.random.default_rng(0)))
    manifest, statistics = read_statistics(write(tmp_path / "table.csv", given))
    np.testing.assert_allclose(statistics, [row[5:] for row in given])
    third = manifest.renderings[2]
    assert (third.file, third.scene, third.group) == (Path("H_scene_0_surreal.PNG"), "0", "0")
    assert (third.operator, third.mos, third.mos_std) == ("surreal", given[2][3], 12.5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda row: [*row[:3], 170, *row[4:]], "row 2: mos 170 is outside 0..100"),
        (lambda row: [*row[:5], "x", *row[6:]], "row 2: a statistic is not a finite number"),
        (lambda row: [*row[:5], "inf", *row[6:]], "row 2: a statistic is not a finite number"),
        (lambda row: row[:-1], "row 2: 77 cells where the header has 78"),
    ],
)
def test_wrong_rows(tmp_path, change, words):
    first, *others = rows(2, np.random.default_rng(0))
    table = write(tmp_path / "table.csv", [change(first), *others])
    with pytest.raises(DataError, match=words):
        read_statistics(table)


def test_missing_column(tmp_path):
    table = write(tmp_path / "table.csv", [], ["name", "scene", "mos", *COLUMNS[:-1]])
    with pytest.raises(DataError, match="column 's72' is missing"):
        read_statistics(table)


def test_script_learns_across_scenes(tmp_path):
    table = write(tmp_path / "table.csv", rows(120, np.random.default_rng(1)))
    command = [sys.executable, SCRIPT, table, "--splits", "3", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    figures = json.loads(done.stdout)
    assert figures["splits"] == len(figures["per_split"]) == 3
    assert np.median(figures["per_split"]) == pytest.approx(figures["srocc"])
    assert 0.5 < figures["srocc"] < 1
    assert {"plcc", "srocc_tmo", "srocc_fusion", "srocc_effect"} <= figures.keys()


def test_script_says_what_is_wrong(tmp_path):
    command = [sys.executable, SCRIPT, tmp_path / "gone.csv"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode and "gone.csv cannot be read" in done.stderr
    assert "Traceback" not in done.stderr
