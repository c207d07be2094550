"""From what a decoder found to a `Photo`: upright, its profile and its metadata checked."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from qdnet_keras.photos import colour
from qdnet_keras.photos.formats import exif as exif_block
from qdnet_keras.photos.formats import xmp as xmp_packet
from qdnet_keras.photos.photo import Photo
from qdnet_keras.photos.pixels import as_depth

# Orientation (EXIF tag 274) -> view that shows the picture upright.
_UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[:, ::-1],
    7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
    8: lambda a: a.swapaxes(0, 1)[::-1],
}


@dataclasses.dataclass
class Decoded:
    """What a decoder finds in a file.

    Attributes:
        colour: uint8 or uint16, `[H, W]` or `[H, W, 3]`, as it lies in the file.
        alpha: `[H, W]`, same dtype, not multiplied into `colour`.
        icc: Profile of `colour`. None: EXIF may say that it is Adobe RGB; else it is sRGB.
        is_turned: The decoder has turned the pixels upright already.

    The others are those of `Photo`.
    """

    format: str
    colour: np.ndarray = dataclasses.field(default_factory=lambda: np.empty(0))
    alpha: np.ndarray | None = None
    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    dpi: tuple[float, float] | None = None
    compression: str | None = None
    extra: bytes = b""
    is_turned: bool = False
    notes: Sequence[str] = ()

    def photo(self) -> Photo:
        """The photograph, upright. Raises `ImageError` where its profile says that it is HDR."""
        exif = (self.exif or b"").removeprefix(b"Exif\0\0")
        xmp = self.xmp or b""
        orientation = exif_block.orientation_of(exif) or xmp_packet.orientation_of(xmp) or 1
        turn = _UPRIGHT[1 if self.is_turned else orientation]
        if self.icc and colour.channels_of(self.icc) == 1:
            self.colour = _single(self.colour)
        grey = self.colour.ndim == 2
        pixels = turn(self.colour)
        if grey:
            pixels = np.repeat(pixels[..., None], 3, axis=2)
        pixels = np.ascontiguousarray(pixels)
        alpha = None if self.alpha is None else np.ascontiguousarray(turn(self.alpha))
        height, width = pixels.shape[:2]
        pixels, icc, notes = _profiled(pixels, grey, self.icc)
        if self.icc is None and exif_block.says_adobe_rgb(exif):
            icc = colour.ADOBE_RGB
        return Photo(
            pixels,
            alpha,
            grey,
            self.format,
            icc=icc,
            exif=exif_block.upright_exif(exif, width, height) or None,
            xmp=xmp_packet.upright_xmp(xmp, width, height) or None,
            iptc=self.iptc or None,
            dpi=_checked(self.dpi, swap=orientation > 4),
            compression=self.compression,
            extra=self.extra,
            turned=orientation != 1,
            notes=(*self.notes, *notes),
        )


def _single(samples: np.ndarray) -> np.ndarray:
    """One of three equal channels, as AVIF stores grey; others as they are."""
    is_grey = samples.ndim == 3 and (samples == samples[..., :1]).all()
    return samples[..., 0] if is_grey else samples


def _profiled(
    pixels: np.ndarray, grey: bool, icc: bytes | None
) -> tuple[np.ndarray, bytes | None, list[str]]:
    """Pixels, the profile that they are in, and what had to be given up."""
    if icc is None:
        return pixels, None, []
    if colour.channels_of(icc) not in ((1, 3) if grey else (3,)):
        return pixels, None, ["the colour profile is damaged or does not fit; taken as sRGB"]
    if not colour.has_way_back(icc):
        srgb = as_depth(colour.to_srgb(pixels, icc, np.uint16), pixels.dtype)
        return srgb, None, ["the colour profile works one way only; converted to sRGB"]
    return pixels, icc, []


def _checked(dpi: tuple[float, float] | None, swap: bool) -> tuple[float, float] | None:
    if dpi is None or not all(1 <= dots < 65536 for dots in dpi):
        return None
    return (dpi[1], dpi[0]) if swap else dpi
