"""The rendering of an HDR scene that scores best: operators compared, the best ones tuned."""

from collections.abc import Callable, Sequence
from inspect import signature

import numpy as np
from scipy.optimize import differential_evolution

from qdnet_keras.advice.carry import carry
from qdnet_keras.defaults import WORKING_SIDE
from qdnet_keras.errors import ImageError
from qdnet_keras.model.qdnet import QDNet
from qdnet_keras.model.scoring import score_copies, score_pixels
from qdnet_keras.outcomes import Candidate, Tonemapped
from qdnet_keras.photos.photo import MIN_SIDE
from qdnet_keras.photos.pixels import from_float, to_float
from qdnet_keras.synthesis.hdr import mend, normalise, shrink
from qdnet_keras.synthesis.light import Array
from qdnet_keras.synthesis.tone_mapping import OPERATORS, RANGES
from qdnet_keras.synthesis.tone_mapping.opencv import reproducible

TUNED, TRIALS = 3, 40
GENERATION = 8  # renderings that are scored at once

Report = Callable[[str, int, int], None]  # what is tried, renderings made, of how many


def _silent(name: str, done: int, total: int) -> None:
    """The report of those who want none."""


def prepare_scene(rgb: Array, name: str) -> Array:
    """Linear RGB, float32 `[height, width, 3]`, as operators want it: positive, log-average 1.

    Raises:
        ImageError: If a side is below `MIN_SIDE`; `name` is what it calls the scene.
    """
    height, width = rgb.shape[:2]
    if min(height, width) < MIN_SIDE:
        raise ImageError(f"{name} is {width}x{height}; {MIN_SIDE} pixels a side are needed.")
    return normalise(mend(rgb))


def tonemap_scene(
    model: QDNet,
    scene: Array,
    *,
    operators: Sequence[str] = tuple(OPERATORS),
    tune: int = TUNED,
    trials: int = TRIALS,
    seed: int = 0,
    long_side: int = WORKING_SIDE,
    report: Report = _silent,
) -> Tonemapped:
    """Renders a scene by the operator, with the parameters, that scores best.

    All is tried on a copy in the working size; the best rendering of it is carried over to the
    scene, see `qdnet_keras.advice.carry`.

    Args:
        scene: See `prepare_scene`.
        operators: Names in `OPERATORS` of those that are compared, one or more.
        tune: How many operators are tuned, those that score best by their own defaults.
        trials: Renderings that tuning one of them may take.
        seed: Of the parameters that are tried.
        long_side: Of the working copy, pixels.
        report: Called with what is tried, renderings made, and how many there will be.

    Raises:
        ValueError: If there is no operator, or one is unknown.
    """
    unknown = set(operators) - OPERATORS.keys()
    if unknown or not operators:
        raise ValueError(f"Operators are {', '.join(OPERATORS)}. Received: {list(operators)}")
    small = shrink_to(scene, long_side)
    with reproducible():
        candidates = compare_operators(model, small, operators, report)
        for first in candidates[:tune]:
            candidates.append(tune_operator(model, small, first, trials, seed, report))
    candidates.sort(key=lambda candidate: -candidate.score)
    pixels = render_full(scene, candidates[0])
    return Tonemapped(pixels, score_pixels(model, pixels, long_side).score, tuple(candidates))


def render_full(scene: Array, candidate: Candidate) -> np.ndarray:
    """A candidate in the size of the scene that it was made of, uint8 `[height, width, 3]`."""
    if candidate.pixels.shape == scene.shape:
        return candidate.pixels
    small = shrink_to(scene, max(candidate.pixels.shape))
    return carry(scene, small, to_float(candidate.pixels))


def shrink_to(scene: Array, long_side: int) -> Array:
    """Area means, the long side `long_side`, or more where the short one would be too short."""
    height, width = scene.shape[:2]
    scale = max(long_side / max(height, width), MIN_SIDE / min(height, width))
    return shrink(scene, round(width * scale))


def compare_operators(
    model: QDNet,
    small: Array,
    operators: Sequence[str] = tuple(OPERATORS),
    report: Report = _silent,
) -> list[Candidate]:
    """Renderings of a small scene by operators with their own defaults, the best first."""
    renderings = []
    for name in operators:
        renderings.append(_render(name, small, {}))
        report("operators", len(renderings), len(operators))
    scores = score_copies(model, [to_float(pixels) for pixels in renderings])
    candidates = [
        Candidate(name, _defaults(name), False, float(score), pixels)
        for name, score, pixels in zip(operators, scores, renderings, strict=True)
    ]
    return sorted(candidates, key=lambda candidate: -candidate.score)


def tune_operator(
    model: QDNet,
    small: Array,
    start: Candidate,
    trials: int = TRIALS,
    seed: int = 0,
    report: Report = _silent,
) -> Candidate:
    """Seeks the parameters within `RANGES` whose rendering scores best, by differential evolution.

    Returns:
        The best of all that were tried and of `start`.
    """
    ranges = RANGES[start.operator]
    best, made = start, 0

    def losses(values: np.ndarray) -> np.ndarray:
        """Scores of parameters `[count, members]`, negative, and keeps the best."""
        nonlocal best, made
        tried = [dict(zip(ranges, member.tolist(), strict=True)) for member in values.T]
        renderings = [_render(start.operator, small, parameters) for parameters in tried]
        scores = score_copies(model, [to_float(pixels) for pixels in renderings])
        winner = int(scores.argmax())
        if scores[winner] > best.score:
            score, pixels = float(scores[winner]), renderings[winner]
            best = Candidate(start.operator, tried[winner], True, score, pixels)
        made += len(tried)
        report(start.operator, made, generations * GENERATION)
        return -scores

    generations = max(1, trials // GENERATION)
    lows, highs = np.array(list(ranges.values())).T
    members = np.random.default_rng(seed).uniform(lows, highs, (GENERATION, len(ranges)))
    members[0] = [start.parameters[name] for name in ranges]
    differential_evolution(
        losses,
        list(ranges.values()),
        init=members,
        maxiter=generations - 1,
        tol=0.0,
        vectorized=True,
        updating="deferred",
        polish=False,
        seed=seed,
    )
    return best


def _render(operator: str, small: Array, parameters: dict[str, float]) -> np.ndarray:
    return from_float(OPERATORS[operator](normalise(small), **parameters), np.uint8)


def _defaults(operator: str) -> dict[str, float]:
    known = signature(OPERATORS[operator]).parameters
    return {name: known[name].default for name in RANGES[operator]}
