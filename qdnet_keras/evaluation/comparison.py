"""What predictions of several methods on the same splits amount to: figures, intervals, tests.

Over several splits a figure is the median of the splits, as in the paper, with a bootstrap interval
of that median; methods are compared by Wilcoxon's signed-rank test over the splits. Splits share
pictures, so that both tell how much the choice of splits matters, less than what other data would
bring. On one split, whole groups of its pictures are resampled instead.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from qdnet_keras import metrics
from qdnet_keras.data.operators import KINDS, operator_kind

SIGNIFICANT = 0.05
RESAMPLES = 500


@dataclass(frozen=True)
class Figure:
    """A measure of agreement, after the logistic fit of 4 or 5 parameters if there is one."""

    measure: Callable[[np.ndarray, np.ndarray], float]
    parameters: int | None = None


FIGURES = {
    "srocc": Figure(metrics.srocc),
    "plcc": Figure(metrics.plcc),
    "krocc": Figure(metrics.krocc),
    "rmse": Figure(metrics.rmse),
    "plcc_4": Figure(metrics.plcc, 4),
    "rmse_4": Figure(metrics.rmse, 4),
    "plcc_5": Figure(metrics.plcc, 5),
    "rmse_5": Figure(metrics.rmse, 5),
}


@dataclass(frozen=True)
class Predictions:
    """Predictions of one method on the test side of one split, one row a picture.

    Attributes:
        predicted, mos: float64 `[N]`, MOS units.
        scenes, groups: Labels.
        operators: Names, or None where there is none.
        seconds: CPU time of one picture.
    """

    predicted: np.ndarray
    mos: np.ndarray
    scenes: list[str]
    groups: list[str]
    operators: list[str | None]
    seconds: float


@dataclass(frozen=True)
class Interval:
    """A figure and its 95 % bootstrap interval; nan where it is not defined."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Summary:
    """The figures of one method.

    Attributes:
        method: Its name.
        splits: Number of splits.
        figures: Of all test pictures, by the names of `FIGURES`.
        within_scene_srocc: Mean SROCC among the renderings of a scene.
        kinds: SROCC among the operators of one kind of `qdnet_keras.data.operators.KINDS`.
        per_split: SROCC of each split.
        seconds: CPU time of one picture.
    """

    method: str
    splits: int
    figures: dict[str, Interval]
    within_scene_srocc: float
    kinds: dict[str, Interval]
    per_split: list[float]
    seconds: float


@dataclass(frozen=True)
class Difference:
    """How the SROCC of two methods differ: `first` minus `second`, and the p of no difference.

    `test` is "wilcoxon" (over splits) or "bootstrap" (over groups of one split).
    """

    first: str
    second: str
    difference: float
    p: float
    test: str


def summarise(method: str, splits: Sequence[Predictions]) -> Summary:
    """The figures of one method over its splits."""
    inside = [metrics.within_group_srocc(s.predicted, s.mos, s.scenes) for s in splits]
    kinds: dict[str, Interval] = {}
    for kind in KINDS:
        of_kind = [_of_kind(split, kind) for split in splits]
        if any(len(split.mos) for split in of_kind):
            kinds[kind] = _interval(FIGURES["srocc"], of_kind)
    return Summary(
        method=method,
        splits=len(splits),
        figures={name: _interval(figure, splits) for name, figure in FIGURES.items()},
        within_scene_srocc=_median(inside),
        kinds=kinds,
        per_split=[metrics.srocc(split.predicted, split.mos) for split in splits],
        seconds=_median([split.seconds for split in splits]),
    )


def compare(predictions: Mapping[str, Sequence[Predictions]]) -> list[Difference]:
    """Every pair of methods, in the order given."""
    return [
        _difference(first, predictions[first], second, predictions[second])
        for first, second in combinations(predictions, 2)
    ]


def _difference(
    first: str, ours: Sequence[Predictions], second: str, theirs: Sequence[Predictions]
) -> Difference:
    a, b = ([metrics.srocc(s.predicted, s.mos) for s in splits] for splits in (ours, theirs))
    if len(ours) > 1:
        p, test = metrics.wilcoxon_p_value(a, b), "wilcoxon"
    else:
        (one,), (other,) = ours, theirs
        p = metrics.bootstrap_p_value(
            metrics.srocc, one.predicted, other.predicted, one.mos, one.groups
        )
        test = "bootstrap"
    return Difference(first, second, _median(np.subtract(a, b)), p, test)


def _interval(figure: Figure, splits: Sequence[Predictions]) -> Interval:
    """Of the median over splits, or of one split; the logistic is fitted once, to all pictures."""
    mapped = [_mapped(figure, split) for split in splits]
    values = np.array(
        [figure.measure(x, split.mos) for x, split in zip(mapped, splits, strict=True)]
    )
    if len(splits) == 1:
        low, high = metrics.bootstrap_interval(
            figure.measure, mapped[0], splits[0].mos, samples=RESAMPLES, groups=splits[0].groups
        )
    else:
        low, high = metrics.bootstrap_interval(lambda a, _: _median(a), values, values)
    return Interval(_median(values), low, high)


def _mapped(figure: Figure, split: Predictions) -> np.ndarray:
    if figure.parameters is None:
        return split.predicted
    return metrics.logistic_fit(split.predicted, split.mos, figure.parameters)


def _of_kind(split: Predictions, kind: str) -> Predictions:
    chosen = [i for i, name in enumerate(split.operators) if name and operator_kind(name) == kind]
    return Predictions(
        split.predicted[chosen],
        split.mos[chosen],
        [split.scenes[i] for i in chosen],
        [split.groups[i] for i in chosen],
        [split.operators[i] for i in chosen],
        split.seconds,
    )


def _median(values: Sequence[float] | np.ndarray) -> float:
    finite = np.asarray(values, float)
    finite = finite[~np.isnan(finite)]
    return float(np.median(finite)) if finite.size else math.nan
