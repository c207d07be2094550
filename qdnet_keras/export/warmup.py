"""Requests that a server runs before it uses a new version: the first run of a graph is slow."""

import io
from importlib import resources
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from qdnet_keras.photos.files import read_photo, to_float

FILE = Path("assets.extra", "tf_serving_warmup_requests")  # where TF-Serving looks
SAMPLE = "samples/sunrise_washed.jpg"
SIZE = (256, 192)
TARGET = 50.0


def write(folder: Path, model: str) -> None:
    """Records one request for each signature in the folder of an exported version.

    Args:
        model: Name under which the model will be served.
    """
    (folder / FILE).parent.mkdir()
    with tf.io.TFRecordWriter(str(folder / FILE)) as writer:
        for signature, inputs in requests().items():
            request = predict_pb2.PredictRequest(
                inputs={name: tf.make_tensor_proto(values) for name, values in inputs.items()}
            )
            request.model_spec.name = model
            request.model_spec.signature_name = signature
            log = prediction_log_pb2.PredictLog(request=request)
            writer.write(prediction_log_pb2.PredictionLog(predict_log=log).SerializeToString())


def requests() -> dict[str, dict[str, np.ndarray]]:
    """Inputs for each signature: a small copy of a bundled photograph."""
    sample = resources.files("qdnet_keras").joinpath(SAMPLE).read_bytes()
    picture = Image.fromarray(read_photo(sample).pixels).resize(SIZE)
    files = []
    for format in ("JPEG", "PNG"):
        file = io.BytesIO()
        picture.save(file, format)
        files.append(file.getvalue())
    image, image_bytes = np.asarray(picture)[None], np.array(files, object)
    return {
        "serving_default": {"image": image},  # a graph of its own, though it is that of `score`
        "score": {"image": image},
        "score_copy": {"copy": to_float(image)},
        "enhance": {"image": image, "target": np.array([TARGET], np.float32)},
        "score_bytes": {"image_bytes": image_bytes},
        "enhance_bytes": {"image_bytes": image_bytes, "target": np.full(2, TARGET, np.float32)},
    }
