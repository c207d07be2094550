"""Renders a picture at a target score: eq. (5) and (6) of the paper, closed over the re-score.

1. Choose z̄: first the quality that the restorer expects of the picture, then qualities of other
   pictures with a better (worse) Q, farther and farther ones, until the rendering at z̄ scores
   beyond the target. A rendering that pleases Q, but not the second opinion, does not count. Where
   none reaches the target, the best one seen is the answer.
2. Search ε with Q(ε z̄ + (1 − ε) z) = target by gradient descent on |Q − target|.
3. Render, score the rendering itself, and correct ε until that score meets the target.

The qualities tried do not depend on the target, so that a higher target never ends lower.

The rendering is the picture with its quality changed: at ε = 0 it is the picture itself. Steps 1 to
3 see a small working copy; `render_pixels` applies the change to the original, tile by tile.

`enhance_pixels`, `render_pixels` and `render_tile` take arrays; the other functions are TensorFlow
graphs over a batch whose rows do not influence each other.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from scipy.special import chdtri

from qdnet_keras.model import graphs
from qdnet_keras.model.qdnet import QDNet
from qdnet_keras.model.scoring import WORKING_SIDE, score_pixels
from qdnet_keras.outcomes import Enhanced
from qdnet_keras.photos.files import from_float, to_float, working_copy

SAMPLERS = ("bank", "prior")
TOLERANCE = 1.0  # of the score
SMALLEST_GAIN = 0.1  # of the score: what a rendering must be nearer by to replace the picture
OFFSETS = (3.0, 6.0, 12.0, 24.0)  # MOS between Q(z̄) and that of the picture, tried in this order
NEIGHBOURS = 8
PRIOR_DRAWS, PRIOR_BLOCKS = 1024, 16
CLIMB_STEPS, CLIMB_RATE = 100, 0.1
SEARCH_STEPS, SEARCH_TOLERANCE = 60, 0.01
RENDERINGS = 8  # at most, in the closed loop
BAND_PIXELS = 1 << 19


class Found(NamedTuple):
    """What `find_change` found for each picture of a batch, float32.

    `change` `[B, cells_y, cells_x, change_channels]` and `moments` `[B, 6]` are what
    `QDNet.rerender` takes; `epsilon`, `score_before` and `score_after` (of the working copy) are
    `[B]`.
    """

    change: tf.Tensor
    moments: tf.Tensor
    epsilon: tf.Tensor
    score_before: tf.Tensor
    score_after: tf.Tensor


def enhance_pixels(
    model: QDNet,
    pixels: np.ndarray,
    target: float,
    *,
    sampler: str = "bank",
    tolerance: float = TOLERANCE,
    long_side: int = WORKING_SIDE,
    seed: int = 0,
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

    Raises:
        ValueError: If the target is not in 0..100, the sampler is unknown or the bank is empty.
    """
    if not 0.0 <= target <= 100.0:
        raise ValueError(f"The target must be a score in 0..100. Received: target={target}")
    if sampler not in SAMPLERS:
        raise ValueError(f"The sampler must be one of {SAMPLERS}. Received: sampler={sampler!r}")
    if sampler == "bank" and not model.bank_size:
        raise ValueError("The model has no latent bank; use sampler='prior' or fill one.")
    working = working_copy(pixels, long_side)
    found = graph(model, sampler)(
        working[None], np.array([target], np.float32), np.float32(tolerance), np.int32(seed)
    )
    epsilon, before = float(found.epsilon[0]), float(found.score_before[0])
    if epsilon == 0.0:
        output, after = pixels.copy(), before
    else:
        output = render_pixels(model, found, pixels)
        after = score_pixels(model, output, long_side).score
    reached, change = abs(after - target) <= tolerance, found.change[0].numpy()
    return Enhanced(output, target, before, after, epsilon, reached, change=change)


def graph(model: QDNet, sampler: str) -> Callable:
    """`find_change` with a sampler, one of `SAMPLERS`, as a graph that is traced once."""
    return graphs.traced(
        model,
        f"find_change_{sampler}",
        lambda *inputs: find_change(model, sampler, *inputs),
        [
            graphs.PICTURES,
            tf.TensorSpec([None], tf.float32),
            tf.TensorSpec([], tf.float32),
            tf.TensorSpec([], tf.int32),
        ],
    )


