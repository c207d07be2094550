"""Requests that a server must refuse and outlive."""

import struct
import zlib
from pathlib import Path

import numpy as np
from workload import Call, jpeg, photograph

from qdnet_keras.client.messages import PredictRequest

SIGNATURE = b"\x89PNG\r\n\x1a\n"
RESOURCE, VARIANT = 20, 21  # types of TensorFlow's tensors
UNFINISHED = b'{"instances": ['

FILES = Path(__file__).parents[1] / "tests" / "data" / "serving"


def messages() -> dict[str, bytes]:
    """Predict messages of a few bytes that announce much, or what no client writes."""
    found = {file.stem: file.read_bytes() for file in sorted(FILES.glob("predict_*.pb"))}
    for name, kind in {"resource": RESOURCE, "variant": VARIANT}.items():
        request = PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = "qdnet", "score"
        request.inputs.add(key="image").value.dtype = kind
        found[name] = request.SerializeToString()
    return found


def http_requests() -> dict[str, bytes]:
    """Requests to the REST port; one ends with `UNFINISHED` and never goes on."""
    head = b"POST /v1/models/qdnet:predict HTTP/1.1\r\nHost: localhost\r\n"
    found = {}
    for file in sorted(FILES.glob("rest_*.json")):
        body = file.read_bytes()
        found[file.stem] = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    both = b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    found["two lengths of a body"] = head + both
    found["a body that stops"] = head + b"Content-Length: 1000\r\n\r\n" + UNFINISHED
    return found


def calls() -> dict[str, Call]:
    """A call of each kind."""
    rng = np.random.default_rng(0)
    pixels = photograph(0.1, 0)
    good = jpeg(pixels)
    height, width = pixels.shape[:2]
    return {
        "random bytes": _score(rng.bytes(50_000)),
        "no bytes": _score(b""),
        "random bytes after a JPEG signature": _score(b"\xff\xd8\xff\xe0" + rng.bytes(50_000)),
        "JPEG too short for its size": _score((FILES / "jpeg_claims_5000x5000.jpg").read_bytes()),
        "truncated JPEG": _score(good[: len(good) // 2]),
        "truncated PNG": _score(png(256, 256, zlib.compress(bytes(1000)))),
        "PNG bomb": _score(png(20_000, 20_000, _zeros(20_000 * 20_001))),
        "PNG of impossible size": _score(png(2**31 - 1, 2**31 - 1, b"")),
        "PNG without a header": _score((FILES / "png_first_chunk_not_ihdr.png").read_bytes()),
        "rank 3": Call("score", {"image": pixels}),
        "rank 5": Call("score", {"image": pixels[None, None]}),
        "four channels": Call("score", {"image": np.zeros((1, height, width, 4), np.uint8)}),
        "floats": Call("score", {"image": pixels[None].astype(np.float32)}),
        "too small": Call("score", {"image": pixels[None, :8, :8]}),
        "zero batch": Call("score", {"image": np.zeros((0, height, width, 3), np.uint8)}),
        "zero batch of bytes": Call("score_bytes", {"image_bytes": np.array([], np.object_)}),
        "NaN target": _enhance(good, np.nan),
        "infinite target": _enhance(good, np.inf),
        "two targets": Call(
            "enhance_bytes",
            {"image_bytes": _bytes(good), "target": np.array([40, 50], np.float32)},
        ),
        "no target": Call("enhance_bytes", {"image_bytes": _bytes(good)}),
        "200 MB": _score(rng.bytes(200_000_000)),
        "200 MB of pixels": Call("score", {"image": np.zeros((1, 8200, 8200, 3), np.uint8)}),
    }


def png(width: int, height: int, compressed: bytes) -> bytes:
    """A grey 8-bit PNG with these compressed rows, right or not."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = _chunk(b"IHDR", header) + _chunk(b"IDAT", compressed) + _chunk(b"IEND", b"")
    return SIGNATURE + chunks


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _zeros(count: int) -> bytes:
    """So many zeros, compressed a megabyte at a time."""
    compressor = zlib.compressobj(9)
    parts = [
        compressor.compress(bytes(min(1 << 20, count - at))) for at in range(0, count, 1 << 20)
    ]
    return b"".join([*parts, compressor.flush()])


def _bytes(data: bytes) -> np.ndarray:
    return np.array([data], np.object_)


def _score(data: bytes) -> Call:
    return Call("score_bytes", {"image_bytes": _bytes(data)})


def _enhance(data: bytes, target: float) -> Call:
    inputs = {"image_bytes": _bytes(data), "target": np.array([target], np.float32)}
    return Call("enhance_bytes", inputs)
