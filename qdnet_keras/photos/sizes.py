"""Sizes of pictures that are supported, and how much smaller a JPEG may be read."""

MIN_SIDE = 32
MAX_PIXELS = 400_000_000
REDUCTIONS = (2, 4, 8)  # that a JPEG decoder offers


def jpeg_reduction(size: tuple[int, int], least_side: int) -> int:
    """1, or by which of `REDUCTIONS` a JPEG is read smaller where a copy of it is all that counts.

    The long side keeps at least twice `least_side` pixels, for their means to be those of the
    whole, and the short side `MIN_SIDE`.

    Args:
        size: Width and height, or the other way round.
        least_side: Long side of the copy that will be made of it.
    """
    fits = (
        factor
        for factor in reversed(REDUCTIONS)
        if max(size) >= 2 * factor * least_side and min(size) >= factor * MIN_SIDE
    )
    return next(fits, 1)
