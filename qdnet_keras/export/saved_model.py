"""Exports a network as a SavedModel for TF-Serving: preprocessing and whole algorithm in the graph.

| signature | inputs | outputs |
|---|---|---|
| `score`, also `serving_default` | `image` uint8 `[B, H, W, 3]` | `SCORES` `[B]` |
| `score_copy` | `copy` float32 `[B, h, w, 3]`, see `photos.files.working_copy` | `SCORES` `[B]` |
| `enhance` | `image`, `target` float32 `[B]` | `image` like the input, and `RESULTS` |
| `score_bytes` | `image_bytes` string `[B]`, PNG or JPEG | `SCORES` `[B]` |
| `enhance_bytes` | `image_bytes`, `target` | `image_bytes` (PNG), and `RESULTS` |

`SCORES` are `score`, `mos`, `mos_std` and `novelty`, float32, see `qdnet_keras.outcomes.Score`.
`RESULTS` are `score_before`, `score_after`, `epsilon` (float32) and `reached` (bool), each `[B]`.
The pictures of one `*_bytes` request may differ in size; an alpha channel goes through
`enhance_bytes` as it is. Every row is computed on its own, except that the rows of `score` and of
`score_copy` share a pass of the encoder; working copies of one aspect have one size, so that a
server can join requests. Unfit input is refused with INVALID_ARGUMENT and a sentence before
anything large is computed.
"""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from qdnet_keras.errors import OutputError, PresetError
from qdnet_keras.export import versions, warmup
from qdnet_keras.export.pictures import checked, decode_picture, from_float, size_checks
from qdnet_keras.files import new_folder
from qdnet_keras.model import enhancement, graphs
from qdnet_keras.model.copies import in_bands, to_float, working_copy
from qdnet_keras.model.enhancement import BAND_PIXELS, TOLERANCE
from qdnet_keras.model.qdnet import QDNet
from qdnet_keras.model.scoring import WORKING_SIDE
from qdnet_keras.outcomes import RESULTS, SCORES
from qdnet_keras.photos.files import MIN_SIDE

MAX_PIXELS = 32_000_000
MAX_BATCH = 32

IMAGE = tf.TensorSpec([None, None, None, 3], tf.uint8, "image")
COPY = tf.TensorSpec([None, None, None, 3], tf.float32, "copy")
IMAGE_BYTES = tf.TensorSpec([None], tf.string, "image_bytes")
TARGET = tf.TensorSpec([None], tf.float32, "target")


