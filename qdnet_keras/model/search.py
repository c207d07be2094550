"""Looks for ε, how far to go on a path, at which a rendering meets a target.

All functions take a batch whose rows do not influence each other, in a graph as in Python.
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from qdnet_keras.model.qdnet import QDNet

CORNER = 0.5  # ε of the quality by which the path leads
SEARCH_STEPS, SEARCH_TOLERANCE = 60, 0.01
PROOFS = 8  # renderings of a proof at most, after those that chose the path
NEAR = 2.0  # tolerances from the target whence the next correction is likely to meet it


class Search(NamedTuple):
    """Where the target lies on the path from z to z̄, float32, one shape.

    `low` and `high` are ε of renderings; `low_gap` and `high_gap` are how far their scores lie
    beyond the target: below 0 where they fall short of it.
    """

    low: tf.Tensor
    low_gap: tf.Tensor
    high: tf.Tensor
    high_gap: tf.Tensor

    def holds(self) -> tf.Tensor:
        """Whether the target lies between the two."""
        return (self.high_gap >= 0.0) & (self.high > self.low)

    def slope(self) -> tf.Tensor:
        """Points of the score for each ε; 0 where the target lies elsewhere."""
        rise = (self.high_gap - self.low_gap) / (self.high - self.low)
        return tf.where(self.holds(), rise, 0.0)

    def crossing(self) -> tf.Tensor:
        """ε at which a line through the two meets the target, or nearly: never at an end."""
        share = -self.low_gap / (self.high_gap - self.low_gap)
        return self.low + tf.clip_by_value(share, 0.05, 0.95) * (self.high - self.low)

    def narrowed(self, epsilon: tf.Tensor, gap: tf.Tensor) -> "Search":
        """The part that holds the target, after a rendering at ε."""
        short = gap < 0.0
        return Search(
            tf.where(short, epsilon, self.low),
            tf.where(short, gap, self.low_gap),
            tf.where(short, self.high, epsilon),
            tf.where(short, self.high_gap, gap),
        )


def choose_search(condition: tf.Tensor, one: Search, other: Search) -> Search:
    return Search(*(tf.where(condition, *pair) for pair in zip(one, other, strict=True)))


def direction(before: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
    """1 to raise the score, −1 to lower it."""
    return tf.where(target >= before, 1.0, -1.0)


def search_epsilon(model: QDNet, z: tf.Tensor, far: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
    """Minimises |Q(ε z̄ + (1 − ε) z) − target| over ε in 0..1 by safeguarded gradient descent.

    Every step follows the gradient of the absolute difference by Polyak's step length (the
    difference over its slope); a step that leaves the bracket of the crossing, or is not a
    number, is replaced by a bisection. Returns the best ε seen, `[B]`.
    """
    zero = tf.zeros_like(target)
    gap_at_zero, _ = _latent_gap(model, z, far, zero, target)

    def step(
        count: tf.Tensor,
        epsilon: tf.Tensor,
        low: tf.Tensor,
        high: tf.Tensor,
        best: tf.Tensor,
        best_gap: tf.Tensor,
    ) -> tuple[tf.Tensor, ...]:
        gap, slope = _latent_gap(model, z, far, epsilon, target)
        better = (tf.abs(gap) < best_gap) & (best_gap > SEARCH_TOLERANCE)
        best, best_gap = tf.where(better, epsilon, best), tf.where(better, tf.abs(gap), best_gap)
        before_crossing = tf.sign(gap) == tf.sign(gap_at_zero)
        low = tf.where(before_crossing, epsilon, low)
        high = tf.where(before_crossing, high, epsilon)
        descended = epsilon - gap / slope
        inside = (descended > low) & (descended < high)
        return count + 1, tf.where(inside, descended, 0.5 * (low + high)), low, high, best, best_gap

    start = (0, 0.5 + zero, zero, 1.0 + zero, zero, tf.abs(gap_at_zero))
    return tf.while_loop(
        lambda count, *state: (count < SEARCH_STEPS) & tf.reduce_any(state[-1] > SEARCH_TOLERANCE),
        step,
        start,
    )[4]


def _latent_gap(
    model: QDNet, z: tf.Tensor, far: tf.Tensor, epsilon: tf.Tensor, target: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Q(ε z̄ + (1 − ε) z) − target and its derivative by ε, each `[B]`."""
    with tf.GradientTape() as tape:
        tape.watch(epsilon)
        gap = model.rank_latent(z + epsilon[:, None] * (far - z)) - target
    return gap, tape.gradient(gap, epsilon)


def close_loop(
    rescore: Callable[[tf.Tensor], tf.Tensor],
    search: Search,
    best: tuple[tf.Tensor, tf.Tensor],
    target: tf.Tensor,
    upward: tf.Tensor,
    near: tf.Tensor,
) -> tuple[Search, tf.Tensor, tf.Tensor]:
    """Narrows a search until a rendering's score is near the target.

    Args:
        rescore: Function from ε `[B]` to the score of the rendering `[B]`.
        search: What is known of the path, `[B]`.
        best: ε and score of the nearest rendering so far, `[B]` each.
        target: Score asked for, `[B]`.
        upward: See `choose_latent`.
        near: Distance to the target that is near enough, scalar.

    Returns:
        The search, ε and score of the nearest rendering, `[B]` each.
    """

    def unfinished(search: Search, _: tf.Tensor, score: tf.Tensor) -> tf.Tensor:
        return search.holds() & (tf.abs(score - target) > near)

    def step(
        count: tf.Tensor, search: Search, epsilon: tf.Tensor, score: tf.Tensor
    ) -> tuple[tf.Tensor, Search, tf.Tensor, tf.Tensor]:
        active = unfinished(search, epsilon, score)
        new = search.crossing()
        new_score = rescore(new)
        nearer = active & (tf.abs(new_score - target) < tf.abs(score - target))
        narrowed = search.narrowed(new, upward * (new_score - target))
        return (
            count + 1,
            choose_search(active, narrowed, search),
            tf.where(nearer, new, epsilon),
            tf.where(nearer, new_score, score),
        )

    return tf.while_loop(
        lambda count, *state: (count < PROOFS) & tf.reduce_any(unfinished(*state)),
        step,
        (0, search, *best),
    )[1:]


def along(z: tf.Tensor, near: tf.Tensor, far: tf.Tensor, epsilon: tf.Tensor) -> tf.Tensor:
    """The quality at ε `[B]` on the way from z (ε = 0) by near (`CORNER`) to far (1)."""
    first = tf.minimum(epsilon / CORNER, 1.0)[:, None]
    second = tf.maximum((epsilon - CORNER) / (1.0 - CORNER), 0.0)[:, None]
    return z + first * (near - z) + second * (far - near)
