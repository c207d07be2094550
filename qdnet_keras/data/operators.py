"""What made a rendering: the operators of data sets by name, each of one kind.

Names are those of ESPL-LIVE HDR where it has the operator; others are aliases, such as those of
re-implementations. Kinds are ESPL-LIVE's three, and deliberate faults.
"""

from typing import Literal, NamedTuple, get_args

Kind = Literal["tmo", "fusion", "effect", "fault"]
KINDS: tuple[Kind, ...] = get_args(Kind)


class Operator(NamedTuple):
    """`kind` is "tmo" (tone mapping), "fusion" (of exposures), "effect" or "fault"."""

    name: str
    kind: Kind
    aliases: tuple[str, ...] = ()


OPERATORS = (
    Operator("ReinhardTMO", "tmo"),
    Operator("FattalTMO", "tmo", ("fattal_strong",)),
    Operator("WardHistAdjTMO", "tmo", ("WardHistAdj",)),
    Operator("DurandTMO", "tmo"),
    Operator("DurandTMO4t", "tmo"),
    Operator("drago", "tmo", ("drago_cv", "pfs_drago")),
    Operator("mantiuk", "tmo", ("mantiuk_cv", "pfs_mantiuk06", "pfs_mantiuk08")),
    Operator("reinhard_local", "tmo", ("pfs_reinhard02",)),
    Operator("reinhard_devlin", "tmo", ("reinhard_cv",)),
    Operator("auto_exposure", "tmo"),
    Operator("wb_gamma", "tmo"),
    Operator("Paul", "fusion"),
    Operator("RamanTMO", "fusion"),
    Operator("PeceKautz", "fusion"),
    Operator("LA_Sig_11", "fusion"),
    Operator("GA", "fusion"),
    Operator("mertens", "fusion", ("Mertens",)),
    Operator("surreal", "effect"),
    Operator("grunge2", "effect"),
    Operator("painterly", "effect"),
    Operator("fault_underexposed", "fault", ("bad_under",)),
    Operator("fault_overexposed", "fault", ("bad_over",)),
    Operator("fault_low_contrast", "fault", ("bad_lowcontrast",)),
    Operator("fault_harsh_contrast", "fault"),
    Operator("fault_washed_out", "fault", ("bad_washed",)),
    Operator("fault_halo", "fault", ("bad_halo",)),
    Operator("fault_oversaturated", "fault", ("bad_oversat",)),
    Operator("fault_desaturated", "fault"),
    Operator("fault_warm_cast", "fault", ("bad_cast",)),
    Operator("fault_green_cast", "fault"),
    Operator("fault_blue_cast", "fault"),
    Operator("fault_dark_gamma", "fault", ("bad_dark_gamma",)),
)
_KINDS = {name: made.kind for made in OPERATORS for name in (made.name, *made.aliases)}

ESPL_OPERATORS = (
    *("ReinhardTMO", "FattalTMO", "WardHistAdjTMO", "DurandTMO", "DurandTMO4t"),
    *("Paul", "RamanTMO", "PeceKautz", "LA_Sig_11", "GA", "surreal", "grunge2"),
)


def operator_kind(operator: str) -> Kind | None:
    """Kind of an operator by its name or alias; None if it is unknown."""
    return _KINDS.get(operator)
