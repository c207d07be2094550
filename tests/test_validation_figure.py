"""The figure of scores beside labels, and the files of a run that pictures are drawn into."""

import csv
import io

import numpy as np
from PIL import Image
from scipy import stats

from qdnet_keras.cli.train import _sentence
from qdnet_keras.figures.validation import LEVELS, coverage, draw_validation


def test_intervals_of_a_network_that_knows_its_errors_hold_what_they_say():
    random = np.random.default_rng(0)
    mos, mos_std = random.uniform(20, 80, 20_000), random.uniform(2, 9, 20_000)
    labels = random.normal(mos, mos_std)
    np.testing.assert_allclose(coverage(labels, mos, mos_std), LEVELS, atol=0.015)
    twice_as_sure = coverage(labels, mos, mos_std / 2)
    expected = 2 * stats.norm.cdf(stats.norm.ppf(0.5 + LEVELS / 2) / 2) - 1
    np.testing.assert_allclose(twice_as_sure, expected, atol=0.015)


def test_the_figure_shows_every_label():
    labels, mos, mos_std = np.array([[20.0, 50.0, 90.0], [30.0, 50.0, 70.0], [5.0, 5.0, 5.0]])
    figure = draw_validation(labels, mos, mos_std)
    scatter, calibration = figure.axes
    np.testing.assert_array_equal(scatter.collections[0].get_offsets().T, [mos, labels])
    (low, high), (bottom, top) = scatter.get_xlim(), scatter.get_ylim()
    assert low == bottom < 20 and high == top > 90
    np.testing.assert_allclose(
        calibration.lines[1].get_ydata(), 100 * coverage(labels, mos, mos_std)
    )
    file = io.BytesIO()
    figure.savefig(file, format="png")
    assert Image.open(file).size[0] > 600


def test_what_a_run_reached_is_said_in_a_sentence(tmp_path):
    rows = [("a", 50.0, 51.0, 5.0), ("b", 20.0, 60.0, 5.0), ("c", 70.0, 62.0, 5.0)]
    with (tmp_path / "validation.csv").open("w") as file:
        csv.writer(file).writerows([("file", "label", "mos", "mos_std"), *rows])
    sentence = _sentence(tmp_path, {"srocc": 0.5, "plcc": 0.25, "rmse": 12.34})
    for part in ("3 pictures", "SROCC 0.500", "PLCC 0.250", "12.3 MOS", "67% of the labels"):
        assert part in sentence
