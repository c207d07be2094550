"""How a preset agrees with votes: of all pictures, and of each part of a set."""

import numpy as np

from qdnet_keras.data.manifest import Manifest
from qdnet_keras.metrics import plcc, srocc, within_group_srocc
from qdnet_keras.outcomes import Z_90

ALL = "all"


def vote_figures(
    mos: np.ndarray, mos_std: np.ndarray, manifest: Manifest, spread: float
) -> dict[str, dict[str, float]]:
    """Figures of `"all"` pictures and of each part, by name.

    Votes may be on any scale: before intervals are judged, they are brought to the mean of the
    predictions and to `spread`.

    Args:
        mos, mos_std: What the preset expects, `[count]`.
        manifest: The pictures, with their votes.
        spread: Standard deviation of the MOS that the preset learnt from.

    Returns:
        `{"pictures", "srocc", "plcc", "votes in the 90 % interval"}` of each, and of all
        `"srocc within a scene"`, where scenes have several pictures.
    """
    votes = manifest.mos
    linked = (votes - votes.mean()) / votes.std() * spread + mos.mean()
    inside = np.abs(mos - linked) <= Z_90 * mos_std
    parts = np.array([rendering.part or "" for rendering in manifest.renderings])
    figures = {}
    for part in [ALL, *sorted(set(parts) - {""})]:
        chosen = (parts == part) | (part == ALL)
        figures[part] = {
            "pictures": int(chosen.sum()),
            "srocc": float(srocc(mos[chosen], votes[chosen])),
            "plcc": float(plcc(mos[chosen], votes[chosen])),
            "votes in the 90 % interval": float(inside[chosen].mean()),
        }
    scenes = [rendering.scene for rendering in manifest.renderings]
    if len(set(scenes)) < len(scenes):
        figures[ALL]["srocc within a scene"] = float(within_group_srocc(mos, votes, scenes))
    return figures
