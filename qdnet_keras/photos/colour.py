"""Colour profiles: what pixels look like in sRGB, and the way back. LittleCMS does it.

Conversions are relative colorimetric with black point compensation. Floats are not clipped, so that
colours outside sRGB survive a trip to it.
"""

import struct
from functools import lru_cache

import imagecodecs
import numpy as np

from qdnet_keras.errors import ImageError

_RELATIVE_COLORIMETRIC, _BLACK_POINT_COMPENSATION, _EXACT = 1, 0x2000, 0x0100
_MADE, _CREATED = slice(24, 36), b"\x07\xd0\0\x01\0\x01\0\0\0\0\0\0"  # date in a profile's header
_TABLE_SAME = 1 / 255  # largest difference to sRGB that counts as none

_D65 = (0.3127, 0.3290)
# ITU-T H.273: code of primaries -> x, y of red, green, blue, white
_BT709, _DISPLAY_P3 = 1, 12
PRIMARIES: dict[int, tuple[float, ...]] = {
    _BT709: (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, *_D65),
    4: (0.67, 0.33, 0.21, 0.71, 0.14, 0.08, 0.310, 0.316),
    5: (0.64, 0.33, 0.29, 0.60, 0.15, 0.06, *_D65),
    6: (0.630, 0.340, 0.310, 0.595, 0.155, 0.070, *_D65),
    7: (0.630, 0.340, 0.310, 0.595, 0.155, 0.070, *_D65),
    9: (0.708, 0.292, 0.170, 0.797, 0.131, 0.046, *_D65),
    11: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, 0.314, 0.351),
    _DISPLAY_P3: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, *_D65),
    22: (0.630, 0.340, 0.295, 0.605, 0.155, 0.077, *_D65),
}
# Code of transfer -> exponent; None is the curve of sRGB, as which video's curves are shown too.
_TRANSFERS = {1: None, 6: None, 13: None, 14: None, 15: None, 4: 2.2, 5: 2.8, 8: 1.0}
_HDR_TRANSFERS = {16: "PQ", 18: "HLG"}
_ADOBE_GAMMA = 563 / 256


def primaries_profile(chromaticities: tuple[float, ...], gamma: float | None) -> bytes:
    """An RGB profile.

    Args:
        chromaticities: x, y of red, green, blue and white.
        gamma: Exponent from samples to light; None for the curve of sRGB.
    """
    *colours, x, y = chromaticities
    points = [value for at in (0, 2, 4) for value in (*colours[at : at + 2], 1.0)]
    profile = imagecodecs.cms_profile(
        "rgb", whitepoint=[x, y, 1.0], primaries=points, gamma=gamma or 1.0
    )
    if gamma is None:
        curves = bytearray(SRGB)
        for name, (start, size) in _tags(SRGB).items():
            if name in (b"rXYZ", b"gXYZ", b"bXYZ", b"wtpt", b"chad", b"chrm"):
                at, _ = _tags(profile)[name]
                curves[start : start + size] = profile[at : at + size]
        profile = bytes(curves)
    return _undated(profile)


def grey_profile(gamma: float) -> bytes:
    """A profile of grey samples with this exponent from samples to light."""
    return _undated(imagecodecs.cms_profile("gray", gamma=gamma))


def cicp_profile(primaries: int, transfer: int) -> bytes | None:
    """Profile of the code points of ITU-T H.273; None for sRGB and for unknown ones.

    Raises:
        ImageError: The transfer is PQ or HLG.
    """
    if transfer in _HDR_TRANSFERS:
        raise ImageError(f"is an HDR picture ({_HDR_TRANSFERS[transfer]}); tone-map it first")
    if primaries not in PRIMARIES or transfer not in _TRANSFERS:
        return None
    gamma = _TRANSFERS[transfer]
    if gamma is None and primaries == _BT709:
        return None
    return primaries_profile(PRIMARIES[primaries], gamma)


@lru_cache(maxsize=16)
def channels_of(icc: bytes) -> int | None:
    """1, 3 or 4: channels of a grey, RGB or CMYK profile; None for a damaged or other one.

    Raises:
        ImageError: The profile says that the picture is PQ or HLG.
    """
    try:
        imagecodecs.cms_profile_validate(icc)
        start, size = _tags(icc).get(b"cicp", (0, 0))
    except (imagecodecs.CmsError, struct.error):
        return None
    if size >= 12:
        cicp_profile(icc[start + 8], icc[start + 9])
    return {b"GRAY": 1, b"RGB ": 3, b"CMYK": 4}.get(icc[16:20])


