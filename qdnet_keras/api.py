"""Scores, renders and explains pictures, and tone-maps scenes, in one call each.

A call imports what it alone needs: a score starts without what renders.
"""

import io
import os
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from PIL import Image

from qdnet_keras.defaults import DEFAULT_PRESET
from qdnet_keras.errors import ImageError
from qdnet_keras.model.qdnet import QDNet
from qdnet_keras.model.scoring import WORKING_SIDE, score_pixels
from qdnet_keras.outcomes import Enhanced, Explanation, Rendering, Score, Tonemapped
from qdnet_keras.photos.files import Photo, as_saved, check_pixels, format_for, read_photo

if TYPE_CHECKING:
    from qdnet_keras.recipes.recipe import Recipe

Picture = str | os.PathLike[str] | bytes | BinaryIO | np.ndarray | Image.Image | Photo


def load(preset: str | os.PathLike[str] = DEFAULT_PRESET) -> QDNet:
    """Loads a released preset by name, a folder that training wrote, or a preset from elsewhere.

    Args:
        preset: Name or folder; `"hf://user/repo@revision"`, `"kaggle://owner/model/framework/
            variation"`, `"https://host/preset.zip#sha256=..."`; or the path of such a zip.

    Raises:
        PresetError: If it does not exist, cannot be fetched, is damaged or does not fit.
        MissingPackageError: If a hub's library is not installed.
    """
    return QDNet.from_preset(preset)


def score(picture: Picture, model: QDNet | None = None, *, long_side: int = WORKING_SIDE) -> Score:
    """Scores a picture.

    Args:
        picture: Path, bytes or open binary file of a photograph: JPEG, PNG, TIFF, WebP, HEIC, AVIF,
            JPEG XL, JPEG 2000, or a camera's raw file with the extra `raw`; a Pillow image; uint8
            or uint16 `[height, width, 3]`, sRGB-encoded; or a `Photo` that
            `qdnet_keras.photos.files.read_photo` returned. Sides ≥ 32.
        model: See `load`; by default the released preset, loaded at the first call.
        long_side: The score is computed on a copy of at most this long side, pixels.

    Returns:
        `Score` with `score`, 0..100, higher is better; `mos`, `mos_std`, its standard
        deviation; `interval`, which held nine validation labels in ten; and `novelty`, above 1 for
        pictures unlike the training photographs.

    Raises:
        ImageError: If the picture cannot be read or the array is of another shape or type.
        TypeError: If it is nothing of the above.
    """
    photo = _photo(picture, least_side=long_side)
    return score_pixels(model or _default_model(), photo.srgb, long_side)


def enhance(
    picture: Picture,
    target: float,
    model: QDNet | None = None,
    *,
    save_as: str | os.PathLike[str] = "",
    long_side: int = WORKING_SIDE,
    **options: Any,
) -> Enhanced:
    """Renders a picture at the score asked for, or as near to it as the model can.

    Args:
        picture: As for `score`.
        target: Score asked for, 0..100; it may be below the picture's own.
        model: See `load`; by default the released preset, loaded at the first call.
        save_as: Name of the file that the rendering is for: `score_after` is that of this file. Its
            suffix tells the format; by default it is that of `picture`, and a PNG for an array.
        long_side: As for `score`.
        **options: `sampler`, `tolerance` and `seed`, see
            `qdnet_keras.model.enhancement.enhance_pixels`.

    Returns:
        `Enhanced` with sRGB `pixels`, `score_before`, `score_after`, `epsilon` and `reached`;
        `save(path)` writes it with profile, depth and metadata of the file.

    Raises:
        ImageError, TypeError: As for `score`.
        OutputError: If `save_as` is of no known format or of one that would lose the alpha channel.
        ValueError: If the target or an option is out of range.
    """
    from qdnet_keras.model.enhancement import enhance_pixels

    photo = _photo(picture)
    format = format_for(Path(save_as), photo)

    def seen(srgb: np.ndarray) -> np.ndarray:
        return as_saved(photo, srgb, format, long_side)

    enhanced = enhance_pixels(
        model or _default_model(),
        photo.srgb,
        target,
        long_side=long_side,
        as_saved=seen,
        **options,
    )
    return replace(enhanced, source=None if isinstance(picture, np.ndarray) else photo)


