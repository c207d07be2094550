"""What the client sends: TF-Serving's own message classes and image decoders read it."""

import imagecodecs
import numpy as np
import pytest
import tensorflow as tf
from photo_files import ORIENTATION, SRGB, files_of_other_kinds
from PIL import Image
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2

from qdnet_keras.client import messages, pictures
from qdnet_keras.client.transport import Model
from qdnet_keras.defaults import WORKING_SIDE
from qdnet_keras.errors import ImageError
from qdnet_keras.photos.files import read_photo_and_bytes, working_copy

ARRAYS = [
    np.array([[1.5, -2.25, 3e38]], np.float32),
    np.array([1e-300], np.float64),
    np.arange(24, dtype=np.uint8).reshape(1, 2, 4, 3) * 10,
    np.array([-(2**31), 2**31 - 1], np.int32),
    np.array([-(2**63)], np.int64),
    np.array([True, False]),
    np.array([b"\x00\xff", b"", b"picture"], object),
    np.zeros((0, 5), np.float32),
    np.array(7.0, np.float32),
]


# --- The messages ---------------------------------------------------------------------------------


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{array.shape}")
def test_tensors_are_those_of_tensorflow(array):
    written = TensorProto.FromString(messages.to_tensor(array).SerializeToString())
    np.testing.assert_array_equal(tf.make_ndarray(written), array)
    for proto in (tf.make_tensor_proto(array), _as_proto_field(array)):
        read = messages.to_array(messages.Tensor.FromString(proto.SerializeToString()))
        assert read.dtype == array.dtype
        np.testing.assert_array_equal(read, array)


def _as_proto_field(array: np.ndarray) -> TensorProto:
    """One value a field, as TF-Serving answers by default."""
    proto = tf.make_tensor_proto(array)
    if array.dtype == object:
        return proto
    field = messages._DTYPES[array.dtype][1]
    getattr(proto, field)[:] = array.ravel().tolist()
    proto.tensor_content = b""
    return proto


def test_values_left_out_at_the_end_equal_the_last_one():
    proto = TensorProto(dtype=tf.float32.as_datatype_enum, float_val=[1, 2])
    proto.tensor_shape.dim.add(size=5)
    read = messages.to_array(messages.Tensor.FromString(proto.SerializeToString()))
    np.testing.assert_array_equal(read, tf.make_ndarray(proto))


def test_tensors_of_other_types_are_refused():
    proto = tf.make_tensor_proto(np.array([1j], np.complex64))
    with pytest.raises(ValueError, match="not supported"):
        messages.to_array(messages.Tensor.FromString(proto.SerializeToString()))


@pytest.mark.parametrize("chosen", [{}, {"version": 7}, {"label": "canary"}])
def test_requests_are_those_of_tf_serving(chosen):
    target = np.array([50], np.float32)
    model = Model("qdnet", **chosen)
    ours = messages.predict_request(model, "enhance", {"target": target})
    request = predict_pb2.PredictRequest.FromString(ours.SerializeToString())
    spec = request.model_spec
    assert (spec.name, spec.signature_name) == ("qdnet", "enhance")
    assert spec.WhichOneof("version_choice") == {
        "version": "version",
        "label": "version_label",
    }.get(*chosen or [None])
    assert spec.version.value == chosen.get("version", 0)
    assert spec.version_label == chosen.get("label", "")
    np.testing.assert_array_equal(tf.make_ndarray(request.inputs["target"]), target)
    asked = get_model_metadata_pb2.GetModelMetadataRequest.FromString(
        messages.metadata_request(model).SerializeToString()
    )
    assert list(asked.metadata_field) == ["signature_def"]
    spec.signature_name = ""
    assert asked.model_spec == spec


# --- Pictures -------------------------------------------------------------------------------------


def _server_decodes(data: bytes) -> np.ndarray:
    """As the exported graph does."""
    if data.startswith(b"\xff\xd8\xff"):
        return tf.io.decode_jpeg(data, 3, dct_method="INTEGER_ACCURATE").numpy()
    return tf.io.decode_png(data, 3).numpy()


