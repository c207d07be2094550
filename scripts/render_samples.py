"""Make the tone-mapped photographs bundled in ``qdnet_keras/samples``.

Each photograph is a perspective view cut from a CC0 panorama in ``qdnet_keras/samples/hdr`` and
tone-mapped with one operator. The operators range from good to faulty on purpose. Nothing is
random: on the same processor and library versions a second run writes the same bytes.

Run from a checkout with the ``data`` extra installed:
``python scripts/render_samples.py [FOLDER]``.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from qdnet_keras.cli.output import run_script
from qdnet_keras.synthesis.build import save_jpeg
from qdnet_keras.synthesis.hdr import mend, normalise, read_scene
from qdnet_keras.synthesis.light import Array
from qdnet_keras.synthesis.panorama import View, cut_view
from qdnet_keras.synthesis.tone_mapping import bilateral, effects, faults, opencv, photographic

SAMPLES = Path(__file__).resolve().parents[1] / "qdnet_keras" / "samples"
WIDTH, HEIGHT = 480, 360

VIEWS = {
    "armchair": ("interior", View(yaw=-3, rise=-15, fov=98)),
    "bedroom": ("interior", View(yaw=90, rise=-14, fov=95)),
    "sunrise": ("sunrise", View(yaw=17, rise=-4, fov=92)),
    "courtyard": ("courtyard", View(yaw=-12, rise=2, fov=95)),
    "dog": ("courtyard", View(yaw=-122, rise=-14, fov=98)),
}

RENDERINGS: dict[str, Callable[[Array], Array]] = {
    "armchair_underexposed": partial(faults.underexposed, strength=0.75),
    "armchair_fusion": opencv.mertens,
    "bedroom_overexposed": partial(faults.overexposed, strength=0.5),
    "bedroom_fusion": opencv.mertens,
    "sunrise_washed": partial(faults.washed_out, strength=1.0),
    "sunrise_drago": opencv.drago,
    "courtyard_grunge": partial(effects.grunge, radius=14),
    "courtyard_reinhard": photographic.photographic,
    "dog_bilateral": partial(
        bilateral.base_and_detail, contrast=4, brightness=0.6, saturation=0.6, space_sigma=10
    ),
    "dog_reinhard": photographic.photographic,
}


def main(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where to write.")] = SAMPLES,
) -> None:
    """Makes them."""
    for name, render in RENDERINGS.items():
        panorama, view = VIEWS[name.split("_")[0]]
        scene = normalise(mend(read_scene(SAMPLES / "hdr" / f"{panorama}.exr")))
        with opencv.reproducible():
            save_jpeg(render(cut_view(scene, view, WIDTH, HEIGHT)), folder / f"{name}.jpg")


if __name__ == "__main__":
    run_script(main)
