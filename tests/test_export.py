"""Exported networks in a process without this package, against the Python path."""

import io
import json
import pickle
import resource
import subprocess
import sys
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from conftest import EXPORTED_SIDE
from PIL import Image
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import prediction_log_pb2
from typer.testing import CliRunner

from qdnet_keras import QDNet
from qdnet_keras.cli import app
from qdnet_keras.defaults import DEFAULT_PRESET
from qdnet_keras.errors import OutputError, PresetError
from qdnet_keras.export import warmup
from qdnet_keras.export.saved_model import MAX_BATCH, export
from qdnet_keras.model.enhancement import TOLERANCE, Enhanced, enhance_pixels
from qdnet_keras.model.scoring import score_pixels
from qdnet_keras.photos.files import read_photo, working_copy

SAMPLES = Path(str(resources.files("qdnet_keras") / "samples"))
PHOTOGRAPHS = [  # how far on the way to where it can be brought
    ("dog_reinhard.jpg", 0.4),
    ("dog_bilateral.jpg", 0.4),
    ("sunrise_washed.jpg", 0.4),
    ("sunrise_washed.jpg", 0.6),
    ("dog_bilateral.jpg", 0.9),
]
SIZES = [
    (32, 32), (33, 47), (64, 91), (97, 35), (101, 103), (120, 160), (131, 37), (200, 33), (45, 260),
    (77, 113), (99, 99), (127, 40), (63, 129), (128, 43), (53, 300), (257, 65), (71, 331),
    (401, 117), (161, 523), (67, 83),
]  # fmt: skip
SIGNATURES = {"score", "score_copy", "serving_default", "enhance", "score_bytes", "enhance_bytes"}


def photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def file(pixels: np.ndarray, format: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format, quality=90)
    return buffer.getvalue()


