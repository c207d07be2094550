import numpy as np
import pytest
from scipy import stats

from qdnet_keras import metrics
from qdnet_keras.evaluation.comparison import Predictions, compare, summarise


def predictions(seed, noise, count=40, seconds=0.1):
    rng = np.random.default_rng(seed)
    mos = rng.uniform(20, 70, count)
    kinds = ("ReinhardTMO", "GA", "surreal", None)
    return Predictions(
        mos + np.random.default_rng(seed + 1000).normal(0, noise, count),
        mos,
        [f"s{k // 4}" for k in range(count)],
        [f"g{k // 8}" for k in range(count)],
        [kinds[k % 4] for k in range(count)],
        seconds,
    )


def test_figures_are_medians_over_splits():
    splits = [predictions(seed, 10, seconds=seed) for seed in range(5)]
    summary = summarise("m", splits)
    for name, measure in (("srocc", stats.spearmanr), ("krocc", stats.kendalltau)):
        values = [measure(s.predicted, s.mos).statistic for s in splits]
        assert summary.figures[name].value == pytest.approx(np.median(values))
        assert min(values) <= summary.figures[name].low <= np.median(values)
        assert np.median(values) <= summary.figures[name].high <= max(values)
    assert summary.per_split == pytest.approx(
        [stats.spearmanr(s.predicted, s.mos).statistic for s in splits]
    )
    assert (summary.splits, summary.seconds) == (5, 2)
    fitted = summary.figures
    assert fitted["rmse_4"].value <= fitted["rmse"].value
    assert fitted["rmse_5"].value <= fitted["rmse_4"].value + 1e-3
    assert fitted["plcc_5"].value >= fitted["plcc"].value - 1e-9


def test_kinds_of_operators():
    splits = [predictions(seed, 10) for seed in range(3)]
    summary = summarise("m", splits)
    assert set(summary.kinds) == {"tmo", "fusion", "effect"}
    fusion = [stats.spearmanr(s.predicted[1::4], s.mos[1::4]).statistic for s in splits]
    assert summary.kinds["fusion"].value == pytest.approx(np.median(fusion))
    without = Predictions(*list(vars(splits[0]).values())[:4], [None] * 40, 0.1)
    assert summarise("m", [without]).kinds == {}


def test_constant_predictions_are_undefined_not_an_error():
    flat = predictions(0, 1)
    flat = Predictions(np.full(40, 5.0), *list(vars(flat).values())[1:])
    assert np.isnan(summarise("m", [flat]).figures["srocc"].value)
    assert np.isnan(compare({"a": [flat], "b": [flat]})[0].p)


def test_wilcoxon_over_splits():
    first = [predictions(seed, 5) for seed in range(12)]
    second = [predictions(seed, 15) for seed in range(12)]
    (difference,) = compare({"good": first, "bad": second})
    a, b = ([stats.spearmanr(s.predicted, s.mos).statistic for s in x] for x in (first, second))
    assert difference.p == pytest.approx(stats.wilcoxon(a, b).pvalue)
    assert difference.p == pytest.approx(2 / 2**12)  # all twelve have one sign
    assert difference.difference == pytest.approx(np.median(np.subtract(a, b)))
    assert (difference.first, difference.second, difference.test) == ("good", "bad", "wilcoxon")


def test_every_pair_is_compared_and_equals_do_not_differ():
    splits = [predictions(seed, 5) for seed in range(6)]
    differences = compare(dict.fromkeys("abc", splits))
    assert [(d.first, d.second) for d in differences] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert {d.p for d in differences} == {1.0}


def test_one_split_is_compared_by_bootstrap_over_groups():
    good, bad = predictions(3, 4, 200), predictions(3, 60, 200)
    (difference,) = compare({"good": [good], "bad": [bad]})
    assert difference.test == "bootstrap" and difference.p <= 0.01 and difference.difference > 0
    interval = summarise("good", [good]).figures["srocc"]
    expected = metrics.bootstrap_interval(
        metrics.srocc, good.predicted, good.mos, samples=500, groups=good.groups
    )
    assert (interval.low, interval.high) == expected
