"""Agreement of predicted scores with MOS.

Scores are 1-D sequences of equal length; computations are in float64. A correlation that is not
defined (fewer than two points, a constant or a non-finite value) is nan.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, stats
from scipy.special import expit


def srocc(a: ArrayLike, b: ArrayLike) -> float:
    """Spearman's rank correlation in -1..1, or nan."""
    return _correlation(stats.spearmanr, a, b)


def plcc(a: ArrayLike, b: ArrayLike) -> float:
    """Pearson's linear correlation in -1..1, or nan."""
    return _correlation(stats.pearsonr, a, b)


def krocc(a: ArrayLike, b: ArrayLike) -> float:
    """Kendall's rank correlation (tau-b) in -1..1, or nan."""
    return _correlation(stats.kendalltau, a, b)


def rmse(a: ArrayLike, b: ArrayLike) -> float:
    """Root of the mean squared difference, in the unit of the scores; nan without points."""
    a, b = _scores(a, b)
    return math.sqrt(np.mean((a - b) ** 2)) if a.size else math.nan


def within_group_srocc(a: ArrayLike, b: ArrayLike, groups: ArrayLike) -> float:
    """Mean over `groups` (labels, `[N]`) of the SROCC inside each.

    Groups count equally; those without a defined SROCC are left out. Nan when none is left.
    """
    a, b = _scores(a, b)
    labels = np.asarray(groups)
    if labels.shape != a.shape:
        raise ValueError(f"one group label per score is needed: {labels.shape} and {a.shape}")
    inside = [srocc(a[labels == label], b[labels == label]) for label in np.unique(labels)]
    defined = [value for value in inside if not math.isnan(value)]
    return float(np.mean(defined)) if defined else math.nan


def logistic_fit(predicted: ArrayLike, mos: ArrayLike, parameters: int = 5) -> np.ndarray:
    """Maps predictions to the MOS scale by a fitted monotone logistic, float64 `[N]`.

    4 parameters: base + height / (1 + exp(-rate (x - centre))), the logistic of the VQEG FRTV
    Phase II report (2003). 5: the same plus a linear term (Sheikh, Sabir, Bovik, IEEE TIP 15(11),
    2006), its slopes held to one sign so that the map stays monotone. It rises or falls as the
    PLCC is positive or negative.

    The straight line of least squares is used when the best fit of 200 steps is no better, or when
    there are no more points than parameters.
    """
    if parameters not in (4, 5):
        raise ValueError(f"parameters must be 4 or 5: {parameters}")
    x, y = _scores(predicted, mos)
    correlation = plcc(x, y)
    if math.isnan(correlation):
        return np.full(y.shape, y.mean() if y.size else math.nan)
    x = math.copysign(1, correlation) * (x - x.mean()) / x.std()
    line = y.mean() + abs(correlation) * y.std() * x
    if x.size <= parameters:
        return line
    start = np.array([y.min(), np.ptp(y), 0.0, 1.7, 0.0])[:parameters]
    lowest = np.array([-np.inf, 0.0, -np.inf, 0.0, 0.0])[:parameters]
    fit = optimize.least_squares(
        lambda free: _logistic(x, *free) - y,
        start,
        jac=lambda free: _logistic_slopes(x, *free),
        bounds=(lowest, np.inf),
        max_nfev=200,
    )
    fitted = _logistic(x, *fit.x)
    return fitted if rmse(fitted, y) <= rmse(line, y) else line


def bootstrap_interval(
    fn: Callable[[np.ndarray, np.ndarray], float],
    a: ArrayLike,
    b: ArrayLike,
    level: float = 0.95,
    samples: int = 1000,
    seed: int = 0,
    groups: ArrayLike | None = None,
) -> tuple[float, float]:
    """Percentile bootstrap interval of `fn(a, b)`, pairs resampled with replacement.

    Resamples on which `fn` is nan are left out; (nan, nan) when all are. With `groups` (labels,
    `[N]`) whole groups are resampled; without, pairs are taken as independent, which renderings of
    one scene are not quite, so that the interval is a little short then.
    """
    a, b = _scores(a, b)
    drawn = _resamples(a.size, groups, samples, seed)
    values = np.array([fn(a[index], b[index]) for index in drawn])
    values = values[~np.isnan(values)]
    if not values.size:
        return math.nan, math.nan
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap_p_value(
    fn: Callable[[np.ndarray, np.ndarray], float],
    first: ArrayLike,
    second: ArrayLike,
    truth: ArrayLike,
    groups: ArrayLike | None = None,
    samples: int = 1000,
    seed: int = 0,
) -> float:
    """Two-sided p of `fn(first, truth) = fn(second, truth)` by a paired bootstrap, or nan.

    Twice the share of resamples in which the difference has the rarer sign, a resample without a
    difference counting half, and at least 1 / samples. See `bootstrap_interval` for `groups`.
    """
    first, truth = _scores(first, truth)
    second, _ = _scores(second, truth)
    drawn = _resamples(truth.size, groups, samples, seed)
    values = np.array([fn(first[i], truth[i]) - fn(second[i], truth[i]) for i in drawn])
    values = values[~np.isnan(values)]
    if not values.size:
        return math.nan
    above = np.mean(values > 0) + np.mean(values == 0) / 2
    return float(max(2 * min(above, 1 - above), 1 / samples))


def wilcoxon_p_value(first: ArrayLike, second: ArrayLike) -> float:
    """Two-sided p of the Wilcoxon signed-rank test on paired figures `[splits]`.

    1 when they are equal; nan for fewer than two pairs or a figure that is not finite.
    """
    first, second = _scores(first, second)
    if first.size < 2 or not np.isfinite([first, second]).all():
        return math.nan
    if np.array_equal(first, second):
        return 1.0
    return float(stats.wilcoxon(first, second).pvalue)


def _resamples(
    count: int, groups: ArrayLike | None, samples: int, seed: int
) -> Iterator[np.ndarray]:
    """Indices of `samples` resamples of `count` points, or of whole groups of them."""
    labels = np.arange(count) if groups is None else np.asarray(groups)
    if labels.shape != (count,):
        raise ValueError(f"one group label per score is needed: {labels.shape} and {count}")
    _, inverse, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    members = np.split(np.argsort(inverse, kind="stable"), np.cumsum(sizes)[:-1])
    rng = np.random.default_rng(seed)
    for _ in range(samples if count else 0):
        drawn = rng.integers(len(members), size=len(members))
        yield np.concatenate([members[k] for k in drawn])


def _logistic_slopes(
    x: np.ndarray, base: float, height: float, centre: float, rate: float, *slope: float
) -> np.ndarray:
    """Derivatives of `_logistic` by its parameters, `[N, parameters]`."""
    step = expit(rate * (x - centre))
    bell = height * step * (1 - step)
    columns = [np.ones_like(x), step, -rate * bell, (x - centre) * bell]
    return np.stack(columns + [x] * len(slope), axis=1)


def _logistic(
    x: np.ndarray, base: float, height: float, centre: float, rate: float, slope: float = 0.0
) -> np.ndarray:
    return base + height * expit(rate * (x - centre)) + slope * x


def _correlation(fn: Callable, a: ArrayLike, b: ArrayLike) -> float:
    a, b = _scores(a, b)
    if a.size < 2 or not np.isfinite([a, b]).all() or np.ptp(a) == 0 or np.ptp(b) == 0:
        return math.nan
    return float(fn(a, b).statistic)


def _scores(a: ArrayLike, b: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(f"two 1-D sequences of equal length are needed: {a.shape}, {b.shape}")
    return a, b
