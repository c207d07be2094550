"""Renders a picture at a target score: eq. (5) and (6) of the paper, closed over the re-score.

1. Choose z̄: first the quality that the restorer expects of the picture, then qualities of other
   pictures with a better (worse) Q, farther and farther ones, until the rendering at z̄ scores
   beyond the target. To better a picture the way to these leads through the restored quality, and
   they must gain more than a little over it. Where none reaches the target, the best one seen is
   the answer.
2. Search ε with Q(ε z̄ + (1 − ε) z) = target by gradient descent on |Q − target|: on the way to the
   restored quality, this is where to look first.
3. Render, score the rendering itself, and correct ε until that score meets the target.

The qualities tried do not depend on the target, so that a higher target never ends lower. With two
qualities ahead ε counts the whole way: the restored one lies at `CORNER`, the other at 1.

The rendering is the picture with its quality changed: at ε = 0 it is the picture itself. Steps 1 to
3 see a proof (`find_change`): a small picture itself, of a large one the working copy. A proof of
the latter scores nearly as the picture's rendering, but not quite: the mean of changed pixels is
not the changed mean, and pixels are rounded. So the last correction of ε is judged by the picture
itself, and so are two more where it misses (`settle`).

`enhance_pixels`, `render_pixels` and `render_tile` take arrays; the other functions take a batch
whose rows do not influence each other, but for `settle`. A server runs them as one graph (`graph`).
Python runs the loops itself, and only what they repeat as graphs: one of everything takes seconds
to trace and to start.
"""

from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from scipy.special import chdtri

from qdnet_keras.model import copies, graphs
from qdnet_keras.model.qdnet import QDNet
from qdnet_keras.model.scoring import WORKING_SIDE, score_pixels
from qdnet_keras.outcomes import Enhanced
from qdnet_keras.photos.files import from_float, to_float, working_copy

SAMPLERS = ("bank", "prior")
TOLERANCE = 1.0  # of the score
SMALLEST_GAIN = 0.1  # of the score: what a rendering must be nearer by to replace the picture
WORTHWHILE = 4.0  # of the score: what a quality of other pictures must gain over the restored one
CORNER = 0.5  # ε of the restored quality
OFFSETS = (3.0, 6.0, 12.0, 24.0)  # MOS between Q(z̄) and that of the picture, tried in this order
NEIGHBOURS = 8
PRIOR_DRAWS, PRIOR_BLOCKS = 1024, 16
CLIMB_STEPS, CLIMB_RATE = 100, 0.1
SEARCH_STEPS, SEARCH_TOLERANCE = 60, 0.01
UNLIKE_ENDS = 0.02  # ε by which a guess must differ from both ends
PROOFS, PICTURES = 8, 3  # renderings at most, of the proof and of the picture itself
SMALL = 2  # long side, in those of the working copy, up to which a picture is its own proof
HALFWAY = 0.5  # tolerances from the target where a proof scores as the picture does
NEAR = 2.0  # where it does not: whence the next correction is likely to meet the target
BAND_PIXELS, THREADS = 1 << 19, 4


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


class Change(NamedTuple):
    """What `QDNet.rerender` takes of a picture, float32.

    `grid` is `[B, cells_y, cells_x, change_channels]`, `moments` `[B, 6]`.
    """

    grid: tf.Tensor
    moments: tf.Tensor


class Found(NamedTuple):
    """What `find_change` found for each picture of a batch.

    `contents` and `moments` are those of its working copy. The path from its quality `z` by way of
    the quality `near` to the quality `far`, see `along`, is made of `[B, latent_dim]` each.
    `epsilon`, where on the path to render (0: leave the picture as it is), `slope`, how fast the
    score nears the target there for each ε (0: it lies elsewhere), and `score_before` are `[B]`.
    """

    contents: list[tf.Tensor]
    moments: tf.Tensor
    z: tf.Tensor
    near: tf.Tensor
    far: tf.Tensor
    epsilon: tf.Tensor
    slope: tf.Tensor
    score_before: tf.Tensor


