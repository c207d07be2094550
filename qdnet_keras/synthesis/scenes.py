"""HDR pictures of a folder as scenes to be tone-mapped."""

import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from qdnet_keras.errors import DataError, ImageError
from qdnet_keras.synthesis.exposures import EXPOSURES, is_hdr_tiff, photographs
from qdnet_keras.synthesis.hdr import SUFFIXES, TIFF, mend, normalise, read_scene, shrink
from qdnet_keras.synthesis.light import Array
from qdnet_keras.synthesis.panorama import cut_view, draw_views, is_panorama, panorama_width
from qdnet_keras.synthesis.tmqi import MIN_SIDE

_READING = threading.Lock()  # one at a time: pictures may be large, what is rendered of them is not


def find_sources(folder: Path) -> dict[str, Path]:
    """HDR files and exposure stacks under `folder`, by name: their path as one word.

    A folder is one exposure stack when it has an `exposures.txt`, or no HDR file but two or more
    JPEG, PNG, TIFF or WebP photographs.

    Raises:
        DataError: If there are none, or two get one name.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; give one with HDR pictures.")
    sources: dict[str, Path] = {}
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for path in _sources_in(Path(place), sorted(names)):
            *parents, _ = ("", *path.relative_to(folder).parts)
            own = path.resolve().name if path.is_dir() else path.stem
            name = "_".join([*filter(None, parents), own])
            if name in sources:
                raise DataError(f"{sources[name]} and {path} have the same name; rename one.")
            sources[name] = path
    if not sources:
        raise DataError(
            f"{folder} holds no HDR picture ({', '.join(sorted(SUFFIXES))}) or exposure stack."
        )
    return sources


def scenes_of(
    name: str, path: Path, *, views: int, size: tuple[int, int], seed: int
) -> Iterator[tuple[str, Array]]:
    """Names and scenes of one HDR picture: views of a panorama, or else the whole.

    Args:
        name: Of the picture; scenes are called `<name>_<number>`, or `<name>` if it is one.
        path: See `read_scene`.
        views: How many a panorama gives.
        size: Width and height of a view; the long and the short side that others must fit in.
        seed: Of the views.

    Yields:
        Linear RGB, float32 `[height, width, 3]`, log-average 1, see `normalise`.

    Raises:
        ImageError: See `read_scene`; or if a scene is too small for TMQI.
    """
    width, height = size
    cameras = draw_views(views, generator(seed, name))
    with _READING:
        rgb = read_scene(path)
        whole_sphere = is_panorama(rgb)
        if whole_sphere:
            widest = panorama_width(width, min(view.fov for view in cameras))
        else:
            if rgb.shape[0] > rgb.shape[1]:
                width, height = min(size), max(size)
            widest = min(width, round(height * rgb.shape[1] / rgb.shape[0]))
        rgb = shrink(rgb, widest)
    _check_size(rgb, path)
    rgb = normalise(mend(rgb))
    if not whole_sphere:
        yield name, rgb
        return
    for number, view in enumerate(cameras):
        yield f"{name}_{number}", normalise(cut_view(rgb, view, width, height))


def generator(seed: int, name: str) -> np.random.Generator:
    """Draws that depend on nothing but the seed and the name."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def _sources_in(folder: Path, names: list[str]) -> list[Path]:
    shown = [folder / name for name in names if not name.startswith(".")]
    others = SUFFIXES - set(TIFF)
    hdr = [path for path in shown if path.suffix.lower() in others or is_hdr_tiff(path)]
    is_stack = EXPOSURES in names or (not hdr and len(photographs(folder)) > 1)
    return [folder] if is_stack else hdr


def _check_size(rgb: Array, path: Path) -> None:
    if min(rgb.shape[:2]) < MIN_SIDE:
        raise ImageError(
            f"{path} is {rgb.shape[1]}x{rgb.shape[0]} where it is used; {MIN_SIDE} pixels a side "
            "are needed."
        )
