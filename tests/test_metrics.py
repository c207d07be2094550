import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from qdnet_keras import metrics

pytestmark = pytest.mark.filterwarnings("error")
CORRELATIONS = (metrics.srocc, metrics.plcc, metrics.krocc)


def noisy_scores(count, seed=0):
    rng = np.random.default_rng(seed)
    mos = rng.uniform(15, 70, count)
    return mos + rng.normal(0, 8, count), mos


def test_by_hand():
    a, b = [1, 2, 3, 4], [1, 3, 2, 4]
    assert metrics.srocc(a, b) == pytest.approx(1 - 6 * 2 / (4 * 15))
    assert metrics.krocc(a, b) == pytest.approx((5 - 1) / 6)
    assert metrics.plcc(a, b) == pytest.approx(4 / 5)
    assert metrics.rmse(a, b) == pytest.approx(math.sqrt(0.5))


def test_ties_by_hand():
    # Ranks (1.5, 1.5, 3) and (1, 2, 3); tau-b = 2 / sqrt(2 * 3).
    assert metrics.srocc([5, 5, 9], [1, 2, 3]) == pytest.approx(1.5 / math.sqrt(1.5 * 2))
    assert metrics.krocc([5, 5, 9], [1, 2, 3]) == pytest.approx(2 / math.sqrt(6))


def test_against_scipy():
    a, b = noisy_scores(200)
    a = np.round(a)
    assert metrics.srocc(a, b) == pytest.approx(stats.spearmanr(a, b)[0])
    assert metrics.plcc(a, b) == pytest.approx(stats.pearsonr(a, b)[0])
    assert metrics.krocc(a, b) == pytest.approx(stats.kendalltau(a, b)[0])


@pytest.mark.parametrize("correlation", CORRELATIONS)
def test_undefined_is_nan_without_a_warning(correlation):
    assert math.isnan(correlation([], []))
    assert math.isnan(correlation([1.0], [2.0]))
    assert math.isnan(correlation([1, 1, 1], [1, 2, 3]))
    assert math.isnan(correlation([1, 2, 3], np.full(3, 0.1, np.float32)))
    assert math.isnan(correlation([1, 2, math.nan], [1, 2, 3]))
    assert correlation([1, 2], [5, 9]) == pytest.approx(1)
    assert isinstance(correlation(np.array([1, 2, 4], np.float32), [3, 1, 0]), float)


def test_rmse_of_nothing_is_nan():
    assert math.isnan(metrics.rmse([], []))


@pytest.mark.parametrize("function", [*CORRELATIONS, metrics.rmse, metrics.logistic_fit])
def test_shapes_are_checked(function):
    with pytest.raises(ValueError, match="equal length"):
        function([1, 2, 3], [1, 2])
    with pytest.raises(ValueError, match="1-D"):
        function([[1], [2]], [[1], [2]])


@settings(deadline=None)
@given(
    values=st.lists(st.tuples(st.integers(-50, 50), st.integers(-50, 50)), min_size=2, max_size=30)
)
def test_rank_correlations_are_symmetric_and_see_order_only(values):
    a, b = np.array(values, float).T
    for correlation in (metrics.srocc, metrics.krocc):
        value = correlation(a, b)
        expected = pytest.approx(value, nan_ok=True)
        assert correlation(b, a) == expected
        assert correlation(np.exp(a / 10), 3 * b - 7) == expected
        assert correlation(-a, b) == pytest.approx(-value, nan_ok=True)
        assert math.isnan(value) or abs(value) <= 1 + 1e-12


def test_within_group_srocc():
    a = [1, 2, 3, 1, 2, 3, 7, 5, 5]
    b = [1, 2, 3, 3, 2, 1, 4, 8, 9]
    groups = ["up"] * 3 + ["down"] * 3 + ["alone"] + ["tied"] * 2
    assert metrics.within_group_srocc(a, b, groups) == pytest.approx(0)
    assert metrics.within_group_srocc(a[:3], b[:3], groups[:3]) == pytest.approx(1)
    assert math.isnan(metrics.within_group_srocc(a[6:], b[6:], groups[6:]))
    with pytest.raises(ValueError, match="label per score"):
        metrics.within_group_srocc(a, b, groups[:2])


def four(x):
    return 20 + 45 / (1 + np.exp(-(x - 0.4) / 0.08))


def five(x):
    return 30 * (0.5 - 1 / (1 + np.exp(9 * (x - 0.3)))) + 12 * x + 40


@pytest.mark.parametrize(("parameters", "curve"), [(4, four), (5, four), (5, five)])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_known_logistic_is_recovered(parameters, curve, sign):
    x = np.random.default_rng(0).uniform(0, 1, 300)
    fitted = metrics.logistic_fit(1000 * sign * x - 3, curve(x), parameters)
    np.testing.assert_allclose(fitted, curve(x), atol=0.01)


@pytest.mark.parametrize("parameters", [4, 5])
def test_noisy_logistic_leaves_the_noise(parameters):
    rng = np.random.default_rng(1)
    x = rng.uniform(0, 1, 2000)
    fitted = metrics.logistic_fit(x, four(x) + rng.normal(0, 3, x.size), parameters)
    assert metrics.rmse(fitted, four(x)) < 0.5