def find_change(
    model: QDNet,
    sampler: str,
    image: tf.Tensor,
    target: tf.Tensor,
    tolerance: tf.Tensor,
    seed: tf.Tensor,
) -> Found:
    """Steps 1 to 3 for a batch of working copies.

    Args:
        sampler: One of `SAMPLERS`.
        image: float32 `[B, height, width, 3]` in 0..1.
        target: float32 `[B]`, scores.
        tolerance: float32 scalar, of the score.
        seed: int32 scalar.
    """
    encode, rerender = graphs.encode(model), graphs.rerender(model)
    contents, moments, z, _, restored, _ = encode(image)
    before, before_mos = model.rank_latent(z), model.score_latent(z)
    upward = tf.where(target >= before, 1.0, -1.0)

    def change_to(new_z: tf.Tensor) -> tf.Tensor:
        return graphs.change(model)(contents, z, new_z)

    def render_at(new_z: tf.Tensor) -> tf.Tensor:
        rendered = rerender(image, change_to(new_z), moments, [0, 0], tf.shape(image)[1:3])
        return tf.round(tf.clip_by_value(rendered, 0.0, 1.0) * 255.0) / 255.0

    def rescore(new_z: tf.Tensor) -> tf.Tensor:
        return model.rank_latent(encode(render_at(new_z)).loc)

    def needs_more(end, exhausted):
        passed = upward * (end - target) >= 0.0
        return ~passed & ~exhausted & (tf.abs(before - target) > tolerance)

    def attempt(count, far, end, exhausted):
        goal = upward * before_mos + tf.gather((0.0, *OFFSETS), count)
        start = tf.where(upward[:, None] > 0.0, restored, z)
        sampled = choose_latent(model, start, upward, goal, seed, sampler)
        new_far = tf.cond(count == 0, lambda: restored, lambda: sampled)
        new_end = rescore(new_far)
        better = needs_more(end, exhausted) & (upward * new_end > upward * end)
        far, end = tf.where(better[:, None], new_far, far), tf.where(better, new_end, end)
        spent = (count > 0) & (upward * model.score_latent(new_far) < goal)
        return count + 1, far, end, exhausted | spent

    _, far, end, _ = tf.while_loop(
        lambda count, far, *state: (count <= len(OFFSETS)) & tf.reduce_any(needs_more(*state)),
        attempt,
        (0, z, before, tf.zeros_like(target, tf.bool)),
    )
    guess = search_epsilon(model, z, far, target)
    epsilon, after = close_loop(
        lambda epsilon: rescore(_mix(z, far, epsilon)), before, end, target, guess, tolerance
    )
    return Found(change_to(_mix(z, far, epsilon)), moments, epsilon, before, after)


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

    def draw(block, best, best_value):
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

    def step(count, z):
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

    def step(count, epsilon, low, high, best, best_gap):
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
        gap = model.rank_latent(_mix(z, far, epsilon)) - target
    return gap, tape.gradient(gap, epsilon)


def close_loop(
    rescore: Callable[[tf.Tensor], tf.Tensor],
    before: tf.Tensor,
    end: tf.Tensor,
    target: tf.Tensor,
    epsilon: tf.Tensor,
    tolerance: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Corrects ε by regula falsi (Illinois variant) until the rendering's score meets the target.

    Args:
        rescore: Function from ε `[B]` to the score of the rendering `[B]`.
        before, end: Its scores at ε = 0, the picture as it is, and at ε = 1, `[B]`.
        target: Score asked for, `[B]`.
        epsilon: First guess, `[B]`.
        tolerance: Scalar, of the score.

    Returns:
        `(epsilon, score)`, the best seen for each row: one of the ends where the target does not
        lie between them, the picture as it is where the other is hardly nearer.
    """
    zero, one = tf.zeros_like(target), tf.ones_like(target)
    upward = tf.sign(target - before)
    low_gap, high_gap = upward * (before - target), upward * (end - target)
    end_is_nearer = tf.abs(high_gap) + SMALLEST_GAIN < tf.abs(low_gap)
    best = tf.where(end_is_nearer, one, zero)
    best_score = tf.where(end_is_nearer, end, before)

    def unfinished(best_score: tf.Tensor) -> tf.Tensor:
        return (tf.abs(best_score - target) > tolerance) & (upward * (end - target) > 0.0)

    def falsi(low, low_gap, high, high_gap):
        return low - low_gap * (high - low) / (high_gap - low_gap)

    def step(count, epsilon, low, low_gap, high, high_gap, best, best_score):
        score = rescore(epsilon)
        better = unfinished(best_score) & (tf.abs(score - target) < tf.abs(best_score - target))
        best, best_score = tf.where(better, epsilon, best), tf.where(better, score, best_score)
        gap = upward * (score - target)
        short = gap < 0.0
        # Illinois: the end that stays put counts half, so that it cannot hold the search back.
        low_gap, high_gap = (
            tf.where(short, gap, 0.5 * low_gap),
            tf.where(short, 0.5 * high_gap, gap),
        )
        low, high = tf.where(short, epsilon, low), tf.where(short, high, epsilon)
        epsilon = falsi(low, low_gap, high, high_gap)
        return count + 1, epsilon, low, low_gap, high, high_gap, best, best_score

    inside = (epsilon > 0.0) & (epsilon < 1.0)
    start = tf.where(inside, epsilon, falsi(zero, low_gap, one, high_gap))
    result = tf.while_loop(
        lambda count, *state: (count < RENDERINGS) & tf.reduce_any(unfinished(state[-1])),
        step,
        (0, start, zero, low_gap, one, high_gap, best, best_score),
    )
    return result[-2], result[-1]


def render_pixels(model: QDNet, found: Found, pixels: np.ndarray) -> np.ndarray:
    """Applies a change to a whole picture, uint8 or uint16 `[height, width, 3]`, in bands."""
    height, width = pixels.shape[:2]
    output = np.empty_like(pixels)
    rows = max(1, BAND_PIXELS // width)
    for first in range(0, height, rows):
        band = slice(first, first + rows)
        output[band] = render_tile(model, found, pixels[band], (first, 0), (height, width))
    return output


def render_tile(
    model: QDNet,
    found: Found,
    pixels: np.ndarray,
    origin: tuple[int, int],
    size: tuple[int, int],
) -> np.ndarray:
    """Applies a change to a tile of a picture that need not be in memory as a whole.

    The tiles of a picture, rendered one by one, are those of the picture rendered at once.

    Args:
        found: What `find_change` found on a working copy of the whole picture.
        pixels: The tile, uint8 or uint16 `[rows, columns, 3]`.
        origin: Row and column of its first pixel in the picture.
        size: Height and width of the picture.

    Returns:
        The tile re-rendered, shape and dtype of `pixels`.
    """
    place = (np.array(origin, np.int32), np.array(size, np.int32))
    rerender = graphs.rerender(model)
    rendered = rerender(to_float(pixels)[None], found.change, found.moments, *place)
    return from_float(rendered[0].numpy(), pixels.dtype)


def _mix(z: tf.Tensor, far: tf.Tensor, epsilon: tf.Tensor) -> tf.Tensor:
    return z + epsilon[:, None] * (far - z)