def opened(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def enhanced(model: QDNet, pixels: np.ndarray, target: float) -> Enhanced:
    return enhance_pixels(model, pixels, target, long_side=EXPORTED_SIDE)


def check_rendering(
    model: QDNet, pixels: np.ndarray, score_after: float, expected: Enhanced
) -> None:
    """Python's within one level, and its score is that of exactly the picture returned."""
    assert np.abs(pixels.astype(int) - expected.pixels).max() <= 1
    again = score_pixels(model, pixels, EXPORTED_SIDE).score
    assert score_after == pytest.approx(again, abs=1e-3)
    assert score_after == pytest.approx(expected.score_after, abs=0.05)


def targets(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def files(*contents: bytes) -> np.ndarray:
    return np.array(contents, object)


PICTURES = [photo(*size, seed) for seed, size in enumerate(SIZES)]
BATCH = np.stack([photo(83, 67, seed) for seed in range(3)])
FILES = [file(pixels, "JPEG" if index % 2 else "PNG") for index, pixels in enumerate(PICTURES[:8])]
SEE_THROUGH = np.dstack([PICTURES[2], np.full((64, 91), 90, np.uint8)])
IMAGE = PICTURES[0][None]

REFUSED = {
    "rank 1": ("score", {"image": np.zeros(9, np.uint8)}, "not compatible"),
    "rank 3": ("score", {"image": PICTURES[0]}, "not compatible"),
    "rank 5": ("enhance", {"image": IMAGE[None], "target": targets(50)}, "not compatible"),
    "channels": ("score", {"image": np.zeros((1, 64, 64, 4), np.uint8)}, "not compatible"),
    "rank of bytes": ("score_bytes", {"image_bytes": files(FILES[0])[None]}, "not compatible"),
    "rank of target": ("enhance", {"image": IMAGE, "target": np.float32(50)}, "not compatible"),
    "empty batch": ("score", {"image": IMAGE[:0]}, "batch is empty"),
    "empty batch of bytes": ("score_bytes", {"image_bytes": files()}, "batch is empty"),
    "no pixels": ("score", {"image": np.zeros((1, 0, 64, 3), np.uint8)}, "at least 32"),
    "small": ("score", {"image": np.zeros((1, 31, 64, 3), np.uint8)}, "at least 32"),
    "large": ("score", {"image": np.zeros((1, 6000, 6000, 3), np.uint8)}, "32 megapixels"),
    "many": ("score", {"image": np.zeros((3, 4000, 3000, 3), np.uint8)}, "together"),
    "full": ("score", {"image": np.zeros((MAX_BATCH + 1, 32, 32, 3), np.uint8)}, "at most 32"),
    "strip": ("score", {"image": np.zeros((1, 32, 9000, 3), np.uint8)}, "256 times"),
    "copy too large": (
        "score_copy",
        {"copy": np.zeros((1, 64, 129, 3), np.float32)},
        "at most 128",
    ),
    "copy of NaN": ("score_copy", {"copy": np.full((1, 64, 64, 3), np.nan, np.float32)}, "0..1"),
    "copy of 0..255": ("score_copy", {"copy": np.full((1, 64, 64, 3), 2, np.float32)}, "0..1"),
    "NaN": ("enhance", {"image": IMAGE, "target": targets(np.nan)}, "0..100"),
    "above": ("enhance", {"image": IMAGE, "target": targets(100.5)}, "0..100"),
    "infinite": ("enhance", {"image": IMAGE, "target": targets(-np.inf)}, "0..100"),
    "lengths": ("enhance", {"image": IMAGE, "target": targets(50, 50)}, "one target for each"),
    "not a picture": ("score_bytes", {"image_bytes": files(b"hello")}, "neither a PNG"),
    "one bad of two": ("score_bytes", {"image_bytes": files(FILES[0], b"")}, "neither a PNG"),
}


@pytest.fixture(scope="module")
def model() -> QDNet:
    return QDNet.from_preset(DEFAULT_PRESET)


@pytest.fixture(scope="module")
def wanted(model: QDNet) -> list[float]:
    """A target for each picture: near ones, its own score, and ones out of reach."""
    offsets = [3.0, -1.5, 0.0, 40.0, -6.0]
    scores = [score_pixels(model, pixels, EXPORTED_SIDE).score for pixels in PICTURES]
    aims = np.clip([s + offsets[i % 5] for i, s in enumerate(scores)], 0.0, 100.0)
    return [float(np.float32(aim)) for aim in aims]


@pytest.fixture(scope="module")
def photographs(model: QDNet) -> list[tuple[str, float]]:
    """Names and targets that can be reached."""
    found = []
    for name, share in PHOTOGRAPHS:
        pixels = read_photo(SAMPLES / name).pixels
        before = score_pixels(model, pixels, EXPORTED_SIDE).score
        ends = [enhanced(model, pixels, target).score_after for target in (0.0, 100.0)]
        end = max(ends, key=lambda score: abs(score - before))
        found.append((name, float(np.float32(before + share * (end - before)))))
    return found


def ask(folder: Path, model_folder: Path, groups: dict[str, list]) -> dict[str, list]:
    """Answers, by group, to `(signature, inputs)` requests in a fresh process."""
    requests = [request for group in groups.values() for request in group]
    (folder / "requests").write_bytes(pickle.dumps(requests))
    script = Path(__file__).with_name("saved_model_process.py")
    paths = (model_folder, folder / "requests", folder / "answers")
    command = [sys.executable, "-I", script, *paths]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=1800)
    assert done.returncode == 0, done.stderr
    answers = iter(pickle.loads((folder / "answers").read_bytes()))
    return {name: [next(answers) for _ in group] for name, group in groups.items()}


@pytest.fixture(scope="module")
def answers(exported, wanted, photographs, tmp_path_factory) -> dict[str, list]:
    both = list(zip(PICTURES, wanted, strict=True))
    mixed = {"image_bytes": files(*FILES[:3]), "target": targets(*wanted[:3])}
    groups = {
        "refused": [request[:2] for request in REFUSED.values()],
        "default": [("serving_default", {"image": IMAGE})],
        "score": [("score", {"image": p[None]}) for p in PICTURES],
        "copies": [
            ("score_copy", {"copy": working_copy(p, EXPORTED_SIDE)[None]}) for p in PICTURES[:8]
        ],
        "score batch": [("score", {"image": BATCH})],
        "score rows": [("score", {"image": row[None]}) for row in BATCH],
        "enhance": [("enhance", {"image": p[None], "target": targets(t)}) for p, t in both],
        "enhance batch": [("enhance", {"image": BATCH, "target": targets(0, 50, 100)})],
        "enhance rows": [
            ("enhance", {"image": BATCH[i : i + 1], "target": targets(50.0 * i)}) for i in range(3)
        ],
        "score files": [("score_bytes", {"image_bytes": files(*FILES)})],
        "enhance files": [("enhance_bytes", mixed)],
        "photographs": [
            (
                "enhance_bytes",
                {"image_bytes": files((SAMPLES / name).read_bytes()), "target": targets(target)},
            )
            for name, target in photographs
        ],
        "alpha": [
            (
                "enhance_bytes",
                {"image_bytes": files(file(SEE_THROUGH, "PNG")), "target": targets(wanted[2])},
            )
        ],
    }
    return ask(tmp_path_factory.mktemp("process"), exported / "1", groups)


def test_weights_are_stored_once_and_nothing_needs_python_or_xla(exported, model):
    assert [entry.name for entry in exported.iterdir()] == ["1"]
    stored = sum(file.stat().st_size for file in (exported / "1" / "variables").iterdir())
    assert stored < 1.1 * 4 * sum(np.prod(weight.shape) for weight in model.weights)
    saved = saved_model_pb2.SavedModel.FromString((exported / "1" / "saved_model.pb").read_bytes())
    for graph in saved.meta_graphs:
        functions = graph.graph_def.library.function
        nodes = [*graph.graph_def.node, *(node for f in functions for node in f.node_def)]
        assert not {"PyFunc", "EagerPyFunc", "NumpyFunction"} & {node.op for node in nodes}
        for holder in (*functions, *nodes):
            assert not holder.attr["_XlaMustCompile"].b


def test_scores_equal_python(answers, model):
    for pixels, answer in zip(PICTURES, answers["score"], strict=True):
        expected = score_pixels(model, pixels, EXPORTED_SIDE)
        assert answer["score"] == pytest.approx([expected.score], abs=1e-4)
        assert answer["mos"] == pytest.approx([expected.mos], abs=1e-4)
        assert answer["mos_std"] == pytest.approx([expected.mos_std], abs=1e-4)
    assert answers["default"][0] == answers["score"][0]


def test_renderings_equal_python(answers, model, wanted):
    epsilons = []
    for pixels, target, answer in zip(PICTURES, wanted, answers["enhance"], strict=True):
        expected = enhanced(model, pixels, target)
        assert answer["image"].shape == (1, *pixels.shape)
        check_rendering(model, answer["image"][0], answer["score_after"][0], expected)
        for name in ("score_before", "epsilon"):
            assert answer[name] == pytest.approx([getattr(expected, name)], abs=1e-3)
        assert answer["reached"] == [expected.reached]
        epsilons.append(expected.epsilon)
    assert sum(epsilon > 0 for epsilon in epsilons) > 3
    assert 0 in epsilons


def test_a_working_copy_made_by_the_client_gives_the_same_score(answers):
    for whole, copy in zip(answers["score"], answers["copies"], strict=False):
        for name, values in whole.items():
            np.testing.assert_allclose(copy[name], values, atol=1e-5, err_msg=name)


def test_rows_do_not_depend_on_their_batch(answers):
    (together,) = answers["score batch"]
    for row, answer in enumerate(answers["score rows"]):
        assert together["score"][row] == pytest.approx(answer["score"][0], abs=1e-4)
    (together,) = answers["enhance batch"]
    for row, answer in enumerate(answers["enhance rows"]):
        for name, values in answer.items():
            np.testing.assert_array_equal(together[name][row], values[0], name)


def test_files_give_what_python_makes_of_them(answers, model, wanted):
    (scores,) = answers["score files"]
    for row, data in enumerate(FILES):
        expected = score_pixels(model, read_photo(data).pixels, EXPORTED_SIDE)
        assert scores["score"][row] == pytest.approx(expected.score, abs=1e-4)
    (renderings,) = answers["enhance files"]
    for row, data in enumerate(FILES[:3]):
        expected = enhanced(model, read_photo(data).pixels, wanted[row])
        pixels = opened(renderings["image_bytes"][row])
        check_rendering(model, pixels, renderings["score_after"][row], expected)


def test_alpha_goes_through(answers):
    pixels = opened(answers["alpha"][0]["image_bytes"][0])
    np.testing.assert_array_equal(pixels[..., 3], SEE_THROUGH[..., 3])
    np.testing.assert_array_equal(pixels[..., :3], answers["enhance"][2]["image"][0])


@pytest.mark.parametrize("case", REFUSED)
def test_unfit_requests_are_invalid_arguments_with_a_sentence(answers, case):
    kind, message = answers["refused"][list(REFUSED).index(case)]
    assert kind == "InvalidArgumentError"
    assert REFUSED[case][2] in message


def test_warm_up_records_hold_a_request_for_each_signature(exported):
    records = tf.data.TFRecordDataset(str(exported / "1" / warmup.FILE)).as_numpy_iterator()
    requests = [prediction_log_pb2.PredictionLog.FromString(r).predict_log.request for r in records]
    specs = {(request.model_spec.name, request.model_spec.signature_name) for request in requests}
    assert specs == {("qdnet", name) for name in SIGNATURES}


@pytest.mark.parametrize("number", range(len(PHOTOGRAPHS) - 1))
def test_photographs_from_their_files(answers, photographs, model, number):
    name, target = photographs[number]
    expected = enhanced(model, read_photo(SAMPLES / name).pixels, target)
    assert expected.epsilon > 0
    answer = answers["photographs"][number]
    pixels, score_after = opened(answer["image_bytes"][0]), answer["score_after"][0]
    check_rendering(model, pixels, score_after, expected)


def test_far_target_is_reached_from_a_file_as_in_python(answers, photographs, model):
    """Many corrections of ε, each of a rounded picture's score, need not end at the same ε."""
    name, target = photographs[-1]
    expected = enhanced(model, read_photo(SAMPLES / name).pixels, target)
    answer = answers["photographs"][-1]
    pixels = opened(answer["image_bytes"][0])
    assert np.abs(pixels.astype(int) - expected.pixels).max() <= 1
    assert answer["score_after"][0] == pytest.approx(
        score_pixels(model, pixels, EXPORTED_SIDE).score, abs=1e-3
    )
    assert expected.reached and answer["reached"][0]
    for score in (expected.score_after, answer["score_after"][0]):
        assert abs(score - target) <= TOLERANCE


# --- Versions and failures ------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch) -> None:
    """Leaves out the network: what is tested are folders."""

    class Nothing:
        def __init__(self, model, **options):
            pass

        def signatures(self):
            return {"score": (lambda image: tf.shape(image), [tf.TensorSpec([None], tf.uint8)])}

    monkeypatch.setattr("qdnet_keras.export.saved_model.Endpoints", Nothing)


def test_versions_count_up_and_are_never_overwritten(quick, model, tmp_path):
    out = tmp_path / "new" / "models"
    assert [export(model, out).name for _ in range(2)] == ["1", "2"]
    assert export(model, out, 12).name == "12"
    (out / "notes").mkdir()
    assert export(model, out).name == "13"
    with pytest.raises(OutputError, match="12 exists already"):
        export(model, out, 12)
    (out / str(2**63)).mkdir()  # TF-Serving passes over it
    assert export(model, out).name == "14"
    (out / str(2**63)).rmdir()
    (out / "14").rename(out / str(2**63 - 1))
    with pytest.raises(OutputError, match="highest number"):
        export(model, out)
    (out / str(2**63 - 1)).rename(tmp_path / "moved")
    assert {entry.name for entry in out.iterdir()} == {"1", "2", "12", "13", "notes"}


def test_a_failed_export_leaves_nothing_behind(quick, model, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(warmup, "write", fail)
    with pytest.raises(OutputError, match="No space left"):
        export(model, tmp_path / "models")
    assert list((tmp_path / "models").iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file cannot be used as a folder"):
        export(model, tmp_path / "file")


def test_a_full_disk_is_one_sentence(quick, model, tmp_path):
    """As TensorFlow tells of it: a limit on the size of files stands for the end of the disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(OutputError, match=r"models cannot be written \(File too large\)\.$"):
            export(model, tmp_path / "models")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list((tmp_path / "models").iterdir()) == []


def test_a_bank_is_needed_unless_the_sampler_is_the_prior(model, tmp_path, monkeypatch):
    monkeypatch.setattr(model, "bank_size", 0)
    with pytest.raises(PresetError, match="sampler prior"):
        export(model, tmp_path)


def test_command_line(quick, tiny_preset, tmp_path):
    out = tmp_path / "models"
    arguments = ["export", "--preset", str(tiny_preset), "--out", str(out)]
    done = CliRunner().invoke(app, [*arguments, "--version", "4", "--json"])
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    assert (record["folder"], record["version"]) == (str(out / "4"), 4)
    assert record["bytes"] > 0
    assert set(record["signatures"]) == {"score", "serving_default"}
    assert record["signatures"]["score"]["inputs"] == {"image": "uint8 [?]"}
    again = CliRunner().invoke(app, [*arguments, "--version", "4"])
    assert again.exit_code == 7
    assert "exists already" in again.stderr
    for wrong in (["--sampler", "best"], ["--version", str(2**63)], ["--version", "0"]):
        assert CliRunner().invoke(app, [*arguments, *wrong]).exit_code == 2
    for tolerance in ("inf", "nan", "-1", "101"):
        assert CliRunner().invoke(app, [*arguments, "--tolerance", tolerance]).exit_code == 2
    summary = CliRunner().invoke(app, arguments).stdout
    assert "version 5 of models" in summary
    assert "score(image uint8 [?])" in summary
