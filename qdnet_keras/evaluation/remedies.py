"""Whether the remedy that a score finds best is the one for a fault that is known."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from qdnet_keras.advice.explain import try_remedies
from qdnet_keras.advice.remedies import REMEDIES
from qdnet_keras.evaluation.spoilt import Spoilt, distance
from qdnet_keras.model.qdnet import QDNet
from qdnet_keras.outcomes import Effect
from qdnet_keras.photos.files import from_float, to_float

# What undoes each edit of `qdnet_keras.synthesis.edits.EDITS`, or a part of it: edits of contrast
# change the strength of colours too.
RIGHT: dict[str, frozenset[str]] = {
    "under": frozenset({"brighter", "lighter shadows", "lighter middle tones"}),
    "over": frozenset({"darker", "darker highlights", "darker middle tones"}),
    "dark": frozenset({"brighter", "lighter shadows", "lighter middle tones"}),
    "pale": frozenset(
        {"darker", "darker middle tones", "deeper shadows", "more contrast", "less haze"}
    ),
    "harsh": frozenset({"less contrast", "lighter shadows", "darker highlights", "less colour"}),
    "flat": frozenset(
        {"more contrast", "less haze", "deeper shadows", "brighter highlights", "more colour"}
    ),
    "haze": frozenset({"less haze", "more contrast", "deeper shadows", "more colour"}),
    "crushed": frozenset({"lighter shadows", "lighter middle tones", "brighter", "less contrast"}),
    "lifted": frozenset({"deeper shadows", "darker middle tones", "more contrast", "less haze"}),
    "clipped": frozenset({"darker highlights", "darker", "less contrast"}),
    "dull": frozenset({"brighter highlights", "more contrast", "brighter"}),
    "grey": frozenset({"more colour"}),
    "garish": frozenset({"less colour"}),
    "cast": frozenset({"neutral", "warmer", "cooler"}),
    "halo": frozenset({"less local contrast", "less contrast", "less noise"}),
}
BALANCES = ("warmer", "cooler")  # which of them is right depends on the cast: the nearer one


class Verdict(NamedTuple):
    """What was advised first for a spoilt picture.

    `nearer` tells whether the best size of it brings the picture nearer to the original in
    CIEDE2000; `rank` is the place of the first right remedy, 1 for the top.
    """

    kind: str
    first: str
    rank: int
    nearer: bool

    @property
    def right(self) -> bool:
        return self.rank == 1


def judge_advice(model: QDNet, pair: Spoilt) -> Verdict:
    """Asks the network what would help a spoilt picture."""
    spoilt = to_float(pair.spoilt)
    effects, _ = try_remedies(model, spoilt)
    before = distance(pair.original, pair.spoilt)["delta_e"]

    def nearer(effect: Effect) -> bool:
        mended = from_float(REMEDIES[effect.remedy].apply(spoilt, effect.best.size), np.uint8)
        return distance(pair.original, mended)["delta_e"] < before

    def right(effect: Effect) -> bool:
        good = effect.remedy in RIGHT[pair.kind]
        return good and (effect.remedy not in BALANCES or nearer(effect))

    rank = next(i for i, effect in enumerate(effects, 1) if right(effect))
    return Verdict(pair.kind, effects[0].remedy, rank, nearer(effects[0]))


def shares(verdicts: Sequence[Verdict]) -> dict[str, dict[str, float]]:
    """By kind of fault and over `"all"`: pictures, and shares of verdicts, 0..1.

    `"first"`: the first remedy is a right one; `"first three"`: one of the first three is;
    `"nearer"`: see `Verdict`.
    """
    kinds = [*dict.fromkeys(verdict.kind for verdict in verdicts), "all"]
    return {
        kind: _shares([verdict for verdict in verdicts if kind in (verdict.kind, "all")])
        for kind in kinds
    }


def _shares(verdicts: Sequence[Verdict]) -> dict[str, float]:
    return {
        "pictures": len(verdicts),
        "first": float(np.mean([verdict.right for verdict in verdicts])),
        "first three": float(np.mean([verdict.rank <= 3 for verdict in verdicts])),
        "nearer": float(np.mean([verdict.nearer for verdict in verdicts])),
    }
