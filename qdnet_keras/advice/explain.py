"""Why a picture has its score: remedies tried on a copy of it, and its parts scored."""

import numpy as np

from qdnet_keras.advice.regions import region_scores
from qdnet_keras.advice.remedies import REMEDIES
from qdnet_keras.defaults import WORKING_SIDE
from qdnet_keras.model.qdnet import QDNet
from qdnet_keras.model.scoring import Seen, score_copies, see_copies
from qdnet_keras.outcomes import Effect, Explanation, Trial
from qdnet_keras.photos.files import from_float, working_copy

_SHORTEST = 1e-12  # squared length of a way between qualities


def explain_pixels(model: QDNet, pixels: np.ndarray, long_side: int = WORKING_SIDE) -> Explanation:
    """Tries every remedy, in larger sizes while they help, and scores the parts of the picture.

    Args:
        pixels: uint8 or uint16 `[height, width, 3]`, sRGB-encoded, sides ≥ 32.
        long_side: Of the working copy, pixels.
    """
    copy = working_copy(pixels, long_side)
    effects, before = try_remedies(model, copy)
    regions = region_scores(copy, before, lambda parts: score_copies(model, parts))
    return Explanation(before, tuple(effects), regions, from_float(copy, np.uint8))


def try_remedies(model: QDNet, copy: np.ndarray) -> tuple[list[Effect], float]:
    """Effects of all remedies in the order of `Explanation.effects`, and the score without them.

    The standard size of every remedy is tried, and the next larger one while the last one helped.

    Args:
        copy: Working copy, float32 `[height, width, 3]` in 0..1.
    """
    before = see_copies(model, [copy])
    trials: dict[str, list[Trial]] = {name: [] for name in REMEDIES}
    helping, step = list(REMEDIES), 0
    while helping:
        sizes = [REMEDIES[name].sizes[step] for name in helping]
        edits = [REMEDIES[name].apply(copy, s) for name, s in zip(helping, sizes, strict=True)]
        after = see_copies(model, edits)
        gains = after.score - before.score
        mends = np.where(gains > 0, mending(before, after.z), 0.0)
        tried = zip(helping, sizes, after.score, gains, mends, strict=True)
        for name, size, *said in tried:
            trials[name].append(Trial(REMEDIES[name].say(size), size, *map(float, said)))
        step += 1
        helping = [name for name in helping if _goes_on(trials[name], REMEDIES[name].sizes)]
    effects = [Effect(name, tuple(of_remedy)) for name, of_remedy in trials.items()]
    effects.sort(key=lambda effect: (-effect.mends, -effect.best.gain))
    return effects, float(before.score[0])


def mending(before: Seen, z: np.ndarray) -> np.ndarray:
    """How much of what is amiss with a picture edits mend, by the qualities that they lead to.

    A score alone prefers what raises it on nearly every picture. But the network also expects a
    quality of the picture where it is not spoilt (`Restorer`). An edit mends the share of the way
    there that it goes, what it goes too far taken off; a step at right angles, or backwards, mends
    nothing.

    Args:
        before: Of the picture as it is, `count` 1.
        z: Qualities of its edited versions, `[count, latent_dim]`.

    Returns:
        `[count]`, 0..1; zeros for a network that has not learnt to restore.
    """
    way = (before.restored - before.z)[0]
    share = (z - before.z) @ way / max(way @ way, _SHORTEST)
    return np.maximum(1 - np.abs(1 - share), 0)


def _goes_on(trials: list[Trial], sizes: tuple[float, ...]) -> bool:
    """Whether a larger size is left, and the last one did better than what was before it."""
    last = trials[-1].gain - (trials[-2].gain if len(trials) > 1 else 0.0)
    return len(trials) < len(sizes) and last > 0
