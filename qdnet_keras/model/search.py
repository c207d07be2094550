"""Looks for the quality, and for how far to go to it, at which a rendering meets a target.

Which qualities are tried, and what a target between two of them means, is said in `enhancement`.
All functions take a batch whose rows do not influence each other, in a graph as in Python.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from scipy.special import chdtri

from qdnet_keras.model import graphs
from qdnet_keras.model.qdnet import QDNet

SAMPLERS = ("bank", "prior")
SMALLEST_GAIN = 0.1  # of the score: what a rendering must be nearer by to replace the picture
WORTHWHILE = 4.0  # of the score: by what a quality of other pictures must be nearer the target
CHROMA = 16.0  # of the score: what a quality must gain besides that takes all of it, `chroma_lost`
CASTS = 0.5  # part of that for the restored quality, which takes casts away
CORNER = 0.5  # ε of the restored quality
OFFSETS = (3.0, 6.0, 12.0, 24.0)  # MOS between Q(z̄) and that of the picture, tried in this order
NEIGHBOURS = 8
PRIOR_DRAWS, PRIOR_BLOCKS = 1024, 16
CLIMB_STEPS, CLIMB_RATE = 100, 0.1
SEARCH_STEPS, SEARCH_TOLERANCE = 60, 0.01
UNLIKE_ENDS = 0.02  # ε by which a guess must differ from both ends
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


def _guess(model: QDNet) -> Callable:
    """`search_epsilon` as a graph."""
    z = graphs.latents(model)
    signature = [z, z, graphs.NUMBERS]
    return graphs.traced(
        model, "guess", lambda z, far, target: search_epsilon(model, z, far, target), signature
    )


def _choice(model: QDNet, sampler: str) -> Callable:
    """`choose_latent` as a graph, and whether what it gives falls short of the goal."""
    signature = [graphs.latents(model), graphs.NUMBERS, graphs.NUMBERS, graphs.COUNT]

    def choose(
        z: tf.Tensor, upward: tf.Tensor, goal: tf.Tensor, seed: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        far = choose_latent(model, z, upward, goal, seed, sampler)
        return far, upward * model.score_latent(far) < goal

    return graphs.traced(model, f"choice_{sampler}", choose, signature)


def choose_path(
    model: QDNet,
    rescore: Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]],
    z: tf.Tensor,
    restored: tf.Tensor,
    before: tf.Tensor,
    target: tf.Tensor,
    tolerance: tf.Tensor,
    seed: tf.Tensor,
    sampler: str,
) -> tuple[tf.Tensor, Search, tf.Tensor, tf.Tensor]:
    """Steps 1 and 2: a path from z that leads beyond the target, or as near to it as any.

    Args:
        rescore: Function from z̄ `[B, latent_dim]` and ε `[B]` to the score of the rendering and
            the share of the chroma that is lost in it.
        restored: Quality that the restorer expects, `[B, latent_dim]`.
        before: Score at z, `[B]`.

    Returns:
        z̄, the search on the path to it, and ε and score of the rendering that comes nearest.
    """
    upward, before_mos = direction(before, target), model.score_latent(z)
    is_upward = upward > 0.0
    start, zero = upward * (before - target), tf.zeros_like(target)
    choice = _choice(model, sampler)
    guess = CORNER * _guess(model)(z, restored, target)
    is_guess = is_upward & (guess > UNLIKE_ENDS) & (guess < CORNER - UNLIKE_ENDS)

    def needs_more(search: Search, score: tf.Tensor) -> tf.Tensor:
        apart = tf.minimum(tf.abs(score - target), tf.abs(before - target)) > tolerance
        return apart & ~search.holds()

    def attempt(
        count: tf.Tensor,
        far: tf.Tensor,
        search: Search,
        epsilon: tf.Tensor,
        score: tf.Tensor,
        end: tf.Tensor,
        corner_gap: tf.Tensor,
        exhausted: tf.Tensor,
    ) -> tuple[Any, ...]:
        goal = upward * before_mos + tf.gather((0.0, 0.0, *OFFSETS), count)
        from_z = tf.where(is_upward[:, None], restored, z)
        new_far, is_short = tf.cond(
            count < 2,
            lambda: (restored, tf.zeros_like(goal, tf.bool)),
            lambda: choice(from_z, upward, goal, seed),
        )
        share = tf.where(count < 2, CORNER, 1.0) + zero
        share = tf.where((count == 0) & is_guess, guess, share)
        new_score, lost = rescore(new_far, share)
        gap = upward * (new_score - target)
        corner_gap = tf.where(count == 1, gap, corner_gap)

        low = tf.where((count > 1) & is_upward, CORNER, zero)
        low, low_gap = tf.cond(
            count == 1,
            lambda: (search.low, search.low_gap),
            lambda: (low, tf.where(low > 0.0, corner_gap, start)),
        )
        new_search = Search(low, low_gap, share, gap)
        # Short of the target by little: the line through both renderings tells where it is.
        end_gap = start + (gap - start) * CORNER / share
        leads_beyond = (gap < 0.0) & (gap > -NEAR * tolerance) & (end_gap > -gap)
        on = Search(share, gap, CORNER + zero, tf.where(leads_beyond, end_gap, gap))
        new_search = _choose((gap < 0.0) & (share < CORNER), on, new_search)

        is_allowed = is_upward | (count > 1)
        active = needs_more(search, score) & is_allowed & ~exhausted
        taken = CHROMA * lost
        price = tf.where(count < 2, CASTS * taken, WORTHWHILE + tf.where(is_upward, taken, 0.0))
        gain = upward * (new_score - end)
        is_worth_it = (gain >= price) | (~is_upward & (gap >= 0.0))
        nearer = tf.abs(new_score - target) + SMALLEST_GAIN < tf.abs(score - target)
        best = active & is_worth_it & (nearer | new_search.holds())
        leads_astray = is_upward & (gain <= -WORTHWHILE)
        return (
            count + 1,
            tf.where(best[:, None], new_far, far),
            _choose(active & is_worth_it, new_search, search),
            tf.where(best, share, epsilon),
            tf.where(best, new_score, score),
            tf.where(is_worth_it, upward * tf.maximum(upward * end, upward * new_score), end),
            corner_gap,
            exhausted | is_short | ((count > 1) & leads_astray),
        )

    first = tf.where(tf.reduce_any(is_guess), 0, tf.where(tf.reduce_any(is_upward), 1, 2))
    _, far, search, epsilon, score, *_ = tf.while_loop(
        lambda count, far, search, epsilon, score, end, corner_gap, exhausted: (
            (count < 2 + len(OFFSETS)) & tf.reduce_any(needs_more(search, score) & ~exhausted)
        ),
        attempt,
        (
            first,
            tf.where(is_upward[:, None], restored, z),
            Search(zero, start, zero, start),
            zero,
            before,
            before,
            start,
            tf.zeros_like(target, tf.bool),
        ),
    )
    return far, search, epsilon, score


def _choose(condition: tf.Tensor, one: Search, other: Search) -> Search:
    return Search(*(tf.where(condition, *pair) for pair in zip(one, other, strict=True)))


def direction(before: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
    """1 to raise the score, −1 to lower it."""
    return tf.where(target >= before, 1.0, -1.0)


def choose_latent(
    model: QDNet,
    z: tf.Tensor,
    upward: tf.Tensor,
    goal: tf.Tensor,
    seed: tf.Tensor,
    sampler: str,
) -> tf.Tensor:
    """z̄ `[B, latent_dim]`, near to z, with upward · Q(z̄) ≥ goal where there is one.

    `"bank"`: the mean of the nearest accepted items; the mean of several is a more typical
    quality than any one. `"prior"`: the nearest accepted of a block of draws from N(0, I), more
    blocks while none is. When nothing is accepted, the most extreme item known is taken and, for
    the prior, moved along the gradient of Q inside the ball that holds 99 % of the prior.

    Args:
        upward: 1 to raise the score, −1 to lower it, `[B]`.
        goal: Score to reach times `upward`, MOS units, `[B]`.
    """
    if sampler == "bank":
        return _nearest_accepted(model, tf.convert_to_tensor(model.bank), z, upward, goal)
    best = tf.zeros_like(z)
    best_value = tf.fill(tf.shape(goal), -np.inf)

    def draw(block: tf.Tensor, best: tf.Tensor, best_value: tf.Tensor) -> tuple[tf.Tensor, ...]:
        noise_seed = tf.stack([seed, block])
        candidates = tf.random.stateless_normal([PRIOR_DRAWS, model.latent_dim], noise_seed)
        found = _nearest_accepted(model, candidates, z, upward, goal, neighbours=1)
        value = upward * model.score_latent(found)
        better = (best_value < goal) & (value > best_value)
        return (
            block + 1,
            tf.where(better[:, None], found, best),
            tf.where(better, value, best_value),
        )

    _, best, best_value = tf.while_loop(
        lambda block, _, value: (block < PRIOR_BLOCKS) & tf.reduce_any(value < goal),
        draw,
        (0, best, best_value),
    )
    return _climb(model, best, upward, goal)


def _nearest_accepted(
    model: QDNet,
    candidates: tf.Tensor,
    z: tf.Tensor,
    upward: tf.Tensor,
    goal: tf.Tensor,
    neighbours: int = NEIGHBOURS,
) -> tf.Tensor:
    """Mean of the `neighbours` accepted candidates nearest to each z, else of the most extreme.

    A mean that falls short of the goal although its members do not is replaced by the nearest.
    """
    neighbours = min(neighbours, candidates.shape[0])
    value = upward[:, None] * model.score_latent(candidates)[None, :]
    distance = tf.reduce_sum(tf.square(z[:, None, :] - candidates[None, :, :]), axis=-1)
    short = tf.maximum(goal[:, None] - value, 0.0)
    cost = tf.where(short > 0.0, 1e6 * (1.0 + short), distance)
    nearest = tf.gather(candidates, tf.math.top_k(-cost, neighbours).indices)
    mean = tf.reduce_mean(nearest, axis=1)
    mean_value = upward * model.score_latent(mean)
    first_value = upward * model.score_latent(nearest[:, 0])
    use_mean = mean_value >= tf.minimum(goal, first_value)
    return tf.where(use_mean[:, None], mean, nearest[:, 0])


def _climb(model: QDNet, z: tf.Tensor, upward: tf.Tensor, goal: tf.Tensor) -> tf.Tensor:
    """Moves latents that miss their goal up the gradient of Q, inside the prior's 99 % ball."""
    radius = np.float32(np.sqrt(chdtri(model.latent_dim, 0.01)))

    def step(count: tf.Tensor, z: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(z)
            value = upward * model.score_latent(z)
        slope = tf.math.l2_normalize(tape.gradient(value, z), axis=-1)
        moved = tf.clip_by_norm(z + CLIMB_RATE * slope, radius, axes=[-1])
        return count + 1, tf.where((value < goal)[:, None], moved, z)

    return tf.while_loop(lambda count, _: count < CLIMB_STEPS, step, (0, z))[1]


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
            _choose(active, narrowed, search),
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