class Endpoints:
    """The signatures of a network as graph functions.

    Args:
        model: Network with a filled bank when `sampler` is `"bank"`.
        sampler, tolerance: As for `enhance_pixels`; fixed in the export.
        long_side: Long side of the working copy, pixels.
        max_pixels: Most pixels of a picture, and of all pictures of an `image` tensor together.
    """

    def __init__(
        self,
        model: QDNet,
        *,
        sampler: str = "bank",
        tolerance: float = TOLERANCE,
        long_side: int = WORKING_SIDE,
        max_pixels: int = MAX_PIXELS,
    ):
        self.model = model
        self.tolerance = tolerance
        self.long_side = long_side
        self.max_pixels = max_pixels
        # Graphs that the network has once, so that they are stored once and not per signature.
        self._score_copy = graphs.score(model)
        self._find_change = enhancement.graph(model, sampler)
        self._rerender = graphs.rerender(model)
        self._enhance = tf.function(self._enhance_picture, autograph=False).get_concrete_function(
            tf.TensorSpec([None, None, 3], tf.uint8), tf.TensorSpec([])
        )

    def signatures(self) -> dict[str, tuple[Any, list[tf.TensorSpec]]]:
        """Graph function and input specification of each signature."""
        return {
            "score": (self.score, [IMAGE]),
            "score_copy": (self.score_copy, [COPY]),
            "enhance": (self.enhance, [IMAGE, TARGET]),
            "score_bytes": (self.score_bytes, [IMAGE_BYTES]),
            "enhance_bytes": (self.enhance_bytes, [IMAGE_BYTES, TARGET]),
        }

    def score(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        return self._score(self._checked_image(image))

    def score_copy(self, copy: tf.Tensor) -> dict[str, tf.Tensor]:
        copy = self._checked_image(copy)
        short, long = (find(tf.shape(copy)[1:3]) for find in (tf.reduce_min, tf.reduce_max))
        sized = (long <= self.long_side) | (short == MIN_SIDE)
        too_long = f"The long side of a working copy has at most {self.long_side} pixels."
        in_range = tf.reduce_all((copy >= 0.0) & (copy <= 1.0))  # false for NaN
        return self._score_copy(
            checked(copy, [(sized, too_long), (in_range, "Every value must be in 0..1.")])
        )

    def enhance(self, image: tf.Tensor, target: tf.Tensor) -> dict[str, tf.Tensor]:
        image = self._checked_image(image)
        target = _checked_target(target, tf.shape(image)[0])
        return _map_rows(
            lambda row: self._enhance(row[0], row[1]),
            (image, target),
            {"image": tf.TensorSpec([None, None, 3], tf.uint8), **_RESULT_SPECS},
        )

    def score_bytes(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        def score(data: tf.Tensor) -> dict[str, tf.Tensor]:
            picture = decode_picture(data, self.max_pixels, least_side=self.long_side)
            scores = self._score(picture[None])
            return {name: values[0] for name, values in scores.items()}

        specs = {name: tf.TensorSpec([], tf.float32) for name in SCORES}
        return _map_rows(score, _checked_batch(image_bytes, 1), specs)

    def enhance_bytes(self, image_bytes: tf.Tensor, target: tf.Tensor) -> dict[str, tf.Tensor]:
        def enhance(row: tuple[tf.Tensor, tf.Tensor]) -> dict[str, tf.Tensor]:
            picture = decode_picture(row[0], self.max_pixels, channels=4)
            outputs = self._enhance(picture[..., :3], row[1])
            return {"image_bytes": _encode(outputs.pop("image"), picture[..., 3:]), **outputs}

        image_bytes = _checked_batch(image_bytes, 1)
        target = _checked_target(target, tf.shape(image_bytes)[0])
        specs = {"image_bytes": tf.TensorSpec([], tf.string), **_RESULT_SPECS}
        return _map_rows(enhance, (image_bytes, target), specs)

    def _checked_image(self, image: tf.Tensor) -> tf.Tensor:
        image = _checked_batch(image, 4)
        shape = tf.shape(image, tf.int64)
        too_many = (
            f"The pictures of a request exceed {self.max_pixels / 1e6:g} megapixels together; "
            "send fewer at a time."
        )
        checks = size_checks(shape[1:3], self.max_pixels)
        return checked(image, [*checks, (tf.reduce_prod(shape[:3]) <= self.max_pixels, too_many)])

    def _score(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        return self._score_copy(working_copy(image, self.long_side))

    def _enhance_picture(self, picture: tf.Tensor, target: tf.Tensor) -> dict[str, tf.Tensor]:
        """`enhancement.enhance_pixels` of uint8 `[H, W, 3]`."""
        image = picture[None]
        is_small = tf.reduce_max(tf.shape(picture)[:2]) <= enhancement.SMALL * self.long_side
        proof = tf.cond(
            is_small, lambda: to_float(image), lambda: working_copy(image, self.long_side)
        )
        found = self._find_change(
            proof,
            is_small,
            np.int32(self.long_side),
            target[None],
            np.float32(self.tolerance),
            np.int32(0),
        )

        def render(epsilon: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            change = enhancement.change_at(self.model, found, epsilon)
            output = self._render(change, image)
            return self._score(output)["score"][0], tf.ensure_shape(output[0], picture.shape)

        epsilon, after, output = enhancement.settle(
            render, found, picture, target, np.float32(self.tolerance)
        )
        reached = tf.abs(after - target) <= self.tolerance
        results = zip(RESULTS, (found.score_before[0], after, epsilon, reached), strict=True)
        return {"image": output, **dict(results)}

    def _render(self, change: enhancement.Change, image: tf.Tensor) -> tf.Tensor:
        """`enhancement.render_pixels` of uint8 `[1, H, W, 3]`."""
        size = tf.shape(image)[1:3]

        def band(first: tf.Tensor, stop: tf.Tensor) -> tf.Tensor:
            pixels = to_float(image[:, first:stop])
            origin = tf.stack([first, 0])
            return from_float(self._rerender(pixels, *change, origin, size))

        rows = tf.maximum(1, BAND_PIXELS // size[1])
        return in_bands(band, size[0], rows, tf.uint8, 3)


_RESULT_SPECS = {
    **{name: tf.TensorSpec([], tf.float32) for name in RESULTS[:3]},
    "reached": tf.TensorSpec([], tf.bool),
}


def _map_rows(function: Any, rows: Any, specs: dict[str, tf.TensorSpec]) -> dict[str, tf.Tensor]:
    """One row after the other: a result never depends on its neighbours, nor does the memory."""
    return tf.map_fn(function, rows, fn_output_signature=specs, parallel_iterations=1)


def _checked_batch(tensor: tf.Tensor, rank: int) -> tf.Tensor:
    """The rank is checked first: a wrong one aborts the process in later kernels."""
    tensor = tf.ensure_shape(tensor, [None] * (rank - 1) + [3] if rank > 1 else [None])
    count = tf.shape(tensor)[0]
    too_many = f"A request may hold at most {MAX_BATCH} pictures; send fewer at a time."
    return checked(
        tensor, [(count > 0, "The batch is empty; send a picture."), (count <= MAX_BATCH, too_many)]
    )


def _checked_target(target: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    target = tf.ensure_shape(target, [None])
    in_range = tf.reduce_all((target >= 0.0) & (target <= 100.0))  # false for NaN
    return checked(
        target,
        [
            (tf.shape(target)[0] == count, "There must be one target for each picture."),
            (in_range, "Every target must be a score in 0..100."),
        ],
    )


def _encode(pixels: tf.Tensor, alpha: tf.Tensor) -> tf.Tensor:
    """PNG bytes; the alpha channel is left out where every pixel is opaque."""
    return tf.cond(
        tf.reduce_all(alpha == 255),
        lambda: tf.io.encode_png(pixels, compression=3),
        lambda: tf.io.encode_png(tf.concat([pixels, alpha], axis=-1), compression=3),
    )


def export(model: QDNet, out: str | Path, version: int | None = None, **options: Any) -> Path:
    """Writes `out/VERSION/`, which appears only when it is complete.

    Args:
        out: Folder of the model's versions, `--model_base_path` of TF-Serving.
        version: Number of the version, by default one above the highest there is.
        **options: See `Endpoints`.

    Returns:
        The version's folder.

    Raises:
        OutputError: If the version exists already or the folder cannot be written.
        PresetError: If the sampler is the bank and the model has none.
    """
    if options.get("sampler", "bank") == "bank" and not model.bank_size:
        raise PresetError("The preset has no bank of qualities; export with the sampler prior.")
    out = Path(out)
    versions.check_new(out, version)
    with new_folder(out) as folder:
        archive = keras.export.ExportArchive()
        for name, (function, specs) in Endpoints(model, **options).signatures().items():
            archive.add_endpoint(name, function, specs)
        try:
            archive.write_out(str(folder), verbose=False)
            warmup.write(folder, out.resolve().name)
        except tf.errors.OpError as error:  # how TensorFlow tells of a full disk
            why = error.message.rpartition("; ")[2].partition(" [Op:")[0]
            raise OutputError(f"{out} cannot be written ({why}).") from error
        return versions.publish(folder, out, version)


def describe(folder: Path) -> dict[str, dict[str, dict[str, str]]]:
    """Inputs and outputs of each signature of an exported version.

    Returns:
        `{"score": {"inputs": {"image": "uint8 [?, ?, ?, 3]"}, "outputs": {...}}, ...}`.
    """
    saved = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    return {
        name: {
            "inputs": {key: _kind(info) for key, info in sorted(signature.inputs.items())},
            "outputs": {key: _kind(info) for key, info in sorted(signature.outputs.items())},
        }
        for name, signature in sorted(saved.meta_graphs[0].signature_def.items())
        if not name.startswith("__")
    }


def _kind(info: meta_graph_pb2.TensorInfo) -> str:
    sizes = ["?" if dim.size < 0 else str(dim.size) for dim in info.tensor_shape.dim]
    return f"{tf.as_dtype(info.dtype).name} [{', '.join(sizes)}]"
