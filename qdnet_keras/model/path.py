"""Chooses the quality to go to, and the path to it, by renderings that are scored.

Which qualities are tried, and what a target between two of them means, is said in `enhancement`.
All functions take a batch whose rows do not influence each other, in a graph as in Python.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from scipy.special import chdtri

from qdnet_keras.model import graphs
from qdnet_keras.model.qdnet import QDNet
from qdnet_keras.model.search import (
    CORNER,
    NEAR,
    Search,
    choose_search,
    direction,
    search_epsilon,
)

SAMPLERS = ("bank", "prior")
SMALLEST_GAIN = 0.1  # of the score: what a rendering must be nearer by to replace the picture
WORTHWHILE = 4.0  # of the score: by what a quality of other pictures must be nearer the target
ASTRAY = 8.0  # of the score: where a quality is as much worse, those farther on are not tried
CHROMA = 16.0  # of the score: what a quality must gain besides that takes all of it, `chroma_lost`
CASTS = 0.5  # part of that for the restored quality, which takes casts away
OFFSETS = (3.0, 6.0, 12.0, 24.0)  # MOS between Q(z̄) and that of the picture, tried in this order
NEIGHBOURS = 8
PRIOR_DRAWS, PRIOR_BLOCKS = 1024, 16
CLIMB_STEPS, CLIMB_RATE = 100, 0.1
UNLIKE_ENDS = 0.02  # ε by which a guess must differ from both ends
GUESS, RESTORED, OTHERS = 0, 1, 2  # attempts: on the way to the restored quality, there, farther on


class Walk(NamedTuple):
    """What has been found after some attempts, `[B]` each but for `far`, `[B, latent_dim]`.

    `search` is on the path to z̄, `far`; `epsilon` and `score` are of the rendering on it that comes
    nearest to the target. `best` is the score that a quality farther on must better, and
    `corner_gap` how far the restored quality lies beyond the target. Where `is_over`, no quality is
    left to try.
    """

    far: tf.Tensor
    search: Search
    epsilon: tf.Tensor
    score: tf.Tensor
    best: tf.Tensor
    corner_gap: tf.Tensor
    is_over: tf.Tensor


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
    from_z = tf.where(is_upward[:, None], restored, z)
    choice = _choice(model, sampler)
    guess = CORNER * _guess(model)(z, restored, target)
    is_guess = is_upward & (guess > UNLIKE_ENDS) & (guess < CORNER - UNLIKE_ENDS)

    def needs_more(walk: Walk) -> tf.Tensor:
        apart = tf.minimum(tf.abs(walk.score - target), tf.abs(before - target)) > tolerance
        return apart & ~walk.search.holds() & ~walk.is_over

    def attempt(count: tf.Tensor, walk: Walk) -> tuple[tf.Tensor, Walk]:
        goal = upward * before_mos + tf.gather((0.0, 0.0, *OFFSETS), count)
        far, is_short = tf.cond(
            count < OTHERS,
            lambda: (restored, tf.zeros_like(goal, tf.bool)),
            lambda: choice(from_z, upward, goal, seed),
        )
        epsilon = tf.where(count < OTHERS, CORNER, 1.0) + zero
        epsilon = tf.where((count == GUESS) & is_guess, guess, epsilon)
        score, lost = rescore(far, epsilon)
        gap = upward * (score - target)
        gain = upward * (score - tf.where(count < OTHERS, before, walk.best))
        corner_gap = tf.where(count == RESTORED, gap, walk.corner_gap)

        taken = CHROMA * lost
        price = WORTHWHILE + tf.where(is_upward, taken, 0.0)
        price = tf.where(count < OTHERS, CASTS * taken, price)
        is_worth_it = (gain >= price) | (~is_upward & (gap >= -tolerance))
        is_worth_it &= is_upward | (count >= OTHERS)
        active = needs_more(walk) & is_worth_it
        search = searched(count, walk, corner_gap, epsilon, gap)
        nearer = tf.abs(score - target) + SMALLEST_GAIN < tf.abs(walk.score - target)
        is_nearest = active & (nearer | search.holds())
        leads_astray = is_upward & (count >= OTHERS) & (gain <= -ASTRAY)
        return count + 1, Walk(
            tf.where(is_nearest[:, None], far, walk.far),
            choose_search(active, search, walk.search),
            tf.where(is_nearest, epsilon, walk.epsilon),
            tf.where(is_nearest, score, walk.score),
            tf.where(
                is_worth_it, upward * tf.maximum(upward * score, upward * walk.best), walk.best
            ),
            corner_gap,
            walk.is_over | is_short | leads_astray,
        )

    def searched(
        count: tf.Tensor, walk: Walk, corner_gap: tf.Tensor, epsilon: tf.Tensor, gap: tf.Tensor
    ) -> Search:
        by_corner = (count >= OTHERS) & is_upward
        low, low_gap = tf.cond(
            count == RESTORED,
            lambda: (walk.search.low, walk.search.low_gap),
            lambda: (tf.where(by_corner, CORNER, zero), tf.where(by_corner, corner_gap, start)),
        )
        # Short of the target by little: the line through both renderings tells where it is.
        end_gap = start + (gap - start) * CORNER / epsilon
        leads_beyond = (gap < 0.0) & (gap > -NEAR * tolerance) & (end_gap > -gap)
        on = Search(epsilon, gap, CORNER + zero, tf.where(leads_beyond, end_gap, gap))
        is_on_the_way = (gap < 0.0) & (epsilon < CORNER)
        return choose_search(is_on_the_way, on, Search(low, low_gap, epsilon, gap))

    first = tf.where(tf.reduce_any(is_upward), RESTORED, OTHERS)
    first = tf.where(tf.reduce_any(is_guess), GUESS, first)
    nothing = Search(zero, start, zero, start)
    none_over = tf.zeros_like(target, tf.bool)
    _, walk = tf.while_loop(
        lambda count, walk: (count < OTHERS + len(OFFSETS)) & tf.reduce_any(needs_more(walk)),
        attempt,
        (first, Walk(from_z, nothing, zero, before, before, start, none_over)),
    )
    return walk.far, walk.search, walk.epsilon, walk.score


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
