"""Why a picture has its score: remedies tried on a copy of it, and its parts scored."""

import numpy as np

from qdnet_keras.advice.regions import region_scores
from qdnet_keras.advice.remedies import REMEDIES
from qdnet_keras.defaults import WORKING_SIDE
from qdnet_keras.model.qdnet import QDNet
from qdnet_keras.model.scoring import score_copies
from qdnet_keras.outcomes import Effect, Explanation, Trial
from qdnet_keras.photos.files import from_float, working_copy


def explain_pixels(model: QDNet, pixels: np.ndarray, long_side: int = WORKING_SIDE) -> Explanation:
    """Tries every remedy, in larger sizes while they help, and scores the parts of the picture.

    Args:
        pixels: uint8 or uint16 `[height, width, 3]`, sRGB-encoded, sides ≥ 32.
        long_side: Of the working copy, pixels.
    """
    copy = working_copy(pixels, long_side)
    before = float(score_copies(model, [copy])[0])
    effects = try_remedies(model, copy, before)
    regions = region_scores(copy, before, lambda parts: score_copies(model, parts))
    return Explanation(before, tuple(effects), regions, from_float(copy, np.uint8))


def try_remedies(model: QDNet, copy: np.ndarray, before: float) -> list[Effect]:
    """Effects of all remedies, that which gains most first.

    The standard size of every remedy is tried, and the next larger one while the last one helped.

    Args:
        copy: Working copy, float32 `[height, width, 3]` in 0..1.
        before: Its score.
    """
    trials: dict[str, list[Trial]] = {name: [] for name in REMEDIES}
    helping, step = list(REMEDIES), 0
    while helping:
        remedies = [(name, REMEDIES[name], REMEDIES[name].sizes[step]) for name in helping]
        copies = [remedy.apply(copy, size) for _, remedy, size in remedies]
        for (name, remedy, size), after in zip(remedies, score_copies(model, copies), strict=True):
            trial = Trial(remedy.say(size), size, float(after), float(after) - before)
            trials[name].append(trial)
        step += 1
        helping = [name for name in helping if _goes_on(trials[name], REMEDIES[name].sizes)]
    effects = [Effect(name, tuple(of_remedy)) for name, of_remedy in trials.items()]
    return sorted(effects, key=lambda effect: -effect.best.gain)


def _goes_on(trials: list[Trial], sizes: tuple[float, ...]) -> bool:
    """Whether a larger size is left, and the last one did better than what was before it."""
    last = trials[-1].gain - (trials[-2].gain if len(trials) > 1 else 0.0)
    return len(trials) < len(sizes) and last > 0