def test_what_is_sent_decodes_to_the_pixels_of_the_photo(tmp_path):
    for name, path in files_of_other_kinds(tmp_path).items():
        photo, data = read_photo_and_bytes(path)
        pixels = photo.srgb
        if photo.depth == 16:
            pixels = np.rint(pixels / 257.0).astype(np.uint8)
        for sent in (pictures.to_file(photo, data), pictures.to_score(path)):
            np.testing.assert_array_equal(_server_decodes(sent), pixels, err_msg=name)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "grey.jpg", "grey.png", "exif.jpg", "icc.png"])
def test_plain_files_travel_as_they_are(photo, name):
    upright = Image.Exif()
    upright[ORIENTATION] = 1
    options = {"exif.jpg": {"exif": upright}, "icc.png": {"icc_profile": SRGB}}.get(name, {})
    path = photo(name, quality=80, **options)
    if name.startswith("grey"):
        Image.open(path).convert("L").save(path)
    read, data = read_photo_and_bytes(path)
    assert pictures.to_file(read, data) == pictures.to_score(path) == path.read_bytes()
    np.testing.assert_array_equal(_server_decodes(data), read.pixels)


@pytest.mark.parametrize("kind", ["png without end", "jpeg without end", "lossless jpeg"])
def test_what_tensorflow_cannot_decode_travels_as_a_new_png(photo, kind):
    path = photo("a.png" if "png" in kind else "a.jpg")
    if kind == "lossless jpeg":
        path.write_bytes(imagecodecs.jpeg8_encode(np.asarray(Image.open(path)), lossless=True))
    else:
        path.write_bytes(path.read_bytes()[: -12 if "png" in kind else -2])
    read, data = read_photo_and_bytes(path)
    with pytest.raises(tf.errors.InvalidArgumentError):
        _server_decodes(data)
    for sent in (pictures.to_file(read, data), pictures.to_score(path)):
        np.testing.assert_array_equal(_server_decodes(sent), read.pixels)


@pytest.mark.parametrize("size", [(1540, 900), (3201, 2201)])
def test_a_turned_jpeg_is_read_smaller_where_its_score_is_all_that_counts(photo, size):
    """As the server reads one that is upright, and as the commands do without a server."""
    turned = Image.Exif()
    turned[ORIENTATION] = 6
    path = photo("a.jpg", size=size, exif=turned)
    smaller, data = read_photo_and_bytes(path, least_side=WORKING_SIDE)
    assert smaller.turned and max(smaller.pixels.shape) < max(size)
    for sent in (pictures.to_file(smaller, data), pictures.to_score(path)):
        np.testing.assert_array_equal(_server_decodes(sent), smaller.srgb)
    np.testing.assert_array_equal(
        pictures.to_copy(path, WORKING_SIDE), working_copy(smaller.srgb, WORKING_SIDE)
    )
    whole = _server_decodes(pictures.to_render(path))
    np.testing.assert_array_equal(whole, read_photo_and_bytes(path)[0].srgb)


def test_photos_above_the_limit_are_averaged_for_scoring_and_not_rendered(monkeypatch, photo):
    monkeypatch.setattr(pictures, "MAX_PIXELS", 40 * 40)
    read, data = read_photo_and_bytes(photo("a.png", size=(96, 64)))
    sent = _server_decodes(pictures.to_file(read, data))
    assert sent.shape[0] * sent.shape[1] <= 40 * 40
    np.testing.assert_allclose(sent.mean((0, 1)), read.pixels.mean((0, 1)), atol=0.5)
    with pytest.raises(ImageError, match=r"a\.png has .* megapixels"):
        pictures.check_renderable(read.pixels, "a.png")
    monkeypatch.setattr(pictures, "MAX_PIXELS", 1000 * 1000)
    smaller, data = read_photo_and_bytes(photo("a.jpg", size=(1540, 900)), least_side=WORKING_SIDE)
    np.testing.assert_array_equal(_server_decodes(pictures.to_file(smaller, data)), smaller.pixels)


def test_animations_are_refused_as_they_are_without_a_server(photo):
    path = photo("a.png")
    Image.open(path).save(path, save_all=True, append_images=[Image.open(photo("b.png", seed=1))])
    with pytest.raises(ImageError, match="animated PNG"):
        pictures.to_score(path)
