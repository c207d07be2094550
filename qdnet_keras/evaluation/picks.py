"""Whether the rendering that scores best is good by TMQI, which the score does not know."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from qdnet_keras.advice.tonemap import compare_operators, shrink_to, tune_operator
from qdnet_keras.defaults import WORKING_SIDE
from qdnet_keras.model.qdnet import QDNet
from qdnet_keras.outcomes import Candidate
from qdnet_keras.synthesis.light import Array
from qdnet_keras.synthesis.tmqi import tmqi
from qdnet_keras.synthesis.tone_mapping.opencv import reproducible


class Pick(NamedTuple):
    """Of one scene: the operator picked by score, TMQI (0..1) of it, and of all operators.

    `rank` is its place by TMQI among the operators, 1 for the best. `tuned` is TMQI of the
    rendering that scores best after tuning, which may be another operator's.
    """

    operator: str
    quality: float
    mean: float
    best: float
    rank: int
    tuned: float


def judge_pick(
    model: QDNet, scene: Array, *, tune: int, trials: int, long_side: int = WORKING_SIDE
) -> Pick:
    """Lets the network pick and tune, and measures by TMQI.

    Args:
        scene: Linear RGB, float32 `[height, width, 3]`, see `qdnet_keras.synthesis.hdr.normalise`.
        tune, trials: See `qdnet_keras.advice.tonemap.tonemap_scene`.
    """
    small = shrink_to(scene, long_side)
    with reproducible():
        candidates = compare_operators(model, small)
        tuned = [tune_operator(model, small, first, trials) for first in candidates[:tune]]
    qualities = [tmqi(small, candidate.pixels).q for candidate in candidates]
    final = max([candidates[0], *tuned], key=_score)
    return Pick(
        candidates[0].operator,
        qualities[0],
        float(np.mean(qualities)),
        max(qualities),
        1 + sum(quality > qualities[0] for quality in qualities),
        tmqi(small, final.pixels).q,
    )


def summary(picks: Sequence[Pick]) -> dict[str, float]:
    """Figures over all scenes: mean TMQI, and shares of scenes, 0..1."""
    return {
        "scenes": len(picks),
        "TMQI of the pick": float(np.mean([pick.quality for pick in picks])),
        "of the average operator": float(np.mean([pick.mean for pick in picks])),
        "of the best operator": float(np.mean([pick.best for pick in picks])),
        "of the pick, tuned": float(np.mean([pick.tuned for pick in picks])),
        "pick above the average": float(np.mean([pick.quality > pick.mean for pick in picks])),
        "tuned above the average": float(np.mean([pick.tuned > pick.mean for pick in picks])),
        "pick is TMQI's best": float(np.mean([pick.rank == 1 for pick in picks])),
        "pick is best or second": float(np.mean([pick.rank <= 2 for pick in picks])),
    }


def _score(candidate: Candidate) -> float:
    return candidate.score
