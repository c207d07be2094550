"""XMP packets: what they say of the pixels is brought up to date, the rest stays as it is."""

import re

JPEG_SEGMENT = b"http://ns.adobe.com/xap/1.0/\0"
JPEG_EXTENSION = b"http://ns.adobe.com/xmp/extension/\0"

_ORIENTATION = re.compile(rb"(tiff:Orientation(?:\s*=\s*[\"']|>))([1-8])")
_SIZES = {
    rb"(?:exif:PixelXDimension|tiff:ImageWidth)": 0,
    rb"(?:exif:PixelYDimension|tiff:ImageLength)": 1,
}
_BESIDE = rb"(?:(?:hdrgm|HDRGainMap):\w+|G?Camera:(?:MotionPhoto|MicroVideo)\w*)"
_STALE = (
    rb"<(xmp|xap):Thumbnails\b.*?</\1:Thumbnails>",
    rb"<(Container):Directory\b.*?</\1:Directory>",
    rb"\s" + _BESIDE + rb"\s*=\s*(?:\"[^\"]*\"|'[^']*')",
    rb"<(" + _BESIDE + rb")\b[^>]*?(?:/>|>.*?</\1>)",
)
_HAS_EXTENSION = rb"\sxmpNote:HasExtendedXMP\s*=\s*(?:\"[^\"]*\"|'[^']*')"
_HAS_EXTENSION_ELEMENT = rb"<xmpNote:HasExtendedXMP\b.*?</xmpNote:HasExtendedXMP>"
_END = b"<?xpacket end"


def orientation_of(xmp: bytes) -> int:
    """Orientation 1..8 that a packet asks for; 0 where it does not."""
    found = _ORIENTATION.search(xmp)
    return int(found[2]) if found else 0


def upright_xmp(xmp: bytes, width: int, height: int) -> bytes:
    """The packet for upright pixels of this size, without thumbnails, gain maps and videos."""
    xmp = _ORIENTATION.sub(rb"\g<1>1", xmp)
    for name, axis in _SIZES.items():
        value = b"%d" % (width, height)[axis]
        xmp = re.sub(rb"(" + name + rb"(?:\s*=\s*[\"']|>))\d+", rb"\g<1>" + value, xmp)
    for stale in _STALE:
        xmp = re.sub(stale, b"", xmp, flags=re.DOTALL)
    return xmp


def without_extension(xmp: bytes) -> bytes:
    """The packet without its pointer to an extension, which only JPEG has."""
    xmp = re.sub(_HAS_EXTENSION, b"", xmp)
    return re.sub(_HAS_EXTENSION_ELEMENT, b"", xmp, flags=re.DOTALL)


def without_padding(xmp: bytes) -> bytes:
    """The packet without the room that editors leave at its end."""
    packet, end, rest = xmp.partition(_END)
    return packet.rstrip() + b"\n" + end + rest if end else xmp
