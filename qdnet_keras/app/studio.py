"""What is done with a visitor's photographs: scores, renderings to look at, files to keep."""

import base64
import secrets
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import qdnet_keras
from qdnet_keras.defaults import WORKING_SIDE
from qdnet_keras.errors import ImageError, OutputError, QDNetError
from qdnet_keras.files import reason
from qdnet_keras.outcomes import Enhanced, Explanation, Score
from qdnet_keras.photos.files import (
    FORMATS,
    MIN_SIDE,
    Photo,
    from_float,
    photo_file,
    read_photo,
    working_copy,
    write_photo,
)
from qdnet_keras.recipes.cube import Cube
from qdnet_keras.recipes.recipe import Recipe

if TYPE_CHECKING:
    from qdnet_keras.model.qdnet import QDNet

LOOK_SIDE = 1600  # pixels: long side of what a page shows
THUMBNAIL_SIDE = 160


@dataclass(frozen=True)
class Picture:
    """A photograph on a visitor's page.

    Attributes:
        name: As the visitor calls it.
        file: The photograph itself, in a folder of its own.
        shown: A JPEG of at most `LOOK_SIDE` pixels, for the page.
        thumbnail: A small JPEG as a data URI.
    """

    name: str
    file: Path
    shown: Path
    thumbnail: str
    score: Score


class Studio:
    """The network, and what it does for visitors, one at a time.

    Args:
        model: See `qdnet_keras.load`.
        preset: What it was loaded from, which recipes name.

    Attributes:
        lock: Held while anything is computed and written, so that nothing is written into a folder
            that was removed meanwhile.
    """

    def __init__(self, model: "QDNet", preset: str):
        self.model, self.preset = model, preset
        self.lock = threading.Lock()

    def warm_up(self) -> None:
        """Renders something, so that nobody waits for what happens once only."""
        plain = np.full((MIN_SIDE, MIN_SIDE, 3), 128, np.uint8)
        qdnet_keras.enhance(plain, 50.0, self.model)

    def admit(self, source: Path, page: Path) -> Picture:
        """Takes a photograph into a folder of its own below that of the page, and scores it.

        Raises:
            ImageError: If it cannot be read; then nothing is left of it.
        """
        folder = page / secrets.token_hex(8)
        with self.lock:
            try:
                folder.mkdir()
                file = Path(shutil.copyfile(source, folder / source.name))
                pixels = _look(file, source.name)
                score = qdnet_keras.score(file, self.model)
                shown = _write_jpeg(pixels, folder / "shown" / "original.jpg")
                return Picture(source.name, file, shown, _as_thumbnail(pixels), score)
            except OSError as error:
                shutil.rmtree(folder, ignore_errors=True)
                raise ImageError(
                    f"{source.name} could not be kept ({reason(error)}); add it again."
                ) from error
            except QDNetError:
                shutil.rmtree(folder)
                raise

    def show(self, picture: Picture, target: float) -> tuple[Path, Enhanced]:
        """A rendering of the copy that the page shows, as a JPEG, and what came of it.

        Raises:
            ImageError: If the photograph is gone, here and below.
        """
        with self._turn(picture):
            pixels = _look(picture.file, picture.name)
            enhanced = qdnet_keras.enhance(pixels, target, self.model)
            file = picture.shown.with_name(f"{target:g}.jpg")
            return _write_jpeg(enhanced.pixels, file), enhanced

    def explain(self, picture: Picture) -> Explanation:
        """Why the photograph has its score."""
        with self._turn(picture):
            return qdnet_keras.explain(picture.file, self.model)

    def render(self, picture: Picture, target: float) -> tuple[Path, Enhanced, tuple[str, ...]]:
        """The photograph at full size, in its own format with its metadata.

        Returns:
            The file, what came of it, and notes of what it could not keep.

        Raises:
            OutputError: If the file cannot be written.
        """
        with self._turn(picture):
            enhanced, photo = self._enhance(picture, target)
            known = FORMATS[photo.format].suffixes
            suffix = picture.file.suffix if picture.file.suffix.lower() in known else known[0]
            file = _beside(picture, target, suffix)
            return file, enhanced, enhanced.save(file, force=True)

    def recipe(self, picture: Picture, target: float) -> Path:
        """What a rendering did, as a file for `qdnet-keras apply`.

        Raises:
            OutputError: If the network has no tone curves, or the file cannot be written.
        """
        with self._turn(picture):
            file = _beside(picture, target, ".json")
            self._recipe(self._enhance(picture, target)[0]).save(file, force=True)
            return file

    def cube(self, picture: Picture, target: float) -> tuple[Path, Cube]:
        """The global part of what a rendering did, as a colour table for other programs.

        Raises:
            OutputError: As for `recipe`.
        """
        with self._turn(picture):
            enhanced, photo = self._enhance(picture, target)
            cube = Cube.fit(self._recipe(enhanced), working_copy(photo.srgb, WORKING_SIDE))
            file = _beside(picture, target, ".cube")
            cube.save(file, force=True)
            return file, cube

    @contextmanager
    def _turn(self, picture: Picture) -> Iterator[None]:
        with self.lock:
            if not picture.file.is_file():
                raise ImageError(f"{picture.name} is no longer here; add it again.")
            yield

    def _enhance(self, picture: Picture, target: float) -> tuple[Enhanced, Photo]:
        enhanced = qdnet_keras.enhance(picture.file, target, self.model)
        assert enhanced.source is not None
        return enhanced, enhanced.source

    def _recipe(self, enhanced: Enhanced) -> Recipe:
        try:
            return Recipe.of(enhanced, self.preset)
        except ValueError as error:
            raise OutputError(
                "This preset has no tone curves, so that no recipe can be made."
            ) from error


def _beside(picture: Picture, target: float, suffix: str) -> Path:
    """Where a file to download is written."""
    return picture.file.parent / "files" / f"{picture.file.stem}_{target:g}{suffix}"


def thumbnail(file: Path) -> str:
    """A small JPEG of a photograph as a data URI. Raises `ImageError`."""
    return _as_thumbnail(_look(file, file.name))


def _look(file: Path, name: str) -> np.ndarray:
    """What the page shows of a photograph: uint8 `[height, width, 3]`, sRGB."""
    photo = read_photo(file, name, least_side=LOOK_SIDE)
    return from_float(working_copy(photo.srgb, LOOK_SIDE), np.uint8)


def _write_jpeg(pixels: np.ndarray, file: Path) -> Path:
    write_photo(Photo(pixels, None, False, "JPEG"), file, force=True)
    return file


def _as_thumbnail(pixels: np.ndarray) -> str:
    small = from_float(working_copy(pixels, THUMBNAIL_SIDE), np.uint8)
    data, _ = photo_file(Photo(small, None, False, "JPEG"))
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
