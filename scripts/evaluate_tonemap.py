"""HDR scenes: is the operator that scores best good by TMQI, which the score does not know?

    python scripts/evaluate_tonemap.py [HDR_DIR] [--views 4] [--json]

HDR_DIR is a folder as `qdnet-keras data build` takes it; without it the bundled panoramas are used.
Panoramas are cut into views. All renderings are compared in the working size.
"""

import json
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from qdnet_keras.cli.output import run_script
from qdnet_keras.defaults import DEFAULT_PRESET

BUNDLED = Path(str(resources.files("qdnet_keras") / "samples" / "hdr"))
SIZE = 480, 360  # of a view


def main(
    folder: Annotated[Path, typer.Argument(metavar="[HDR_DIR]", show_default=False)] = BUNDLED,
    preset: Annotated[str, typer.Option(help="Name or folder of a preset.")] = DEFAULT_PRESET,
    views: Annotated[int, typer.Option(help="Of a panorama.", min=1)] = 4,
    tune: Annotated[int, typer.Option(help="Operators that are tuned.", min=0)] = 3,
    trials: Annotated[int, typer.Option(help="Renderings of a tuned operator.", min=8)] = 40,
    seed: Annotated[int, typer.Option(help="Of the views.")] = 0,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Prints a table of TMQI for each scene, and figures over all."""
    import qdnet_keras
    from qdnet_keras.evaluation.picks import judge_pick, summary
    from qdnet_keras.synthesis.scenes import find_sources, scenes_of

    model = qdnet_keras.load(preset)
    picks = {}
    if not as_json:
        print(
            "| scene | pick | TMQI | average | best | tuned | rank |\n|---|---|---|---|---|---|---|"
        )
    for name, path in find_sources(folder).items():
        for scene_name, scene in scenes_of(name, path, views=views, size=SIZE, seed=seed):
            pick = judge_pick(model, scene, tune=tune, trials=trials)
            picks[scene_name] = pick
            if not as_json:
                values = (pick.quality, pick.mean, pick.best, pick.tuned)
                cells = [scene_name, pick.operator, *(f"{value:.3f}" for value in values)]
                print(f"| {' | '.join(cells)} | {pick.rank} |", flush=True)
    figures = summary(list(picks.values()))
    if as_json:
        scenes = {name: pick._asdict() for name, pick in picks.items()}
        print(json.dumps({"scenes": scenes, "summary": figures}))
        return
    for name, value in figures.items():
        print(f"{name}: {value:.3g}")


if __name__ == "__main__":
    run_script(main)
