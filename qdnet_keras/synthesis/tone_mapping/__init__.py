"""Tone-mapping operators, exposure fusion, effects and deliberate faults, by name.

Every operator takes a scene (linear RGB, float32 `[H, W, 3]`, positive, log-average 1, see
`qdnet_keras.synthesis.hdr.normalise`) and returns a rendering (sRGB, float32 `[H, W, 3]` in 0..1).
Names that ESPL-LIVE HDR uses too stand for the same published method, not the same program; kinds
are in `qdnet_keras.data.operators`.
"""

from collections.abc import Callable
from typing import NamedTuple

from qdnet_keras.synthesis.light import Array
from qdnet_keras.synthesis.tone_mapping import (
    bilateral,
    effects,
    faults,
    gradient,
    histogram,
    opencv,
    photographic,
)


class Fault(NamedTuple):
    """`render` takes a scene and a strength in 0..1.

    `unseen` is what TMQI does not see of the fault, MOS units at full strength.
    """

    unseen: float
    render: Callable[[Array, float], Array]


OPERATORS: dict[str, Callable[..., Array]] = {
    "ReinhardTMO": photographic.photographic,
    "reinhard_local": photographic.dodge_and_burn,
    "WardHistAdjTMO": histogram.histogram_adjustment,
    "DurandTMO": bilateral.base_and_detail,
    "FattalTMO": gradient.gradient_domain,
    "drago": opencv.drago,
    "mantiuk": opencv.mantiuk,
    "reinhard_devlin": opencv.reinhard_devlin,
    "mertens": opencv.mertens,
    "surreal": effects.surreal,
    "grunge2": effects.grunge,
}

_SATURATION = (0.5, 1.2)

# Keyword arguments of operators, and from where to where they are of use.
RANGES: dict[str, dict[str, tuple[float, float]]] = {
    "ReinhardTMO": {"key_value": (0.1, 0.7), "saturation": _SATURATION},
    "reinhard_local": {"key_value": (0.1, 0.5), "saturation": _SATURATION},
    "WardHistAdjTMO": {"saturation": _SATURATION},
    "DurandTMO": {"contrast": (5.0, 40.0), "brightness": (0.5, 1.0), "saturation": _SATURATION},
    "FattalTMO": {"alpha": (0.03, 0.3), "beta": (0.8, 0.97), "saturation": _SATURATION},
    "drago": {"bias": (0.6, 0.95)},
    "mantiuk": {"contrast": (0.4, 1.0), "saturation": _SATURATION},
    "reinhard_devlin": {"intensity": (-1.0, 2.0), "adaptation": (0.5, 1.0)},
    "mertens": {"longest": (1.0, 5.0)},
    "surreal": {"detail": (0.15, 0.4), "saturation": (0.7, 1.3)},
    "grunge2": {"detail": (1.0, 2.0)},
}

FAULTS = {
    "fault_underexposed": Fault(0.0, faults.underexposed),
    "fault_overexposed": Fault(0.0, faults.overexposed),
    "fault_low_contrast": Fault(0.0, faults.low_contrast),
    "fault_harsh_contrast": Fault(20.0, faults.harsh_contrast),
    "fault_washed_out": Fault(0.0, faults.washed_out),
    "fault_halo": Fault(20.0, faults.halo),
    "fault_oversaturated": Fault(30.0, faults.oversaturated),
    "fault_desaturated": Fault(20.0, faults.desaturated),
    "fault_warm_cast": Fault(30.0, faults.warm_cast),
    "fault_green_cast": Fault(30.0, faults.green_cast),
    "fault_blue_cast": Fault(30.0, faults.blue_cast),
}
