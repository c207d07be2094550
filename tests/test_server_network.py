"""The local server with the exported network."""

import base64
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from conftest import EXPORTED_SIDE
from grpc import StatusCode
from served_arithmetic import code_of
from serving_process import ServingProcess

CASES = Path(__file__).parent / "data" / "serving"


def bomb(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(10**6)))


def test_the_exported_network_stands_hostile_requests(exported):
    from qdnet_keras import QDNet
    from qdnet_keras.defaults import DEFAULT_PRESET
    from qdnet_keras.model.scoring import score_pixels
    from qdnet_keras.photos.files import read_photo

    preset = QDNet.from_preset(DEFAULT_PRESET)
    image = np.random.default_rng(0).integers(0, 256, (1, 65, 99, 3), np.uint8)
    expected = score_pixels(preset, image[0], EXPORTED_SIDE)
    unlucky = (CASES / "eq3.png").read_bytes()  # which a graph of its own scored otherwise
    expected_unlucky = score_pixels(preset, read_photo(unlucky).pixels, EXPORTED_SIDE)
    png = tf.io.encode_png(image[0]).numpy()
    server = ServingProcess("local", exported, "--no-warm-up")
    try:
        for signature, inputs in [
            ("score", {"image": image[0]}),
            ("score", {"image": image[None]}),
            ("score", {"image": image[:0]}),
            ("score", {"image": np.zeros((1, 6000, 6000, 3), np.uint8)}),
            ("score_bytes", {"image_bytes": [bomb(60_000, 60_000)]}),
            ("score_bytes", {"image_bytes": [png[:-300]]}),
            ("score_bytes", {"image_bytes": [os.urandom(5000)]}),
            ("score_bytes", {"image_bytes": [(CASES / "jpeg_claims_5000x5000.jpg").read_bytes()]}),
        ]:
            code, _ = code_of(server.predict, signature, **inputs)
            assert code == StatusCode.INVALID_ARGUMENT
        assert server.predict("score", image=image)["score"][0] == pytest.approx(
            expected.score, abs=1e-4
        )
        (score,) = server.predict("score_bytes", image_bytes=[unlucky])["score"]
        assert score == pytest.approx(expected_unlucky.score, abs=1e-4)
        body = {
            "signature_name": "score_bytes",
            "instances": [{"b64": base64.b64encode(png).decode()}] * 2,
        }
        status, answer = server.rest(":predict", body=body)
        assert status == 200
        for prediction in answer["predictions"]:
            assert prediction["score"] == pytest.approx(expected.score, abs=1e-4)
            assert prediction["mos"] == pytest.approx(expected.mos, abs=1e-4)
            assert prediction["mos_std"] == pytest.approx(expected.mos_std, abs=1e-4)
    finally:
        assert server.stop() == 0