def explain(
    picture: Picture, model: QDNet | None = None, *, long_side: int = WORKING_SIDE
) -> Explanation:
    """Tells why a picture has its score: what small edits would change, and which regions weigh.

    Args:
        picture: As for `score`.
        model: See `load`; by default the released preset, loaded at the first call.
        long_side: Edits are tried on a copy of at most this long side, pixels.

    Returns:
        `Explanation` with `score`, 0..100; `effects`, the remedy that mends most first, each with
        its `standard` and its `best` trial; and `regions`, a score for each part of the picture.

    Raises:
        ImageError, TypeError: As for `score`.
    """
    from qdnet_keras.advice.explain import explain_pixels

    photo = _photo(picture, least_side=long_side)
    return explain_pixels(model or _default_model(), photo.srgb, long_side)


def tonemap(
    scene: str | os.PathLike[str] | np.ndarray, model: QDNet | None = None, **options: Any
) -> Tonemapped:
    """Renders an HDR scene by the operator, with the parameters, that scores best.

    Needs OpenEXR, which the extra `data` installs.

    Args:
        scene: Path of an OpenEXR, Radiance or floating-point TIFF file, or of a folder with an
            exposure stack; or linear RGB of BT.709 primaries, float `[height, width, 3]`, in any
            unit. Sides ≥ 32.
        model: See `load`; by default the released preset, loaded at the first call.
        **options: `operators`, `tune`, `trials`, `seed`, `long_side` and `report`, see
            `qdnet_keras.advice.tonemap.tonemap_scene`.

    Returns:
        `Tonemapped` with `pixels` in full size, their `score`, and the `candidates` that were
        considered; `save(path)` writes it.

    Raises:
        ImageError: If the scene cannot be read, is too small, black, even or not finite.
    """
    from qdnet_keras.advice.tonemap import prepare_scene, tonemap_scene
    from qdnet_keras.synthesis.hdr import check_radiance, read_scene

    name = "The array" if isinstance(scene, np.ndarray) else str(scene)
    if isinstance(scene, np.ndarray):
        if scene.ndim != 3 or scene.shape[2] != 3 or scene.dtype.kind != "f":
            raise ImageError(
                f"The array is {scene.dtype} {list(scene.shape)}; give floats [height, width, 3]."
            )
        rgb = np.asarray(scene, np.float32)
        check_radiance(rgb, name)
    else:
        rgb = read_scene(Path(scene))
    return tonemap_scene(model or _default_model(), prepare_scene(rgb, name), **options)


def apply(picture: Picture, recipe: "Recipe") -> Rendering:
    """Does to a picture what `enhance` did to another frame of its series.

    Args:
        picture: As for `score`.
        recipe: Of that frame, see `Recipe.of` and `Recipe.load`. It needs no network.

    Returns:
        `Rendering` with sRGB `pixels`; `save(path)` writes it with profile, depth and metadata of
        the file.

    Raises:
        ImageError, TypeError: As for `score`.
    """
    photo = _photo(picture)
    source = None if isinstance(picture, np.ndarray) else photo
    return Rendering(recipe.render(photo.srgb), source=source)


@cache
def _default_model() -> QDNet:
    return load()


def _photo(picture: Picture, least_side: int | None = None) -> Photo:
    if isinstance(picture, Photo):
        return picture
    if isinstance(picture, np.ndarray):
        check_pixels(picture)
        return Photo(picture, None, False, "PNG")
    if isinstance(picture, Image.Image):
        return read_photo(_file_of(picture), "The picture")
    if isinstance(picture, bytes | bytearray | memoryview):
        return read_photo(bytes(picture), "The picture", least_side=least_side)
    if isinstance(picture, str | os.PathLike):
        return read_photo(Path(picture), least_side=least_side)
    if hasattr(picture, "read"):
        name = getattr(picture, "name", None) or "The picture"
        return read_photo(picture, name, least_side=least_side)
    raise TypeError(
        "A picture is a path, an array, a Pillow image, the bytes of a file or an open binary "
        f"file. Received: {type(picture).__name__}"
    )


def _file_of(image: Image.Image) -> bytes:
    """A lossless file with the orientation, profile and Exif data of a Pillow image."""
    file = io.BytesIO()
    kept = {"icc_profile": image.info.get("icc_profile"), "exif": image.getexif()}
    try:
        if image.mode == "CMYK":
            image.save(file, "TIFF", **kept)
        else:
            image.save(file, "PNG", compress_level=1, **kept)
    except (OSError, ValueError, KeyError):
        raise ImageError(
            f"The picture has Pillow's mode {image.mode}; convert it to RGB first."
        ) from None
    return file.getvalue()
