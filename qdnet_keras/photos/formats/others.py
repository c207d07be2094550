"""Files that are told apart but not read: what they are, and what to do with them."""

import re

FLOATING_POINT = "is a floating point image; tone-map it first"
_SAVE = "is {}; save it as a PNG, TIFF or JPEG first"
_TAKE = "is {}; give a still picture"

_KINDS = {
    rb"v/1\x01|#\?RADIANCE|#\?RGBE|P[Ff]\n": FLOATING_POINT,
    rb"GIF8[79]a": _SAVE.format("a GIF"),
    rb"BM....\0\0\0\0": _SAVE.format("a BMP"),
    rb"8BPS": _SAVE.format("a Photoshop document"),
    rb"gimp xcf": _SAVE.format("a GIMP document"),
    rb"II\xbc\x01": _SAVE.format("a JPEG XR"),
    rb"SIMPLE  =": _SAVE.format("a FITS of astronomers"),
    rb"P[1-6]\s": _SAVE.format("a Netpbm picture"),
    rb"%PDF": _SAVE.format("a PDF"),
    rb"\x89PNG\r\n\x1a\n....CgBI": _SAVE.format("a PNG in Apple's own form"),
    rb"....ftyp(mp4|isom|iso[2-9]|avc1|M4V|qt|3gp)": _TAKE.format("a video"),
    rb"....ftyp(msf1|hevc|hevx)": _TAKE.format("a sequence of pictures"),
}


def refusal(data: bytes) -> str | None:
    """Why a file is not read, as the end of a sentence; None for files of no kind known here."""
    found = (words for mark, words in _KINDS.items() if re.match(mark, data, re.DOTALL))
    return next(found, None)
