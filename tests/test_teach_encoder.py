"""Teaching an encoder by another, on toy encoders and small photographs."""

import csv
import importlib.util
import json
from pathlib import Path

import keras
import numpy as np
import pytest
import typer
from PIL import Image
from toy_encoder import TAPS, toy_network
from typer.testing import CliRunner

from qdnet_keras.cli.output import one_line_errors
from qdnet_keras.errors import DataError, ImageError, OutputError, PresetError
from qdnet_keras.model.encoder import Encoder
from qdnet_keras.training.config import OptimizerSection
from qdnet_keras.training.encoder import teach
from qdnet_keras.training.encoder.crops import Crops, find_photographs
from qdnet_keras.training.encoder.lesson import EncoderLesson
from qdnet_keras.training.encoder.teach import EncoderConfig, teach_encoder, write_weights
from qdnet_keras.training.start import build_optimizer

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "teach_encoder.py"


@pytest.fixture(scope="module", autouse=True)
def few_crops():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(teach, "SAMPLE", 64)
        patch.setattr(teach, "EXAMINED", 32)
        yield


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Smooth pictures of random colours in different sizes."""
    folder, rng = tmp_path_factory.mktemp("photographs"), np.random.default_rng(0)
    for number in range(30):
        coarse = Image.fromarray(rng.integers(0, 256, (5, 6, 3), np.uint8))
        size = (96 + number, 130 - number)
        coarse.resize(size, Image.Resampling.BICUBIC).save(folder / f"{number:02}.png")
    return folder


@pytest.fixture(scope="module")
def config(photographs):
    return EncoderConfig(
        photographs=(str(photographs),),
        teacher="none",
        steps=60,
        batch=8,
        side=64,
        every=30,
        optimizer=OptimizerSection(learning_rate=3e-2, clip_norm=1.0, weight_decay=0.01),
    )


def tiny():
    """A lesson of toys whose normalisation follows fast."""
    keras.utils.set_random_seed(0)
    teacher, student = (Encoder(toy_network(), TAPS) for _ in range(2))
    for layer in student.backbone.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.9
    return EncoderLesson(student, teacher)


@pytest.fixture(scope="module")
def taught(config, tmp_path_factory):
    lesson, run = tiny(), tmp_path_factory.mktemp("runs") / "run"
    before = [np.array(weight) for weight in lesson.teacher.weights]
    reached = teach_encoder(lesson, config, run)
    for weight, value in zip(lesson.teacher.weights, before, strict=True):
        np.testing.assert_array_equal(weight, value)
    return lesson, run, reached


# === The whole ===


def test_the_student_learns_what_the_teacher_says_of_photographs_held_out(taught):
    lesson, run, reached = taught
    with (run / "history.csv").open(newline="") as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    assert [row["epoch"] for row in rows] == [1, 2]
    assert rows[1]["loss"] < 0.8 * rows[0]["loss"]
    assert rows[1]["val_loss"] < 0.8 * rows[0]["val_loss"]
    assert json.loads((run / "validation.json").read_text()) == reached
    assert reached["loss"] == pytest.approx(rows[1]["val_loss"], rel=1e-4)
    assert reached["cosine"] == pytest.approx(rows[1]["val_cosine"], rel=1e-4)
    assert reached["cosine"] > 0.5
    assert list(reached["r2"]) == lesson.names and min(reached["r2"].values()) > 0.1


def test_a_run_that_stopped_ends_as_one_that_did_not(taught, config, tmp_path, monkeypatch):
    class Stop(teach.EpochRecord):
        def on_epoch_end(self, epoch, logs=None):
            super().on_epoch_end(epoch, logs)
            raise KeyboardInterrupt

    run = tmp_path / "run"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(teach, "EpochRecord", Stop)
        teach_encoder(tiny(), config, run)
    with pytest.raises(OutputError, match="add --resume"):
        teach_encoder(tiny(), config, run)
    with pytest.raises(OutputError, match="not made with these settings"):
        teach_encoder(tiny(), config.model_copy(update={"steps": 90}), run, resume=True)
    resumed = tiny()
    teach_encoder(resumed, config, run, resume=True)
    for ours, theirs in zip(resumed.weights, taught[0].weights, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)
    history = [(folder / "history.csv").read_text().count("\n") for folder in (run, taught[1])]
    assert history == [3, 3]


def test_the_weights_that_a_run_leaves_are_the_students(taught):
    lesson, run, _ = taught
    network = toy_network()
    network.load_weights(run / teach.WEIGHTS)
    for ours, theirs in zip(network.weights, lesson.student.backbone.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_weights_load_as_those_of_a_resnet50(tmp_path):
    """All are of random values, so that none can be in the place of another."""
    keras.utils.set_random_seed(0)
    encoder, rng = Encoder(), np.random.default_rng(0)
    for weight in encoder.weights:
        if len(weight.shape) == 1:
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    write_weights(encoder, tmp_path / teach.WEIGHTS)
    loaded = Encoder(weights=str(tmp_path / teach.WEIGHTS))
    image = rng.random((1, 64, 64, 3), "float32")
    for ours, theirs in zip(loaded(image), encoder(image), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert [file.name for file in tmp_path.iterdir()] == [teach.WEIGHTS]


# === The lesson ===


def test_teacher_and_student_see_the_same_pixels_each_in_its_own_mode(monkeypatch):
    lesson = tiny()
    image = np.random.default_rng(0).random((4, 64, 64, 3), "float32")
    lesson.build(image.shape)
    lesson.adapt([image])
    seen = {}
    for name in ("student", "teacher"):
        true_call = getattr(lesson, name).call

        def call(pixels, training=False, name=name, true_call=true_call):
            seen[name] = np.asarray(pixels), training
            return true_call(pixels, training)

        monkeypatch.setattr(getattr(lesson, name), "call", call)
    lesson.compile(optimizer="adam", run_eagerly=True)
    for step, is_training in ((lesson.train_on_batch, True), (lesson.test_on_batch, False)):
        step(image)
        for name, training in (("student", is_training), ("teacher", False)):
            np.testing.assert_array_equal(seen[name][0], image)
            assert seen[name][1] is training


def test_targets_are_the_teachers_moments_standardised_and_limited():
    lesson = tiny()
    image = np.random.default_rng(0).random((40, 64, 64, 3), "float32")
    lesson.build(image.shape)
    lesson.adapt([image[:16], image[16:]])
    taps = [np.asarray(tap, "float64") for tap in lesson.teacher(image)[1:]]
    moments = [
        np.concatenate([tap.mean((1, 2)), np.sqrt(tap.var((1, 2)) + 1e-5)], 1) for tap in taps
    ]
    for target, said in zip(lesson.targets(image), [*moments, taps[-1].mean((1, 2))], strict=True):
        standardised = (said - said.mean(0)) / np.sqrt(said.var(0) + 1e-6)
        np.testing.assert_allclose(target, 4 * np.tanh(standardised / 4), atol=2e-2)


def test_before_learning_the_mean_is_said_and_nothing_explained(taught, config, photographs):
    lesson = tiny()
    image = np.random.default_rng(0).random((6, 64, 64, 3), "float32")
    lesson.build(image.shape)
    lesson.adapt([image])
    known = lesson.examine([image[:3], image[3:]])
    assert known["cosine"] == 0 and max(known["r2"].values()) < 1e-3
    errors = [np.square(target).mean() for target in lesson.targets(image)]
    assert known["loss"] == pytest.approx(np.mean(errors), rel=1e-4)


def test_decay_makes_kernels_smaller_and_nothing_else():
    options = OptimizerSection(learning_rate=0.1, weight_decay=0.5)
    kernel, bias = (keras.Variable([1.0], name=name) for name in ("kernel", "bias"))
    optimizer = build_optimizer(options, steps_per_epoch=1, epochs=1)
    optimizer.build([kernel, bias])
    rate = float(optimizer.learning_rate)
    optimizer.apply([np.zeros(1, "float32")] * 2, [kernel, bias])
    assert float(kernel[0]) == pytest.approx(1 - 0.5 * rate) and float(bias[0]) == 1


# === Crops ===


def test_a_crop_is_a_function_of_its_number(photographs):
    files = sorted(photographs.iterdir())
    crops, again = (Crops(files, 64, [0, 0]) for _ in range(2))
    made = np.stack([crops.get(number) for number in range(12)])
    assert made.dtype == np.float32 and made.min() >= 0 and made.max() <= 1
    assert len(np.unique(made.reshape(12, -1), axis=0)) == 12
    first = next(iter(again.batches(4, start=2)))
    np.testing.assert_array_equal(first, made[8:])
    assert not np.array_equal(Crops(files, 64, [0, 1]).get(0), made[0])


def test_crops_are_squares_of_all_sizes_on_either_side_and_half_of_them_edited(tmp_path):
    """Of a ramp that says at each pixel where it is."""
    height, width, side = 100, 200, 50
    rows, columns = np.mgrid[:height, :width]
    ramp = np.stack([rows, columns, 0 * rows + 128], -1).astype(np.uint8)
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    crops = Crops([tmp_path / "ramp.png"], side, [0])
    scales, mirrored, plain = [], 0, 0
    for number in range(200):
        crop = crops.get(number) * 255
        if np.abs(crop[..., 2] - 128).max() > 1e-3:
            continue
        down, across = crop[-1, 0, 0] - crop[0, 0, 0], crop[0, -1, 1] - crop[0, 0, 1]
        assert abs(across) == pytest.approx(down, abs=1.01)  # they are rounded
        scales.append(down)
        mirrored += across < 0
        plain += 1
    assert 70 < plain < 130 and 0.3 < mirrored / plain < 0.7
    assert min(scales) < 55 and max(scales) > 90 and max(scales) < 100


# === What is refused, and what is left alone ===


def test_splits_of_manifests_are_kept_and_folders_are_split(photographs, tmp_path):
    names = [file.name for file in sorted(photographs.iterdir())]
    words = ["test"] * 10 + ["val"] * 5 + ["train"] * 15
    rows = [f"{photographs / name},3,{word}" for name, word in zip(names, words, strict=True)]
    table = tmp_path / "labels.csv"
    table.write_text("\n".join(["file,mos,split", *rows]))
    training, held_out = find_photographs([table], seed=0)
    assert [file.name for file in held_out] == names[10:15]
    assert [file.name for file in training] == names[15:]
    training, held_out = find_photographs([photographs], seed=0)
    assert len(held_out) == 1 and sorted(f.name for f in (*training, *held_out)) == names


def run_script(*words):
    spec = importlib.util.spec_from_file_location("teach_encoder", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    app = typer.Typer()
    app.command()(one_line_errors()(script.main))
    return CliRunner().invoke(app, [str(word) for word in words])


def test_bad_input_is_one_sentence(photographs, tmp_path, monkeypatch):
    def refused(error, *words):
        result = run_script(*words)
        assert result.exit_code == error.exit_code and result.stderr.count("\n") == 1
        return result.stderr

    weights = tmp_path / "none.weights.h5"
    rest = ("--teacher", weights, "--out", tmp_path / "run")
    assert str(weights) in refused(PresetError, photographs, *rest)
    weights.write_bytes(b"no weights")
    assert "could not be loaded" in refused(PresetError, photographs, *rest)

    monkeypatch.setattr(teach, "build", lambda config: tiny())
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "too few photographs" in refused(DataError, empty, *rest)
    assert "nowhere" in refused(ImageError, tmp_path / "nowhere", *rest)
    (empty / "broken.jpg").write_text("no picture")
    assert "broken.jpg" in refused(ImageError, photographs, empty, *rest)
    assert not (tmp_path / "run").exists()
    header = (sorted(photographs.iterdir())[0]).read_bytes()[:200]
    (empty / "broken.jpg").unlink()
    for number in range(30):
        (empty / f"{number}.png").write_bytes(header)
    steps = ("--steps", 2, "--every", 2, "--batch", 2, "--side", 64)
    assert ".png" in refused(ImageError, empty, *rest, *steps)


def test_script_says_what_was_learnt(photographs, tmp_path, monkeypatch):
    monkeypatch.setattr(teach, "build", lambda config: tiny())
    words = (photographs, "--teacher", "none", "--out", tmp_path / "run", "--batch", 8)
    words += ("--steps", 2, "--every", 1, "--side", 64)
    result = run_script(*words, "--json")
    assert result.exit_code == 0, result.output
    reached = json.loads((tmp_path / "run" / "validation.json").read_text())
    assert json.loads(result.stdout) == {"run": str(tmp_path / "run"), **reached}
    again = run_script(*words, "--resume")
    assert again.exit_code == 0 and f"loss {reached['loss']:.3f}" in again.stdout