@settings(max_examples=25, deadline=None)
@given(
    points=st.lists(
        st.tuples(st.integers(-100, 100), st.integers(0, 100)), min_size=2, max_size=25
    ),
    parameters=st.sampled_from([4, 5]),
)
def test_fit_is_monotone_and_no_worse_than_a_line(points, parameters):
    x, y = np.array(points, float).T
    fitted = metrics.logistic_fit(x, y, parameters)
    assert fitted.shape == x.shape and np.isfinite(fitted).all()
    steps = np.diff(fitted[np.argsort(x, kind="stable")])
    assert (steps >= -1e-9).all() or (steps <= 1e-9).all()
    if np.ptp(x):
        line = np.polynomial.Polynomial.fit(x, y, 1)(x)
        assert metrics.rmse(fitted, y) <= metrics.rmse(line, y) + 1e-9


def test_few_points_fall_back_to_the_line():
    np.testing.assert_allclose(metrics.logistic_fit([0, 1, 2], [1, 0, 5], 4), [0, 2, 4], atol=1e-12)
    np.testing.assert_allclose(metrics.logistic_fit([3, 3], [1, 5]), [3, 3])
    assert metrics.logistic_fit([], []).shape == (0,)
    with pytest.raises(ValueError, match="4 or 5"):
        metrics.logistic_fit([1, 2], [1, 2], 3)


def test_bootstrap_repeats_with_its_seed():
    a, b = noisy_scores(60)
    first = metrics.bootstrap_interval(metrics.srocc, a, b, samples=200)
    assert metrics.bootstrap_interval(metrics.srocc, a, b, samples=200) == first
    assert metrics.bootstrap_interval(metrics.srocc, a, b, samples=200, seed=1) != first
    narrow = metrics.bootstrap_interval(metrics.srocc, a, b, level=0.5, samples=200)
    assert first[0] < narrow[0] < metrics.srocc(a, b) < narrow[1] < first[1]


def test_bootstrap_of_a_mean_has_the_normal_width():
    rng = np.random.default_rng(3)
    a, b = rng.normal(0, 2, 400), np.zeros(400)
    low, high = metrics.bootstrap_interval(lambda x, y: float(np.mean(x - y)), a, b, samples=2000)
    half = 1.96 * a.std() / math.sqrt(a.size)
    assert low == pytest.approx(a.mean() - half, abs=0.15 * half)
    assert high == pytest.approx(a.mean() + half, abs=0.15 * half)


def test_bootstrap_covers_the_true_correlation():
    truth, hits, trials = 0.6, 0, 200
    rng = np.random.default_rng(5)
    for trial in range(trials):
        a, b = rng.multivariate_normal([0, 0], [[1, truth], [truth, 1]], 60).T
        low, high = metrics.bootstrap_interval(
            lambda x, y: float(np.corrcoef(x, y)[0, 1]), a, b, 0.9, 200, seed=trial
        )
        hits += low <= truth <= high
    assert 0.82 < hits / trials < 0.96


def test_bootstrap_of_what_is_undefined():
    assert np.isnan(metrics.bootstrap_interval(metrics.srocc, [], [])).all()
    assert np.isnan(metrics.bootstrap_interval(metrics.srocc, [1, 1], [1, 2], samples=20)).all()
    # Of two points, half the resamples are constant; the others correlate fully.
    interval = metrics.bootstrap_interval(metrics.srocc, [1, 2], [1, 2], samples=50)
    assert interval == pytest.approx((1, 1))


def test_groups_are_resampled_whole():
    """Copies of a point add nothing: grouped, the interval is that of the single points."""
    a, b = noisy_scores(40)
    single = metrics.bootstrap_interval(metrics.plcc, a, b, samples=500)
    order = np.random.default_rng(0).permutation(200)
    copies, labels = [np.repeat(x, 5)[order] for x in (a, b)], np.repeat(np.arange(40), 5)[order]
    grouped = metrics.bootstrap_interval(metrics.plcc, *copies, samples=500, groups=labels)
    loose = metrics.bootstrap_interval(metrics.plcc, *copies, samples=500)
    assert grouped == pytest.approx(single, abs=0.02)
    assert np.diff(loose) < 0.6 * np.diff(grouped)
    with pytest.raises(ValueError, match="label per score"):
        metrics.bootstrap_interval(metrics.plcc, a, b, groups=labels)


def test_bootstrap_p_value_of_equals_and_of_the_better():
    a, b = noisy_scores(80)
    worse = a + np.random.default_rng(1).normal(0, 30, 80)
    assert metrics.bootstrap_p_value(metrics.srocc, a, a, b) == 1
    assert metrics.bootstrap_p_value(metrics.srocc, a, worse, b) < 0.01
    assert metrics.bootstrap_p_value(metrics.srocc, worse, a, b) < 0.01
    assert math.isnan(metrics.bootstrap_p_value(metrics.srocc, a, np.ones(80), b))


def test_bootstrap_p_value_rejects_as_often_as_it_says():
    rng = np.random.default_rng(2)
    rejected = 0
    for trial in range(200):
        truth = rng.normal(size=60)
        first, second = truth + rng.normal(size=(2, 60))
        p = metrics.bootstrap_p_value(
            lambda x, y: float(np.corrcoef(x, y)[0, 1]), first, second, truth, None, 200, trial
        )
        rejected += p < 0.1
    assert 0.03 < rejected / 200 < 0.2


def test_wilcoxon_p_value():
    first, second = np.random.default_rng(0).normal(size=(2, 15))
    assert metrics.wilcoxon_p_value(first, second) == stats.wilcoxon(first, second).pvalue
    assert metrics.wilcoxon_p_value(first, first) == 1
    assert math.isnan(metrics.wilcoxon_p_value([1], [2]))
    assert math.isnan(metrics.wilcoxon_p_value([1, math.nan], [2, 3]))
