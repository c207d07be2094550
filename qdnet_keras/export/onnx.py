"""Exports the score as ONNX, as a model of NVIDIA Triton's model repository.

    OUT/config.pbtxt          inputs, outputs, dynamic batching; written once, then yours to edit
    OUT/VERSION/model.onnx    the graph

The graph is that of the signature `score_copy`: input `copy`, float32 `[B, h, w, 3]` in 0..1, a
working copy of `qdnet_keras.photos.files.working_copy`; outputs `SCORES`, float32 `[B]`. It is
plain ONNX, without operators of another domain, and checks nothing: shapes beside the rank and the
channels, and values, are the client's care.
"""

from importlib import resources
from pathlib import Path

import numpy as np
import onnx
import onnx.inliner
import onnxruntime
import tensorflow as tf
import tf2onnx

from qdnet_keras.errors import PresetError
from qdnet_keras.export import versions
from qdnet_keras.export.saved_model import COPY
from qdnet_keras.files import new_folder, write_bytes
from qdnet_keras.model import graphs
from qdnet_keras.model.qdnet import QDNet
from qdnet_keras.model.scoring import WORKING_SIDE
from qdnet_keras.outcomes import SCORES
from qdnet_keras.photos.files import read_photo, working_copy

OPSET = 18
DOMAIN = "qdnet"
FILE, CONFIG = "model.onnx", "config.pbtxt"
SAMPLE = "samples/courtyard_reinhard.jpg"
TOLERANCE = 1e-3  # of a score, 0..100, between TensorFlow and ONNX

# TensorFlow's operators that tf2onnx has no translation for.
FUNCTIONS = {
    "Erfc": """(x) => (y) {
        one = Constant <value_float: float = 1.0> ()
        erf = Erf (x)
        y = Sub (one, erf)
    }""",
    "Xlogy": """(x, y) => (z) {
        zero = Constant <value_float: float = 0.0> ()
        nothing = Equal (x, zero)
        log = Log (y)
        product = Mul (x, log)
        z = Where (nothing, zero, product)
    }""",
    "RGBToHSV": """(rgb) => (hsv) {
        last = Constant <value_ints: ints = [-1]> ()
        zero = Constant <value_float: float = 0.0> ()
        one = Constant <value_float: float = 1.0> ()
        sixth = Constant <value_float: float = 0.16666667> ()
        third = Constant <value_float: float = 0.33333333> ()
        thirds = Constant <value_float: float = 0.66666667> ()
        r, g, b = Split <axis: int = -1, num_outputs: int = 3> (rgb)
        v = ReduceMax (rgb, last)
        least = ReduceMin (rgb, last)
        range = Sub (v, least)
        light = Greater (v, zero)
        v_or_one = Where (light, v, one)
        share = Div (range, v_or_one)
        s = Where (light, share, zero)
        coloured = Greater (range, zero)
        range_or_one = Where (coloured, range, one)
        unit = Div (sixth, range_or_one)
        g_b = Sub (g, b)
        b_r = Sub (b, r)
        r_g = Sub (r, g)
        of_red = Mul (unit, g_b)
        from_green = Mul (unit, b_r)
        of_green = Add (from_green, third)
        from_blue = Mul (unit, r_g)
        of_blue = Add (from_blue, thirds)
        is_red = Equal (r, v)
        is_green = Equal (g, v)
        not_red = Where (is_green, of_green, of_blue)
        around = Where (is_red, of_red, not_red)
        below = Less (around, zero)
        turned = Add (around, one)
        h = Where (below, turned, around)
        hsv = Concat <axis: int = -1> (h, s, v)
    }""",
}


def export(model: QDNet, out: str | Path, version: int | None = None) -> Path:
    """Writes `out/VERSION/`, which appears only when it is complete, and `out/config.pbtxt`.

    Before it appears, a photograph is scored by ONNX Runtime and compared.

    Args:
        out: Folder of the model in a model repository, Triton's `--model-repository`.
        version: Number of the version, by default one above the highest there is.

    Returns:
        The version's folder.

    Raises:
        OutputError: If the version exists already or the folder cannot be written.
        PresetError: If the network cannot be translated, or scores otherwise afterwards.
    """
    out = Path(out)
    package = resources.files("qdnet_keras")
    versions.check_new(out, version)
    translated = translate(model)
    _check(translated, model)
    with new_folder(out) as folder:
        (folder / FILE).write_bytes(translated.SerializeToString())
        if not (out / CONFIG).exists():
            write_bytes(out / CONFIG, package.joinpath("export", CONFIG).read_bytes())
        return versions.publish(folder, out, version)


def translate(model: QDNet) -> onnx.ModelProto:
    """The network's score as ONNX. Raises `PresetError` where an operator has no translation."""

    @tf.function(input_signature=[COPY], autograph=False)
    def score(copy: tf.Tensor) -> dict[str, tf.Tensor]:
        return dict(graphs.score(model)(copy))

    translated, _ = tf2onnx.convert.from_function(
        score,
        [COPY],
        opset=OPSET,
        custom_ops=dict.fromkeys(FUNCTIONS, DOMAIN),
        extra_opset=[onnx.helper.make_opsetid(DOMAIN, 1)],
    )
    for name, text in FUNCTIONS.items():
        head = f'<domain: "{DOMAIN}", opset_import: ["": {OPSET}]> {name} '
        translated.functions.append(onnx.parser.parse_function(head + text))
    translated = onnx.inliner.inline_local_functions(translated)
    for opset in [opset for opset in translated.opset_import if opset.domain]:
        translated.opset_import.remove(opset)
    try:
        onnx.checker.check_model(translated)
    except onnx.checker.ValidationError as error:
        why = str(error).splitlines()[0]
        raise PresetError(f"The network cannot be translated to ONNX ({why}).") from error
    return translated


def _check(translated: onnx.ModelProto, model: QDNet) -> None:
    """Raises `PresetError` unless a photograph scores as in TensorFlow."""
    sample = resources.files("qdnet_keras").joinpath(SAMPLE).read_bytes()
    copy = working_copy(read_photo(sample).pixels, WORKING_SIDE)[None]
    session = onnxruntime.InferenceSession(translated.SerializeToString())
    found = dict(zip(SCORES, session.run(list(SCORES), {"copy": copy}), strict=True))
    expected = graphs.score(model)(copy)
    off = max(float(np.abs(found[name] - expected[name]).max()) for name in SCORES)
    if not off <= TOLERANCE:
        raise PresetError(f"The ONNX graph scores a photograph {off:.2g} off the network's score.")
