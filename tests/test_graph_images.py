"""What an export does to files and pixels, against `photos.files`, Pillow and closed forms."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from qdnet_keras.export import pictures as graph_images
from qdnet_keras.model import copies
from qdnet_keras.photos import files as images

SIZES = [
    (32, 32),
    (33, 4097),
    (512, 512),
    (513, 512),
    (511, 700),
    (1024, 1024),
    (1025, 767),
    (701, 523),
    (97, 1300),
    (2000, 64),
    (3000, 1999),
]
MAX_PIXELS = 1_000_000
CASES = Path(__file__).parent / "data" / "serving"

working_copy = tf.function(
    lambda pixels: copies.working_copy(pixels, 512),
    input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8)],
)
decode = tf.function(
    lambda data: graph_images.decode_picture(data, MAX_PIXELS),
    input_signature=[tf.TensorSpec([], tf.string)],
    autograph=False,
)
decode_with_alpha = tf.function(
    lambda data: graph_images.decode_picture(data, MAX_PIXELS, channels=4),
    input_signature=[tf.TensorSpec([], tf.string)],
    autograph=False,
)
LEAST_SIDE = 40
decode_smaller = tf.function(
    lambda data: graph_images.decode_picture(data, MAX_PIXELS, least_side=LEAST_SIDE),
    input_signature=[tf.TensorSpec([], tf.string)],
    autograph=False,
)


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def picture(mode: str, size: tuple[int, int] = (77, 103)) -> Image.Image:
    image = Image.fromarray(noise(7, 9)).resize(size, Image.Resampling.BICUBIC)
    if mode.endswith("A"):
        image.putalpha(Image.linear_gradient("L").resize(size))
    return image.convert(mode)


def saved(image: Image.Image, format: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def png(width: int, height: int, bits: int, colour: int, data: bytes = b"") -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        body = kind + body
        return struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(data)), (b"IEND", b"")]
    return graph_images.PNG_SIGNATURE + b"".join(chunk(*parts) for parts in chunks)


@pytest.mark.parametrize("size", SIZES)
def test_working_copy_equals_the_numpy_one(size):
    pixels = noise(*size)
    expected = images.working_copy(pixels, 512)
    copy = working_copy(pixels[None])[0].numpy()
    assert copy.shape == expected.shape
    np.testing.assert_allclose(copy, expected, atol=1.2e-7)  # a unit of float32
    assert (copy != expected).mean() < 1e-3  # sums that end on the two sides of a tie


def test_working_copies_of_a_batch_are_those_of_its_pictures():
    batch = np.stack([noise(700, 600, seed) for seed in range(3)])
    together = working_copy(batch)
    for row, pixels in enumerate(batch):
        np.testing.assert_array_equal(together[row], working_copy(pixels[None])[0])


def test_conversions_equal_the_numpy_ones():
    values = np.linspace(-0.1, 1.1, 100_001, dtype=np.float32)
    np.testing.assert_array_equal(
        graph_images.from_float(values), images.from_float(values, np.uint8)
    )
    levels = np.arange(256, dtype=np.uint8)
    to_float = tf.function(copies.to_float)  # a graph divides otherwise than a single call
    np.testing.assert_array_equal(to_float(tf.constant(levels)), images.to_float(levels))


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1", "LA", "RGBA"])
def test_png_equals_the_python_path(mode):
    data = saved(picture(mode), "PNG")
    photo = images.read_photo(data)
    np.testing.assert_array_equal(decode(data), photo.pixels)
    alpha = decode_with_alpha(data)[..., 3]
    np.testing.assert_array_equal(alpha, 255 if photo.alpha is None else photo.alpha)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_png_of_few_bits_equals_the_python_path(bits):
    row_bytes = -(-43 * bits // 8)
    rows = [b"\0" + noise(1, row_bytes, row)[0, :, 0].tobytes() for row in range(40)]
    data = png(43, 40, bits, 0, b"".join(rows))
    np.testing.assert_array_equal(decode(data), images.read_photo(data).pixels)
    data = saved(picture("L").quantize(2**bits), "PNG", bits=bits, transparency=0)
    np.testing.assert_array_equal(decode(data), images.read_photo(data).pixels)


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_equals_pillow(subsampling, progressive):
    for seed, size in enumerate([(33, 47), (64, 64), (135, 118)]):
        image = Image.fromarray(noise(*size, seed))
        data = saved(image, "JPEG", quality=80, subsampling=subsampling, progressive=progressive)
        np.testing.assert_array_equal(decode(data), np.asarray(Image.open(io.BytesIO(data))))


def test_grey_jpeg_equals_pillow():
    data = saved(picture("L"), "JPEG")
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    np.testing.assert_array_equal(decode(data), expected)
    assert decode_with_alpha(data).shape[-1] == 4


@pytest.mark.parametrize("colour", [0, 128])
def test_the_emptiest_jpeg_is_read(colour):
    """Two codes of one bit for 64 pixels, of which one could be left out."""
    data = saved(Image.new("L", (1000, 1000), colour), "JPEG", progressive=True, optimize=True)
    assert len(data) < 2.2 * 1000 * 1000 / 64 / 8
    np.testing.assert_array_equal(decode(data), np.full((1000, 1000, 3), colour))


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize(
    ("size", "reduction"),
    [
        ((159, 90), 1),
        ((161, 90), 2),
        ((111, 321), 2),  # the narrow side would fall below 32 pixels
        ((333, 129), 4),
        ((257, 647), 8),
        ((999, 641), 8),
    ],
)
def test_a_large_jpeg_is_read_smaller_as_the_commands_do(mode, size, reduction):
    data = saved(picture(mode, size), "JPEG", quality=85)
    read = images.read_photo(data, least_side=LEAST_SIDE).pixels
    assert read.shape == (-(-size[1] // reduction), -(-size[0] // reduction), 3)
    np.testing.assert_array_equal(decode_smaller(data), read)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "neither a PNG nor a JPEG"),
        (b"RIFF1234WEBPVP8 " * 9, "neither a PNG nor a JPEG"),
        (saved(picture("RGB"), "TIFF"), "neither a PNG nor a JPEG"),
        (graph_images.PNG_SIGNATURE, "cut short"),
        ((CASES / "png_first_chunk_not_ihdr.png").read_bytes(), "not its header"),
        ((CASES / "jpeg_claims_5000x5000.jpg").read_bytes(), "cannot hold the picture"),
        (saved(picture("RGB"), "PNG")[:300], "Invalid PNG"),
        (saved(picture("RGB"), "JPEG")[:700], "Invalid JPEG"),
        (b"\xff\xd8\xff" + bytes(99), "Invalid JPEG"),
        (saved(picture("CMYK"), "JPEG"), "CMYK"),
        (png(64, 64, 16, 2, bytes(64 * 385)), "16 bits"),
        (png(31, 64, 8, 2), "at least 32 pixels"),
        (png(0, 0, 8, 2), "at least 32 pixels"),
        (png(2**31 + 5, 64, 8, 2), "at least 32 pixels"),
        (png(32, 32 * 257, 8, 2), "256 times"),
        (png(60_000, 60_000, 8, 2), "1 megapixels"),
        (png(2**31 - 1, 2**31 - 1, 8, 2), "1 megapixels"),
        (saved(Image.new("RGB", (1001, 1000)), "JPEG"), "1 megapixels"),
    ],
)
def test_unfit_files_are_refused_with_a_sentence(data, sentence):
    with pytest.raises(tf.errors.InvalidArgumentError, match=sentence):
        decode(data)
