"""Raw files of cameras, which are told apart but not read."""

import re

_KINDS = {
    rb"II\*\0\x10\0\0\0CR": "Canon CR2",
    rb"....ftypcrx ": "Canon CR3",
    rb"II\x1a\0\0\0HEAPCCDR": "Canon CRW",
    rb"FUJIFILMCCD-RAW": "Fujifilm RAF",
    rb"IIR[OS]|MMOR": "Olympus ORF",
    rb"IIU\0": "Panasonic RW2",
    rb"\0MRM": "Minolta MRW",
    rb"FOVb": "Sigma X3F",
}


def raw_kind(data: bytes) -> str | None:
    """Name of the kind of raw file that is no TIFF; None for other files."""
    found = (name for mark, name in _KINDS.items() if re.match(mark, data, re.DOTALL))
    return next(found, None)
