"""Agreement with votes against SciPy, counted by hand."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr

from qdnet_keras.data.manifest import Manifest, Rendering
from qdnet_keras.evaluation.votes import vote_figures


def manifest(votes, parts, scenes=None):
    scenes = scenes or [str(number) for number in range(len(votes))]
    rows = zip(votes, parts, scenes, strict=True)
    return Manifest(
        tuple(
            Rendering(Path(f"{n}.png"), float(mos), None, scene, scene, None, None, n, part)
            for n, (mos, part, scene) in enumerate(rows)
        ),
        Path("labels.csv"),
    )


def test_figures_of_all_and_of_each_part():
    random = np.random.default_rng(0)
    mos = random.uniform(20, 70, 60)
    votes = (2.0 * mos - 30 + random.normal(0, 12, 60)).clip(0, 100).astype("float32")
    parts = ["a"] * 25 + ["b"] * 35
    figures = vote_figures(mos, np.full(60, 4.0), manifest(votes, parts), spread=float(mos.std()))
    assert list(figures) == ["all", "a", "b"]
    for part, rows in (("all", slice(None)), ("a", slice(25)), ("b", slice(25, None))):
        found = figures[part]
        assert found["pictures"] == len(mos[rows])
        assert found["srocc"] == pytest.approx(spearmanr(mos[rows], votes[rows])[0], abs=1e-6)
        assert found["plcc"] == pytest.approx(pearsonr(mos[rows], votes[rows])[0], abs=1e-6)
        assert "srocc within a scene" not in found


def test_intervals_are_judged_on_the_scale_of_the_predictions():
    """Votes of 0, 50, 100 with a spread of 10 lie at 50 and 12.2 to its sides."""
    mos = np.array([35.0, 50.0, 65.0])
    width = 15.0 - 10 * np.sqrt(1.5)
    for factor, expected in ((0.99, 1 / 3), (1.01, 1.0)):
        std = np.full(3, factor * width / 1.645)
        figures = vote_figures(mos, std, manifest([0, 50, 100], [None] * 3), spread=10.0)
        assert figures["all"]["votes in the 90 % interval"] == pytest.approx(expected)


def test_order_within_scenes():
    mos = np.array([1.0, 2.0, 3.0, 10.0, 9.0, 8.0])
    votes = [10, 20, 30, 1, 2, 3]
    found = vote_figures(mos, np.ones(6), manifest(votes, [None] * 6, list("aaabbb")), 10.0)
    assert found["all"]["srocc within a scene"] == pytest.approx(0.0)
