"""Renders a picture at a target score: eq. (5) and (6) of the paper, closed over the re-score.

1. Choose z̄: first the quality that the restorer expects of the picture, then qualities of other
   pictures with a better (worse) Q, farther and farther ones, until the rendering at z̄ scores
   beyond the target. To better a picture the way to these leads through the restored quality, and
   they must gain more than a little over it; where one falls by much, those farther on are not
   tried. Colours are the second opinion, as a score may like a picture without them: the more
   chroma is lost, the more a quality must gain. Where none reaches the target, the best one seen
   is the answer, or the picture as it is.
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

from qdnet_keras.model import copies, graphs
from qdnet_keras.model.colour import chroma_lost
from qdnet_keras.model.path import SAMPLERS, SMALLEST_GAIN, choose_path
from qdnet_keras.model.qdnet import QDNet
from qdnet_keras.model.scoring import WORKING_SIDE, score_pixels
from qdnet_keras.model.search import NEAR, along, close_loop, direction
from qdnet_keras.outcomes import Enhanced
from qdnet_keras.photos.files import from_float, to_float, working_copy

TOLERANCE = 1.0  # of the score
PICTURES = 3  # renderings of the picture itself at most
SMALL = 2  # long side, in those of the working copy, up to which a picture is its own proof
HALFWAY = 0.5  # tolerances from the target where a proof scores as the picture does
BAND_PIXELS, THREADS = 1 << 19, 4


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

    rendered: dict[float, np.ndarray] = {}  # the last alone: more take too much memory

    def render(epsilon: tf.Tensor) -> tuple[float, tuple]:
        rendered.clear()
        output = render_pixels(model, change_at(model, found, epsilon), pixels)
        rendered[float(epsilon)] = output
        return score_seen(output), ()

    def score_seen(output: np.ndarray) -> float:
        return score_pixels(model, as_saved(output) if as_saved else output, long_side).score

    epsilon, after, _ = settle(render, found, (), np.float32(target), tolerance)
    if as_saved and epsilon == 0.0:
        after = score_seen(pixels)
    after = float(after)
    change = change_at(model, found, epsilon)
    output = pixels.copy() if epsilon == 0.0 else rendered.get(float(epsilon))
    return Enhanced(
        render_pixels(model, change, pixels) if output is None else output,
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
    encode, rank, rendering = graphs.encode(model), graphs.rank(model), _rendering(model)
    original = _seen(model)(proof, rounded, long_side)
    contents, moments, z, _, restored, _ = encode(original)
    before = rank(z)
    upward = direction(before, target)

    def corner(far: tf.Tensor) -> tf.Tensor:
        return tf.where(upward[:, None] > 0.0, restored, 0.5 * (z + far))

    def rescore(far: tf.Tensor, epsilon: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        new_z = along(z, corner(far), far, epsilon)
        rendered, lost = rendering(contents, moments, z, new_z, proof, original, rounded, long_side)
        return rank(encode(rendered).loc), lost

    far, search, epsilon, score = choose_path(
        model, rescore, z, restored, before, target, tolerance, seed, sampler
    )
    search, epsilon, score = close_loop(
        lambda share: rescore(far, share)[0],
        search,
        (epsilon, score),
        target,
        upward,
        tf.where(rounded, HALFWAY, NEAR) * tolerance,
    )
    unsure = ~rounded & (tf.abs(score - target) > HALFWAY * tolerance)
    epsilon = tf.where(search.holds() & unsure, search.crossing(), epsilon)
    return Found(contents, moments, z, corner(far), far, epsilon, search.slope(), before)


def _seen(model: QDNet) -> Callable:
    """Graph from proofs, or renderings of them, to their working copies."""

    def see(picture: tf.Tensor, rounded: tf.Tensor, long_side: tf.Tensor) -> tf.Tensor:
        levels = 255.0 * tf.clip_by_value(picture, 0.0, 1.0)
        return copies.working_copy(tf.where(rounded, tf.round(levels), levels), long_side)

    return graphs.traced(model, "seen", see, [graphs.PICTURES, graphs.FLAG, graphs.COUNT])


def _rendering(model: QDNet) -> Callable:
    """Graph from a proof and a new quality to what is seen of the rendering, and chroma lost."""
    rerender, seen = graphs.rerender(model), _seen(model)

    def render(
        contents: list[tf.Tensor],
        moments: tf.Tensor,
        z: tf.Tensor,
        new_z: tf.Tensor,
        proof: tf.Tensor,
        original: tf.Tensor,
        rounded: tf.Tensor,
        long_side: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        grid = graphs.change(model)(contents, z, new_z)
        rendered = rerender(proof, grid, moments, [0, 0], tf.shape(proof)[1:3])
        rendered = seen(rendered, rounded, long_side)
        return rendered, chroma_lost(original, rendered)

    z = graphs.latents(model)
    pictures, scalars = [graphs.PICTURES] * 2, [graphs.FLAG, graphs.COUNT]
    signature = [graphs.contents(model), graphs.MOMENTS, z, z, *pictures, *scalars]
    return graphs.traced(model, "rendering", render, signature)


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
    upward = direction(before, target)

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
