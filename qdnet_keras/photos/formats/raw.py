"""Raw files of cameras: developed by LibRaw, which the extra `raw` installs."""

import io
import re
import subprocess
import sys
from importlib.util import find_spec
from typing import Any

import numpy as np
import tifffile

from qdnet_keras.errors import ImageError
from qdnet_keras.photos.formats.tiff import descriptive_exif
from qdnet_keras.photos.formats.upright import Decoded
from qdnet_keras.photos.photo import Photo, check_size
from qdnet_keras.photos.pixels import split_alpha

_CAMERAS = {
    rb"II\*\0\x10\0\0\0CR": "Canon CR2",
    rb"....ftypcrx ": "Canon CR3",
    rb"II\x1a\0\0\0HEAPCCDR": "Canon CRW",
    rb"FUJIFILMCCD-RAW": "Fujifilm RAF",
    rb"IIR[OS]|MMOR": "Olympus ORF",
    rb"IIU\0": "Panasonic RW2",
    rb"\0MRM": "Minolta MRW",
    rb"FOVb": "Sigma X3F",
}
_TIFF = rb"II\*\0|MM\0\*"
_THUMBNAIL = 1  # bit of tag 254: a camera's TIFF begins with one
_MAKER, _MAKER_NOTE, _DNG_VERSION = 271, 37500, 50706  # tags; a note may hold an old preview
_LIBRAW = "qdnet_keras.photos.formats.libraw"
_DAMAGE = b"unknown file: "  # so LibRaw begins what it says of a file in memory
_INSTEAD = "develop it to a TIFF or JPEG first"


def camera_of(data: bytes) -> str | None:
    """Whose raw file it is, or of which kind; None for files of other kinds."""
    found = (name for mark, name in _CAMERAS.items() if re.match(mark, data, re.DOTALL))
    name = next(found, None)
    if name is None and re.match(_TIFF, data):
        with tifffile.TiffFile(io.BytesIO(data)) as tiff:
            page: Any = tiff.pages.first
            if _DNG_VERSION in page.tags:
                return "DNG"
            if page.subfiletype & _THUMBNAIL:
                maker = page.tags.valueof(_MAKER, default="of no known maker")
                return " ".join(str(maker).split())
    return name


def decode_raw(data: bytes, camera: str) -> Photo:
    """The photograph as it was shot, as a 16-bit TIFF in sRGB: its white balance, its exposure.

    Raises:
        ImageError: LibRaw is not installed, or cannot read the whole of it.
    """
    kind = f"is a camera's raw file ({camera})"
    if find_spec("rawpy") is None:
        raise ImageError(f"{kind}; {_INSTEAD}, or pip install 'qdnet-keras[raw]' to read it")
    done = subprocess.run([sys.executable, "-m", _LIBRAW], input=data, capture_output=True)
    if done.returncode or _DAMAGE in done.stderr:
        said = done.stderr.decode(errors="replace").replace(_DAMAGE.decode(), "").splitlines()
        raise ImageError(
            f"{kind} that LibRaw cannot read ({said[-1] if said else 'it crashed'}); {_INSTEAD}"
        )
    found = Decoded("TIFF", *split_alpha(np.load(io.BytesIO(done.stdout))), is_turned=True)
    check_size(*found.colour.shape[1::-1])
    found.notes = [f"developed from a raw file ({camera})"]
    if re.match(_TIFF, data):
        with tifffile.TiffFile(io.BytesIO(data)) as tiff:
            found.exif = descriptive_exif(data, tiff, without={_MAKER_NOTE})
    return found.photo()
