"""From the primaries that a file states to those of BT.709."""

import numpy as np

from qdnet_keras.synthesis.light import Array

# x and y of red, green, blue and white.
BT709_CHROMATICITIES = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06), (0.3127, 0.3290))
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)
_CLOSE = 2e-3  # of coordinates: rounded ones of BT.709 are taken for it


def to_bt709(rgb: Array, chromaticities: np.ndarray) -> Array:
    """Linear RGB of other primaries as BT.709, white to white (Bradford); see `in_gamut`.

    Args:
        rgb: float32 `[H, W, 3]`.
        chromaticities: CIE x and y of red, green, blue and white, `[4, 2]`.

    Raises:
        ValueError: If they span no triangle.
    """
    own = np.asarray(chromaticities, np.float64).reshape(4, 2)
    if np.allclose(own, BT709_CHROMATICITIES, atol=_CLOSE):
        return rgb
    return in_gamut(rgb @ change_to_bt709(own).T.astype(np.float32), rgb)


def xyz_to_bt709(xyz: Array) -> Array:
    """CIE XYZ under D65 as linear BT.709; see `in_gamut`."""
    change = np.linalg.inv(xyz_of(np.array(BT709_CHROMATICITIES)))
    return in_gamut(xyz @ change.T.astype(np.float32), xyz)


def in_gamut(converted: Array, source: Array) -> Array:
    """Colours that BT.709 lacks without their negative part, unless the source has one itself."""
    sound = source.min(axis=-1, keepdims=True) >= 0
    return np.where(sound, np.maximum(converted, 0), converted)


def change_to_bt709(chromaticities: np.ndarray) -> np.ndarray:
    """The matrix `[3, 3]` from RGB of these primaries to BT.709."""
    to_xyz = _adaptation(chromaticities[3]) @ xyz_of(chromaticities)
    return np.linalg.inv(xyz_of(np.array(BT709_CHROMATICITIES))) @ to_xyz


def xyz_of(chromaticities: np.ndarray) -> np.ndarray:
    """The matrix `[3, 3]` from RGB to XYZ, in which white has Y = 1."""
    try:
        columns = np.stack([_xyz(*point) for point in chromaticities[:3]], axis=1)
        return columns * np.linalg.solve(columns, _xyz(*chromaticities[3]))
    except (np.linalg.LinAlgError, ZeroDivisionError) as error:
        raise ValueError("its primaries are no triangle") from error


def _xyz(x: float, y: float) -> np.ndarray:
    return np.array([float(x) / float(y), 1, (1 - float(x) - float(y)) / float(y)])


def _adaptation(white: np.ndarray) -> np.ndarray:
    cones = _BRADFORD @ _xyz(*white)
    target = _BRADFORD @ _xyz(*BT709_CHROMATICITIES[3])
    return np.linalg.inv(_BRADFORD) @ np.diag(target / cones) @ _BRADFORD