def enhance_pixels(
    model: QDNet,
    pixels: np.ndarray,
    target: float,
    *,
    sampler: str = "bank",
    tolerance: float = TOLERANCE,
    long_side: int = WORKING_SIDE,
    seed: int = 0,
    as_saved: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Enhanced:
    """Renders a picture at the score asked for, or as near to it as the model can.

    Args:
        model: Network with a filled bank when `sampler` is `"bank"`.
        pixels: uint8 or uint16 `[height, width, 3]`, sRGB-encoded, sides ≥ 32.
        target: Score, 0..100.
        sampler: `"bank"` takes z̄ from qualities of training pictures near to z; `"prior"` draws
            it from N(0, I) as in the paper.
        tolerance: Largest |score_after − target| that counts as reached.
        long_side: Long side of the working copy, pixels.
        seed: Seed of the prior's draws.
        as_saved: Function from a rendering to what will be seen of it, uint8 or uint16
            `[rows, columns, 3]`, such as what a JPEG keeps: that is scored. Default: all of it.

    Raises:
        ValueError: If the target is not in 0..100, the sampler is unknown or the bank is empty.
    """
    if not 0.0 <= target <= 100.0:
        raise ValueError(f"The target must be a score in 0..100. Received: target={target}")
    if sampler not in SAMPLERS:
        raise ValueError(f"The sampler must be one of {SAMPLERS}. Received: sampler={sampler!r}")
    if sampler == "bank" and not model.bank_size:
        raise ValueError("The model has no latent bank; use sampler='prior' or fill one.")
    is_small = max(pixels.shape[:2]) <= SMALL * long_side
    proof = to_float(pixels) if is_small else working_copy(pixels, long_side)
    found = find_change(
        model,
        sampler,
        tf.constant(proof[None]),
        tf.constant(is_small and pixels.dtype == np.uint8),
        tf.constant(long_side),
        tf.constant([target], tf.float32),
        tf.constant(tolerance, tf.float32),
        tf.constant(seed),
    )

    def render(epsilon: tf.Tensor) -> tuple[float, tuple]:
        return score_seen(render_pixels(model, change_at(model, found, epsilon), pixels)), ()

    def score_seen(output: np.ndarray) -> float:
        return score_pixels(model, as_saved(output) if as_saved else output, long_side).score

    # The best is rendered again: to carry it along would take several times its memory.
    epsilon, after, _ = settle(render, found, (), np.float32(target), tolerance)
    if as_saved and epsilon == 0.0:
        after = score_seen(pixels)
    after = float(after)
    change = change_at(model, found, epsilon)
    return Enhanced(
        pixels.copy() if epsilon == 0.0 else render_pixels(model, change, pixels),
        target,
        float(found.score_before[0]),
        after,
        float(epsilon),
        abs(after - target) <= tolerance,
        change=change.grid[0].numpy(),
    )


def graph(model: QDNet, sampler: str) -> Callable:
    """`find_change` with a sampler, one of `SAMPLERS`, as a graph that is traced once."""
    return graphs.traced(
        model,
        f"find_change_{sampler}",
        lambda *inputs: find_change(model, sampler, *inputs),
        [
            graphs.PICTURES,
            graphs.FLAG,
            graphs.COUNT,
            graphs.NUMBERS,
            tf.TensorSpec([], tf.float32),
            graphs.COUNT,
        ],
    )


def find_change(
    model: QDNet,
    sampler: str,
    proof: tf.Tensor,
    rounded: tf.Tensor,
    long_side: tf.Tensor,
    target: tf.Tensor,
    tolerance: tf.Tensor,
    seed: tf.Tensor,
) -> Found:
    """Steps 1 to 3 for a batch of proofs, but for the last correction of ε.

    Args:
        sampler: One of `SAMPLERS`.
        proof: float32 `[B, height, width, 3]` in 0..1.
        rounded: Whether its renderings have 8 bits, bool scalar.
        long_side: Long side of the working copy, pixels, int32 scalar.
        target: float32 `[B]`, scores.
        tolerance: float32 scalar, of the score.
        seed: int32 scalar.
    """
    encode, rerender = graphs.encode(model), graphs.rerender(model)
    seen = graphs.traced(model, "seen", _seen, [graphs.PICTURES, graphs.FLAG, graphs.COUNT])
    contents, moments, z, _, restored, _ = encode(seen(proof, rounded, long_side))
    before = model.rank_latent(z)
    upward = _upward(before, target)

    def corner(far: tf.Tensor) -> tf.Tensor:
        return tf.where(upward[:, None] > 0.0, restored, 0.5 * (z + far))

    def rescore(far: tf.Tensor, epsilon: tf.Tensor) -> tf.Tensor:
        grid = graphs.change(model)(contents, z, along(z, corner(far), far, epsilon))
        rendered = rerender(proof, grid, moments, [0, 0], tf.shape(proof)[1:3])
        return model.rank_latent(encode(seen(rendered, rounded, long_side)).loc)

    far, search, epsilon, score = choose_path(
        model, rescore, z, restored, before, target, tolerance, seed, sampler
    )
    search, epsilon, score = close_loop(
        lambda share: rescore(far, share),
        search,
        (epsilon, score),
        target,
        upward,
        tf.where(rounded, HALFWAY, NEAR) * tolerance,
    )
    unsure = ~rounded & (tf.abs(score - target) > HALFWAY * tolerance)
    epsilon = tf.where(search.holds() & unsure, search.crossing(), epsilon)
    return Found(contents, moments, z, corner(far), far, epsilon, search.slope(), before)


def _seen(picture: tf.Tensor, rounded: tf.Tensor, long_side: tf.Tensor) -> tf.Tensor:
    """Working copies of a proof, or of a rendering of it."""
    levels = 255.0 * tf.clip_by_value(picture, 0.0, 1.0)
    return copies.working_copy(tf.where(rounded, tf.round(levels), levels), long_side)


def _guess(model: QDNet) -> Callable:
    """`search_epsilon` as a graph."""
    z = graphs.latents(model)
    signature = [z, z, graphs.NUMBERS]
    return graphs.traced(
        model, "guess", lambda z, far, target: search_epsilon(model, z, far, target), signature
    )


def _choice(model: QDNet, sampler: str) -> Callable:
    """`choose_latent` as a graph."""
    signature = [graphs.latents(model), graphs.NUMBERS, graphs.NUMBERS, graphs.COUNT]

    def choose(z: tf.Tensor, upward: tf.Tensor, goal: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        return choose_latent(model, z, upward, goal, seed, sampler)

    return graphs.traced(model, f"choice_{sampler}", choose, signature)


def choose_path(
    model: QDNet,
    rescore: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
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
        rescore: Function from z̄ `[B, latent_dim]` and ε `[B]` to the score of the rendering.
        restored: Quality that the restorer expects, `[B, latent_dim]`.
        before: Score at z, `[B]`.

    Returns:
        z̄, the search on the path to it, and ε and score of the rendering that comes nearest.
    """
    upward, before_mos = _upward(before, target), model.score_latent(z)
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
        new_far = tf.cond(count < 2, lambda: restored, lambda: choice(from_z, upward, goal, seed))
        share = tf.where(count < 2, CORNER, 1.0) + zero
        share = tf.where((count == 0) & is_guess, guess, share)
        new_score = rescore(new_far, share)
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
        is_worth_it = (count < 2) | ~is_upward | (new_score - end >= WORTHWHILE)
        nearer = tf.abs(new_score - target) + SMALLEST_GAIN < tf.abs(score - target)
        best = active & is_worth_it & (nearer | new_search.holds())
        spent = (count > 1) & (upward * model.score_latent(new_far) < goal)
        return (
            count + 1,
            tf.where(best[:, None], new_far, far),
            _choose(active & is_worth_it, new_search, search),
            tf.where(best, share, epsilon),
            tf.where(best, new_score, score),
            tf.where(is_worth_it, upward * tf.maximum(upward * end, upward * new_score), end),
            corner_gap,
            exhausted | spent,
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


def _upward(before: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
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


def settle(
    render: Callable[[tf.Tensor], tuple[Any, Any]],
    found: Found,
    picture: Any,
    target: Any,
    tolerance: Any,
) -> tuple[tf.Tensor, tf.Tensor, Any]:
    """The last corrections of ε, by secants, judged by renderings of the picture itself.

    In a graph as in Python, where no picture is carried.

    Args:
        render: Function from ε, a scalar, to the rendering's score and the rendering, or `()`.
        found: What was found on the proof of one picture.
        picture: The picture as it is, likewise.
        target, tolerance: Scalars, of the score.

    Returns:
        ε, score and rendering of the best; those of the picture as it is where none is nearer.
    """
    before = found.score_before[0]
    upward = _upward(before, target)

    def step(
        count: tf.Tensor, epsilon: tf.Tensor, slope: tf.Tensor, last: Any, best: Any
    ) -> tuple[Any, ...]:
        score, output = render(epsilon)
        nearer = tf.abs(score - target) + SMALLEST_GAIN < tf.abs(best[1] - target)
        best = tf.cond(nearer, lambda: (epsilon, score, output), lambda: best)
        gap = upward * (score - target)
        measured = tf.math.divide_no_nan(gap - last[1], epsilon - last[0])
        measured = tf.clip_by_value(measured, 0.5 * slope, 2.0 * slope)
        slope = tf.where(count > 0, measured, slope)
        new = tf.clip_by_value(epsilon - tf.math.divide_no_nan(gap, slope), 0.0, 1.0)
        return count + 1, new, slope, (epsilon, gap), best

    def unfinished(
        count: tf.Tensor, epsilon: tf.Tensor, slope: tf.Tensor, last: Any, best: Any
    ) -> tf.Tensor:
        missed = (tf.abs(best[1] - target) > tolerance) & (slope > 0.0) & (epsilon != last[0])
        return (epsilon > 0.0) & ((count == 0) | (missed & (count < PICTURES)))

    zero = tf.zeros([])
    start = (0, found.epsilon[0], found.slope[0], (zero, zero), (zero, before, picture))
    return tf.while_loop(unfinished, step, start, parallel_iterations=1)[-1]


def change_at(model: QDNet, found: Found, epsilon: tf.Tensor) -> Change:
    """The change to the quality at ε, a scalar, on the path that was found."""
    new_z = along(found.z, found.near, found.far, epsilon[None])
    return Change(graphs.change(model)(found.contents, found.z, new_z), found.moments)


def render_pixels(model: QDNet, change: Change, pixels: np.ndarray) -> np.ndarray:
    """Applies a change to a whole picture, uint8 or uint16 `[height, width, 3]`, in bands."""
    size = pixels.shape[:2]
    rows = max(1, BAND_PIXELS // size[1])
    output = np.empty_like(pixels)

    def render(first: int) -> None:
        band = slice(first, first + rows)
        output[band] = render_tile(model, change, pixels[band], (first, 0), size)

    with ThreadPoolExecutor(THREADS) as pool:
        deque(pool.map(render, range(0, size[0], rows)), maxlen=0)  # raises what they raise
    return output


def render_tile(
    model: QDNet,
    change: Change,
    pixels: np.ndarray,
    origin: tuple[int, int],
    size: tuple[int, int],
) -> np.ndarray:
    """Applies a change to a tile of a picture that need not be in memory as a whole.

    The tiles of a picture, rendered one by one, are those of the picture rendered at once.

    Args:
        change: `change_at` of what `find_change` found on a working copy of the whole picture.
        pixels: The tile, uint8 or uint16 `[rows, columns, 3]`.
        origin: Row and column of its first pixel in the picture.
        size: Height and width of the picture.

    Returns:
        The tile re-rendered, shape and dtype of `pixels`.
    """
    if model.head == "grid":
        from qdnet_keras.model.tone_pixels import change_tones  # compiled at its first use

        return change_tones(pixels, np.asarray(change.grid[0]), origin, size)
    place = (np.array(origin, np.int32), np.array(size, np.int32))
    rendered = graphs.rerender(model)(to_float(pixels)[None], *change, *place)
    return from_float(rendered[0].numpy(), pixels.dtype)


def along(z: tf.Tensor, near: tf.Tensor, far: tf.Tensor, epsilon: tf.Tensor) -> tf.Tensor:
    """The quality at ε `[B]` on the way from z (ε = 0) by near (`CORNER`) to far (1)."""
    first = tf.minimum(epsilon / CORNER, 1.0)[:, None]
    second = tf.maximum((epsilon - CORNER) / (1.0 - CORNER), 0.0)[:, None]
    return z + first * (near - z) + second * (far - near)
