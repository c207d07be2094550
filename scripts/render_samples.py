"""Make the tone-mapped photographs bundled in ``qdnet_keras/samples``.

Each photograph is a perspective view cut from a CC0 panorama in ``qdnet_keras/samples/hdr`` and
tone-mapped with one operator. The operators range from good to faulty on purpose. Nothing is
random: on the same library versions a second run writes the same bytes.

Run from a checkout with the ``dev`` extra installed: ``python scripts/render_samples.py``.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import OpenEXR
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[np.float32]

SAMPLES = Path(__file__).resolve().parents[1] / "qdnet_keras" / "samples"
WIDTH, HEIGHT = 480, 360
LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)
FLOOR, CEILING = 1e-3, 1e3  # radiance limits, in units of the panorama's log-average


class View(NamedTuple):
    """Camera of one scene: a panorama and angles in degrees."""

    panorama: str
    yaw: float  # to the right of the panorama's centre
    rise: float  # elevation of the picture's centre; the image plane stays upright
    fov: float  # horizontal field of view


VIEWS = {
    "armchair": View("interior", yaw=-3, rise=-15, fov=98),
    "bedroom": View("interior", yaw=90, rise=-14, fov=95),
    "sunrise": View("sunrise", yaw=17, rise=-4, fov=92),
    "courtyard": View("courtyard", yaw=-12, rise=2, fov=95),
    "dog": View("courtyard", yaw=-122, rise=-14, fov=98),
}


def luminance(rgb: Array) -> Array:
    """Rec. 709 luminance, (H, W), of linear RGB (H, W, 3)."""
    return rgb @ LUMA


def key(rgb: Array) -> float:
    """Log-average luminance."""
    return float(np.exp(np.log(luminance(rgb)).mean()))


def read_panorama(path: Path) -> Array:
    """Read an equirectangular EXR as linear RGB (H, W, 3), its log-average luminance scaled to 1.

    The files carry the ringing of an earlier resampling: black specks beside lamps, the sun and
    other hard edges. Their pixels take the mean log radiance of the sound pixels around them.
    """
    rgb = np.asarray(OpenEXR.File(str(path)).channels()["RGB"].pixels, np.float32)
    light = luminance(rgb)
    closed = cv2.morphologyEx(light, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    sound = ((rgb.min(axis=-1) > 0) & (light > 0.2 * closed))[..., None].astype(np.float32)
    log = np.log(np.maximum(rgb, 1e-6))
    weight = cv2.GaussianBlur(sound, (0, 0), 1)[..., None]
    filled = np.exp(cv2.GaussianBlur(log * sound, (0, 0), 1) / np.maximum(weight, 1e-6))
    rgb = np.where(sound > 0, rgb, filled)
    return np.clip(rgb / key(rgb), FLOOR, CEILING)


def cut_view(panorama: Array, view: View) -> Array:
    """Project a panorama onto a (HEIGHT, WIDTH, 3) image plane, bicubic in log radiance."""
    rows, columns = panorama.shape[:2]
    focal = WIDTH / 2 / np.tan(np.radians(view.fov / 2))
    x, y = np.meshgrid(np.arange(WIDTH) + 0.5 - WIDTH / 2, HEIGHT / 2 - np.arange(HEIGHT) - 0.5)
    y = y + focal * np.tan(np.radians(view.rise))
    longitude = np.arctan2(x, focal) + np.radians(view.yaw)
    latitude = np.arctan2(y, np.hypot(x, focal))
    u = ((longitude / (2 * np.pi) + 0.5) * columns - 0.5) % columns
    v = (0.5 - latitude / np.pi) * rows - 0.5
    log = cv2.remap(
        np.log(panorama),
        u.astype(np.float32),
        v.astype(np.float32),
        cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_WRAP,
    )
    return np.exp(log).astype(np.float32)


def encode(linear: Array) -> Array:
    """Linear RGB, clipped to [0, 1], in sRGB encoding."""
    x = np.clip(linear, 0, 1)
    return np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055).astype(np.float32)


def recolour(rgb: Array, mapped: Array, saturation: float) -> Array:
    """Give ``rgb`` the luminance ``mapped`` (H, W); colour ratios are raised to ``saturation``."""
    ratio = rgb / luminance(rgb)[..., None]
    return encode(mapped[..., None] * ratio**saturation)


def expose(rgb: Array, stops: float) -> Array:
    """A single clipped exposure; at 0 stops the log-average becomes middle grey, 0.18."""
    return encode(rgb * (0.18 * 2**stops / key(rgb)))


def reinhard(rgb: Array) -> Array:
    """Global photographic operator of Reinhard et al. 2002, eq. 4; key 0.3, top 1 % white."""
    scaled = luminance(rgb) * (0.3 / key(rgb))
    white = np.percentile(scaled, 99)
    return recolour(rgb, scaled * (1 + scaled / white**2) / (1 + scaled), 0.9)


def fusion(rgb: Array) -> Array:
    """Exposure fusion of Mertens et al. 2007 over nine exposures, a stop apart."""
    stack = [np.round(255 * expose(rgb, stops)).astype(np.uint8) for stops in range(-5, 4)]
    return np.clip(cv2.createMergeMertens().process(stack), 0, 1)


def drago(rgb: Array) -> Array:
    """Adaptive logarithmic mapping of Drago et al. 2003; white at the top 1 %."""
    mapped = np.asarray(cv2.createTonemapDrago(1.0, 1.0, 0.85).process(rgb), np.float32)
    return encode(mapped / np.percentile(mapped, 99))


def bilateral(rgb: Array) -> Array:
    """Durand and Dorsey 2002 with the base squeezed to 4:1, which looks flat."""
    log = np.log10(luminance(rgb))
    base = cv2.bilateralFilter(log, -1, 0.4, 10)
    low, high = np.percentile(base, [1, 99])
    flat = (base - high) * np.log10(4) / (high - low)
    return recolour(rgb, 0.6 * 10 ** (flat + log - base), 0.6)


def washed(rgb: Array) -> Array:
    """Grey veil: strong compression, raised black and little colour."""
    scaled = luminance(rgb) / key(rgb)
    return 0.36 + 0.5 * recolour(rgb, 0.22 * scaled**0.5, 0.5)


def grunge(rgb: Array) -> Array:
    """Local contrast pushed against a wide blur: halos, heavy texture, loud colour."""
    log = np.log10(luminance(rgb))
    base = cv2.GaussianBlur(log, (0, 0), 14)
    mapped = 0.18 * 10 ** (0.1 * (base - base.mean()) + 1.7 * (log - base))
    return recolour(rgb, mapped, 1.3)


def underexposed(rgb: Array) -> Array:
    """One exposure, three stops too short."""
    return expose(rgb, -3)


def overexposed(rgb: Array) -> Array:
    """One exposure, two stops too long."""
    return expose(rgb, 2)


PLAN: dict[str, tuple[Callable[[Array], Array], ...]] = {
    "armchair": (underexposed, fusion),
    "bedroom": (overexposed, fusion),
    "sunrise": (washed, drago),
    "courtyard": (grunge, reinhard),
    "dog": (bilateral, reinhard),
}


def save(image: Array, path: Path) -> None:
    """Write sRGB values in [0, 1] as an 8-bit JPEG, quality 92, 4:4:4."""
    part = path.with_suffix(".part")
    pixels = np.round(255 * np.clip(image, 0, 1)).astype(np.uint8)
    Image.fromarray(pixels).save(part, "JPEG", quality=92, subsampling=0, optimize=True)
    os.replace(part, path)


def main() -> None:
    cv2.setNumThreads(1)  # Mertens fusion sums its exposures in the order its threads finish
    for scene, operators in PLAN.items():
        view = VIEWS[scene]
        panorama = read_panorama(SAMPLES / "hdr" / f"{view.panorama}.exr")
        picture = cut_view(panorama, view)
        for operator in operators:
            save(operator(picture), SAMPLES / f"{scene}_{operator.__name__}.jpg")


if __name__ == "__main__":
    main()