@lru_cache(maxsize=16)
def looks_like_srgb(icc: bytes | None) -> bool:
    """Whether conversion to sRGB changes nothing that could be seen in 8 bits."""
    if icc is None:
        return True
    if channels_of(icc) == 1:
        cube = np.repeat(np.linspace(0, 1, 256, dtype=np.float32)[None, :, None], 3, axis=2)
    else:
        steps = np.linspace(0, 1, 9, dtype=np.float32)
        cube = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3)
    return bool(np.abs(to_srgb(cube, icc, np.float32) - cube).max() < _TABLE_SAME)


@lru_cache(maxsize=16)
def has_way_back(icc: bytes) -> bool:
    """Whether sRGB can be converted to the profile: some scanners' know one direction."""
    try:
        from_srgb(np.zeros((1, 1, 3), np.float32), icc)
    except imagecodecs.CmsError:
        return False
    return True


def to_srgb(pixels: np.ndarray, icc: bytes, dtype: type[np.generic]) -> np.ndarray:
    """Pixels in the encoding of a profile to sRGB.

    Args:
        pixels: uint8, uint16 or float32 in 0..1, `[H, W, 3]`; three equal channels where the
            profile is a grey one.
        icc: A grey or RGB profile.
        dtype: uint16, rounded and clipped; or float32, in 0..1 for colours that sRGB can show.
    """
    grey = channels_of(icc) == 1
    is_quick_and_fine = pixels.dtype == np.uint8 and not grey  # others pass through a coarse table
    return imagecodecs.cms_transform(
        np.ascontiguousarray(pixels[..., 0] if grey else pixels),
        icc,
        SRGB,
        colorspace="gray" if grey else "rgb",
        outcolorspace="rgb",
        outdtype=dtype,
        intent=_RELATIVE_COLORIMETRIC,
        flags=_BLACK_POINT_COMPENSATION | (0 if is_quick_and_fine else _EXACT),
    )


def from_srgb(values: np.ndarray, icc: bytes) -> np.ndarray:
    """float32 sRGB `[H, W, 3]` to the encoding of a profile, likewise, not clipped."""
    grey = channels_of(icc) == 1
    samples = imagecodecs.cms_transform(
        np.ascontiguousarray(values),
        SRGB,
        icc,
        colorspace="rgb",
        outcolorspace="gray" if grey else "rgb",
        outdtype=np.float32,
        intent=_RELATIVE_COLORIMETRIC,
        flags=_BLACK_POINT_COMPENSATION | _EXACT,
    )
    return np.repeat(samples[..., None], 3, axis=2) if grey else samples


def cmyk_to_srgb(cmyk: np.ndarray, icc: bytes) -> np.ndarray:
    """Inks `[H, W, 4]`, uint8 or uint16, to sRGB of that dtype: perceptual, as prints are shown."""
    return imagecodecs.cms_transform(
        cmyk, icc, SRGB, colorspace="cmyk", outcolorspace="rgb", intent=0
    )


def lab_to_srgb(lab: np.ndarray) -> np.ndarray:
    """CIE L*, a*, b* under D50, float32 `[H, W, 3]`, to uint16 sRGB."""
    return imagecodecs.cms_transform(
        lab,
        _LAB,
        SRGB,
        colorspace="lab",
        outcolorspace="rgb",
        outdtype=np.uint16,
        intent=_RELATIVE_COLORIMETRIC,
        flags=_BLACK_POINT_COMPENSATION,
    )


def _tags(icc: bytes) -> dict[bytes, tuple[int, int]]:
    """Signature of each tag -> its offset and size."""
    (count,) = struct.unpack_from(">I", icc, 128)
    entries = (struct.unpack_from(">4sII", icc, 132 + 12 * index) for index in range(count))
    return {name: (start, size) for name, start, size in entries}


def _undated(icc: bytes) -> bytes:
    """The profile with a date that is always the same, so that equal inputs give equal files."""
    return icc[: _MADE.start] + _CREATED + icc[_MADE.stop :]


SRGB = _undated(imagecodecs.cms_profile("srgb"))
_LAB = imagecodecs.cms_profile("lab4")
ADOBE_RGB = primaries_profile((0.64, 0.33, 0.21, 0.71, 0.15, 0.06, *_D65), _ADOBE_GAMMA)
