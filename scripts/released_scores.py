"""Writes what the released preset says of the bundled photographs: what the tests expect of it.

    python scripts/released_scores.py

To be run after its weights were replaced, and the difference to be looked at.
"""

import json
from importlib import resources
from pathlib import Path

from qdnet_keras.cli.output import run_script

SAMPLES = Path(str(resources.files("qdnet_keras") / "samples"))
SCORES = Path(__file__).parents[1] / "tests/data/released_scores.json"


def main() -> None:
    """Writes tests/data/released_scores.json."""
    from qdnet_keras import load, score

    model = load()
    scores = {}
    for path in sorted(SAMPLES.glob("*.jpg")):
        found = score(path, model)
        scores[path.name] = {
            name: round(getattr(found, name), 3) for name in ("score", "mos", "mos_std", "novelty")
        }
    SCORES.write_text(json.dumps(scores, indent=2) + "\n")


if __name__ == "__main__":
    run_script(main)
