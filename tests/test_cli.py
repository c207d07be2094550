"""The command line: most of it in this process, and what only a fresh process shows in one."""

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from safetensors.numpy import load_file
from typer.testing import CliRunner, Result

import qdnet_keras
from qdnet_keras import __version__
from qdnet_keras.cli import app
from qdnet_keras.cli.output import Report
from qdnet_keras.errors import ImageError

COMMANDS = (
    "score",
    "enhance",
    "explain",
    "tonemap",
    "train",
    "evaluate",
    "ladder",
    "tsne",
    "data",
    "export",
    "export-onnx",
    "serve",
    "demo",
    "app",
    "info",
)
SCORE_KEYS = {"file", "score", "mos", "mos_std", "interval", "novelty"}
ENHANCED_KEYS = {
    "file",
    "output",
    "target",
    "score_before",
    "score_after",
    "epsilon",
    "reached",
    "notes",
}


def run(*arguments: object, input: bytes | None = None) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=input)


def fresh(*arguments: object, **options) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "qdnet_keras", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, timeout=300, **options)


def records(result: Result) -> list[dict]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def error_line(result: Result) -> str:
    """The only line on stderr."""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    return line


# --- Start ----------------------------------------------------------------------------------------


def test_help_and_version_import_nothing_heavy():
    script = f"""if True:
        import sys
        from qdnet_keras.cli import app
        for arguments in [["--help"], ["--version"], *([name, "--help"] for name in {COMMANDS})]:
            try:
                app(arguments)
            except SystemExit as exit:
                assert exit.code == 0, (arguments, exit.code)
        heavy = {{"tensorflow", "keras", "numpy", "PIL", "yaml", "scipy", "tifffile"}}
        assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()
    """
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"qdnet-keras {__version__}" in done.stdout
    assert all(f"{name} " in done.stdout for name in COMMANDS)


def test_a_fresh_process_says_nothing_but_its_results(tiny_preset, photo):
    """Standard input and a file, the one a copy of the other; TensorFlow's chatter is kept away.

    What only renderings need is not imported, or it would be said.
    """
    script = """if True:
        import atexit, sys
        from qdnet_keras.cli import app
        atexit.register(lambda: sys.stderr.write("numba" * ("numba" in sys.modules)))
        app()
    """
    path = photo("a.jpg")
    command = [sys.executable, "-c", script, "score", "-", path, "--preset", tiny_preset, "--json"]
    done = subprocess.run(command, input=path.read_bytes(), capture_output=True)
    assert done.returncode == 0
    assert done.stderr == b""
    first, second = [json.loads(line) for line in done.stdout.splitlines()]
    assert (first.pop("file"), second.pop("file")) == ("-", str(path))
    assert first == second
    expected = qdnet_keras.score(path, qdnet_keras.load(str(tiny_preset)))
    assert first["score"] == pytest.approx(expected.score, abs=1e-3)
    assert first["mos"] == pytest.approx(expected.mos, abs=1e-3)
    assert first["mos_std"] == pytest.approx(expected.mos_std, abs=1e-3)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["data", "build", "--help"]])
def test_a_full_disk_under_standard_output_is_told_in_one_line(arguments):
    command = [sys.executable, "-m", "qdnet_keras", *arguments]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    expected = "error: Standard output cannot be written (No space left on device).\n"
    assert (done.returncode, done.stderr) == (7, expected)


def test_a_batch_whose_output_nobody_takes_ends_in_one_line(tmp_path, tiny_preset):
    """Neither a full disk nor a reader that went away ends in a traceback."""
    command = [sys.executable, "-m", "qdnet_keras", "score", *[tmp_path / "none.png"] * 3]
    command = [*map(str, command), "--json", "--preset", str(tiny_preset)]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    expected = "error: Standard output cannot be written (No space left on device).\n"
    assert (done.returncode, done.stderr) == (7, expected)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    assert process.stderr.read() == "error: Standard output cannot be written (Broken pipe).\n"
    process.stderr.close()
    assert process.wait(timeout=60) == 7


def test_a_damaged_picture_in_a_fresh_process_ends_without_traceback(tiny_preset, tmp_path):
    path = tmp_path / "bad.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40))
    done = fresh("score", path, "--preset", tiny_preset)
    assert done.returncode == 3
    assert done.stdout == b""
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("error: ")
    assert str(path) in line


# --- score ----------------------------------------------------------------------------------------


def test_score_goes_on_past_a_bad_file(tiny_preset, photo, tmp_path):
    good, other = photo("in/b.png"), photo("in/deep/c.jpg", seed=1)
    photo("in/.hidden/d.png")
    (tmp_path / "in/a.png").write_text("no picture")
    result = run("score", tmp_path / "in", "--preset", tiny_preset, "--json")
    assert result.exit_code == 1
    bad, first, second = records(result)
    assert bad.keys() == {"file", "error"}
    assert bad["file"] == str(tmp_path / "in/a.png")
    assert [first["file"], second["file"]] == [str(good), str(other)]
    assert first.keys() == second.keys() == SCORE_KEYS


def test_score_prints_a_table_for_people(tiny_preset, photo, tmp_path):
    path = photo("a.png")
    result = run("score", path, tmp_path / "none.png", "--preset", tiny_preset)
    assert result.exit_code == 1
    header, row = result.stdout.splitlines()
    assert header.split()[:3] == ["file", "score", "MOS"]
    name, score, mos, low, _, high = row.split()
    expected = qdnet_keras.score(path, qdnet_keras.load(str(tiny_preset)))
    assert name == str(path)
    assert float(score) == pytest.approx(expected.score, abs=0.051)
    assert float(mos) == pytest.approx(expected.mos, abs=0.051)
    assert (float(low), float(high)) == pytest.approx(expected.interval, abs=0.51)
    assert "does not exist" in error_line(result)


def test_a_single_failure_has_its_own_exit_code(tiny_preset, photo, tmp_path):
    (tmp_path / "empty").mkdir()
    assert run("score", tmp_path / "empty", "--preset", tiny_preset).exit_code == 3
    result = run("score", tmp_path / "none.png", "--preset", tiny_preset, "--json")
    assert result.exit_code == 3
    assert [record.keys() for record in records(result)] == [{"file", "error"}]
    result = run("score", photo("a.png"), "--preset", tmp_path / "none")
    assert result.exit_code == 6
    assert "no preset" in error_line(result)


# --- enhance --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--target", "50", "--ladder", "40,60"],
        ["--target", "nan"],
        ["--target", "inf"],
        ["--target", "-1"],
        ["--target", "100.5"],
        ["--target", "much"],
        ["--ladder", "40,x"],
        ["--ladder", "40,,60"],
        ["--ladder", "40,nan"],
        ["--target", "50", "--sampler", "dice"],
        ["--target", "50", "--scale", "stars"],
        ["--target", "50", "--working-size", "31"],
    ],
)
def test_enhance_refuses_wrong_options(photo, tiny_preset, options):
    path = photo("a.png")
    result = run("enhance", path, "--preset", tiny_preset, *options)
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    assert [entry.name for entry in path.parent.iterdir()] == ["a.png"]


def test_enhance_of_standard_input_needs_an_output(tiny_preset, photo):
    data = photo("a.png").read_bytes()
    result = run("enhance", "-", "--target", 50, "--preset", tiny_preset, input=data)
    assert result.exit_code == 2


def test_enhance_keeps_format_depth_and_metadata(tiny_preset, tmp_path):
    path = tmp_path / "a.tif"
    samples = np.random.default_rng(0).integers(0, 2**16, (64, 96, 3), np.uint16)
    tifffile.imwrite(path, samples, photometric="rgb", compression="zlib", resolution=(300, 300))
    result = run("enhance", path, "--target", 50, "--preset", tiny_preset, "--json")
    assert result.exit_code == 0, result.output
    (record,) = records(result)
    assert record.keys() == ENHANCED_KEYS
    assert record["output"] == str(tmp_path / "a_50.tif")
    assert record["reached"] == (abs(record["score_after"] - 50) <= 1.0)
    with tifffile.TiffFile(record["output"]) as tiff:
        page = tiff.pages[0]
        assert (page.shape, page.dtype) == (samples.shape, np.uint16)
        assert page.compression.name == "ADOBE_DEFLATE"
        assert page.get_resolution() == (300, 300)


def test_enhance_never_overwrites_unless_forced(tiny_preset, photo):
    path, existing = photo("a.jpg"), photo("a_50.jpg", size=(40, 40))
    before = existing.read_bytes()
    result = run("enhance", path, "--target", 50, "--preset", tiny_preset)
    assert result.exit_code == 7
    assert str(existing) in error_line(result)
    assert existing.read_bytes() == before
    result = run("enhance", path, "--target", 50, "--preset", tiny_preset, "--force")
    assert result.exit_code == 0
    assert Image.open(existing).size == Image.open(path).size


def test_enhance_says_what_was_reached(tiny_preset, photo, tmp_path):
    """The random network moves no picture by much: its own score is in reach, 40 more is not."""
    path = photo("a.png")
    own = qdnet_keras.score(path, qdnet_keras.load(str(tiny_preset))).score
    far = own + 40 if own < 50 else own - 40
    arguments = ("enhance", path, "--ladder", f"{own},{far}", "--preset", tiny_preset)
    first, second = records(run(*arguments, "-o", tmp_path / "json", "--json"))[:2]
    reached, missed = (first, second) if first["target"] == pytest.approx(own) else (second, first)
    assert reached["reached"]
    assert reached["epsilon"] == 0
    np.testing.assert_array_equal(Image.open(reached["output"]), Image.open(path))
    assert not missed["reached"]
    assert abs(missed["score_after"] - far) > 1
    rows = run(*arguments, "-o", tmp_path / "table").stdout.splitlines()
    assert sum("reached" in row for row in rows) == 1


@pytest.mark.parametrize("command", ["enhance", "ladder"])
def test_a_target_may_be_a_mos(tiny_preset, photo, tmp_path, command):
    """What it stands for is looked up by hand in the quantiles of the preset."""
    quantiles = load_file(tiny_preset / "calibration.safetensors")["calibration/quantiles"]
    wanted = np.interp(55, quantiles, np.arange(2, 99, 2))
    option = "--target" if command == "enhance" else "--targets"
    arguments = (command, photo("a.png"), option, 55, "--scale", "mos", "--preset", tiny_preset)
    result = run(*arguments, "-o", tmp_path / "out.png", "--json")
    assert result.exit_code == 0, result.output
    assert records(result)[0]["target"] == pytest.approx(wanted, abs=0.05)


def test_ladder_writes_a_rendering_a_target_and_all_side_by_side(tiny_preset, photo, tmp_path):
    first, second = photo("a.png"), photo("b.jpg", seed=1)
    out = tmp_path / "out"
    result = run(
        "enhance", first, second, "--ladder", "40,60", "-o", out, "--preset", tiny_preset, "--json"
    )
    assert result.exit_code == 0, result.output
    written = {entry.name for entry in out.iterdir()}
    assert written == {
        *("a_40.png", "a_60.png", "a_ladder.png"),
        *("b_40.jpg", "b_60.jpg", "b_ladder.png"),
    }
    assert [record["target"] for record in records(result)] == [40, 60, 40, 60]
    width, height = Image.open(out / "a_ladder.png").size
    assert width >= 3 * 96
    assert height > 64


def test_the_ladder_begins_with_the_original(tiny_preset, photo, tmp_path):
    path, out = photo("a.png"), tmp_path / "out"
    run("enhance", path, "--ladder", "40", "-o", out, "--preset", tiny_preset)
    strip, original = np.asarray(Image.open(out / "a_ladder.png")), np.asarray(Image.open(path))
    windows = np.lib.stride_tricks.sliding_window_view(strip, original.shape)[:, :, 0]
    places = np.argwhere((windows[..., 0, 0, :] == original[0, 0]).all(axis=-1))
    assert any(np.array_equal(windows[y, x], original) for y, x in places)
    assert (strip[:, [0, -1]] == 255).all()
    assert (strip[[0, -1]] == 255).all()


def test_outputs_of_two_photographs_do_not_meet(tiny_preset, photo, tmp_path):
    first, second = photo("one/a.png"), photo("two/a.png", seed=1)
    result = run(
        *("enhance", first, second, "--target", 50, "-o", tmp_path / "out"),
        *("--preset", tiny_preset, "--force", "--json"),
    )
    assert result.exit_code == 1
    done, refused = records(result)
    assert done["file"] == str(first)
    assert refused["file"] == str(second)
    assert "two photographs" in refused["error"]


def test_the_suffix_of_an_output_tells_what_the_file_is(tiny_preset, photo, tmp_path):
    disguised = photo("a.png").rename(tmp_path / "a.jpg")
    result = run("enhance", disguised, "--target", 50, "--preset", tiny_preset, "--json")
    assert records(result)[0]["output"] == str(tmp_path / "a_50.png")
    assert Image.open(tmp_path / "a_50.png").format == "PNG"
    result = run("enhance", disguised, "--target", 50, "--preset", tiny_preset, "-o", "a.gif")
    assert result.exit_code == 7
    assert ".webp" in error_line(result)


def test_the_bank_sampler_needs_a_bank(tiny_preset, photo, tmp_path):
    config = json.loads((tiny_preset / "config.json").read_text())
    config["model"]["bank_size"] = 0
    (tmp_path / "config.json").write_text(json.dumps(config))
    result = run("enhance", photo("a.png"), "--target", 50, "--preset", tmp_path)
    assert result.exit_code == 6
    assert "--sampler prior" in error_line(result)


def test_enhance_reads_standard_input(tiny_preset, photo, tmp_path):
    path, out = photo("a.png"), tmp_path / "new.webp"
    result = run(
        *("enhance", "-", "--target", 50, "-o", out, "--preset", tiny_preset),
        input=path.read_bytes(),
    )
    assert result.exit_code == 0, result.output
    assert Image.open(out).format == "WEBP"
    assert Image.open(out).size == (96, 64)


def test_enhance_writes_to_standard_output_and_tells_its_notes_beside(tiny_preset, photo):
    path = photo("a.png")
    Image.open(path).convert("CMYK").save(path.with_suffix(".tif"))
    command = ("enhance", path.with_suffix(".tif"), "--target", 50, "--preset", tiny_preset)
    result = run(*command, "-o", "-", "--json")
    assert result.exit_code == 0, result.output
    assert Image.open(io.BytesIO(result.stdout_bytes)).format == "TIFF"
    record = json.loads(result.stderr)
    assert (record["output"], record["notes"]) == ("-", ["CMYK became sRGB"])
    assert run(*command, path, "-o", "-").exit_code == 2


@pytest.mark.parametrize(
    "name", ["x" * 300 + ".jpg", "写" * 90 + ".jpg", "a.png/b.jpg"], ids=["long", "wide", "below"]
)
@pytest.mark.parametrize("command", [("score",), ("enhance", "--target", "50")])
def test_an_impossible_path_costs_no_other_photograph(tiny_preset, photo, command, name):
    good = photo("a.png")
    command = (*command, "--preset", tiny_preset, "--json")
    result = run(*command, good.parent / name, good)
    assert result.exit_code == 1, result.output
    bad, done = records(result)
    assert bad.keys() == {"file", "error"}
    assert done["file"] == str(good)


def test_an_output_with_an_impossible_name_costs_no_other_photograph(tiny_preset, photo):
    """The photograph's own name may be long enough that nothing can be added to it."""
    long, good = photo("n" * 250 + ".jpg"), photo("a.png")
    result = run("enhance", long, good, "--target", 50, "--preset", tiny_preset, "--json")
    assert result.exit_code == 1, result.output
    bad, done = records(result)
    assert "cannot be written (File name too long)" in bad["error"]
    assert done["file"] == str(good)


# --- train, demo, info ----------------------------------------------------------------------------


def write_data(folder: Path, photo: Callable[..., Path]) -> Path:
    rows = [f"{photo(folder / f'{i}.png', seed=i).name},{30 + 10 * i}" for i in range(4)]
    (folder / "labels.csv").write_text("\n".join(["file,mos", *rows]))
    return folder


def test_train_refuses_what_it_cannot_use(photo, tmp_path):
    data = write_data(tmp_path / "data", photo)
    out = tmp_path / "run"
    result = run("train", "--data", data, "--out", out, "--set", "train.epoch=3")
    assert result.exit_code == 5
    assert "train.epochs" in error_line(result)
    result = run("train", "--data", data, "--out", out, "--config", tmp_path / "none.yaml")
    assert result.exit_code == 5
    result = run("train", "--data", tmp_path / "none", "--out", out)
    assert result.exit_code == 4
    (data / "labels.csv").write_text("file,mos\n0.png,nan\n")
    result = run("train", "--data", data, "--out", out)
    assert result.exit_code == 4
    assert "row 2" in error_line(result)
    assert not out.exists()
    assert run("train", "--data", data).exit_code == 2


def test_train_never_continues_a_run_unasked(photo, tmp_path):
    data = write_data(tmp_path / "data", photo)
    out = tmp_path / "run"
    out.mkdir()
    (out / "config.yaml").write_text("train: {epochs: 9}\n")
    result = run("train", "--data", data, "--out", out, "--config", "tiny")
    assert result.exit_code == 7
    assert "--resume" in error_line(result)
    result = run("train", "--data", data, "--out", out, "--config", "tiny", "--resume")
    assert result.exit_code == 7
    assert (out / "config.yaml").read_text() == "train: {epochs: 9}\n"


def test_demo_scores_the_photographs_and_writes_two_pictures(tiny_preset, tmp_path):
    out = tmp_path / "demo"
    result = run("demo", "--out", out, "--preset", tiny_preset)
    assert result.exit_code == 0, result.output
    samples = Path(qdnet_keras.__file__).parent / "samples"
    names = [file.name for file in samples.glob("*.jpg")]
    assert len(names) >= 10
    assert all(name in result.stdout for name in names)
    pictures = {entry.name: Image.open(entry).size for entry in out.iterdir()}
    assert len(pictures) == 2
    assert pictures.pop("ladder.png") >= (480, 360)
    ((enhanced, size),) = pictures.items()
    assert size == (480, 360)
    assert str(out / enhanced) in result.stdout
    assert str(out / "ladder.png") in result.stdout
    again = run("demo", "--out", out, "--preset", tiny_preset)
    assert again.exit_code == 7
    assert again.stdout == ""


def test_info_is_one_object(tiny_preset):
    result = run("info", "--preset", tiny_preset, "--json")
    assert result.exit_code == 0
    (record,) = records(result)
    assert record["python"] == ".".join(map(str, sys.version_info[:3]))
    assert any("CPU" in device for device in record["devices"])
    assert record["card"] is None
    assert __version__ in json.dumps(record)


def test_info_shows_the_card(tiny_preset, tmp_path):
    folder = tmp_path / "preset"
    folder.mkdir()
    (folder / "config.json").write_bytes((tiny_preset / "config.json").read_bytes())
    (folder / "CARD.md").write_text("What the labels are.\n")
    result = run("info", "--preset", folder)
    assert result.exit_code == 0
    assert "What the labels are." in result.stdout
    assert "latent_dim" in result.stdout


def test_names_stay_on_one_line_and_send_nothing_to_the_terminal(capsys):
    name = "sun\nset\x1b[2J\u00e9.jpg"
    report = Report(("file", "score"), [name], as_json=False)
    report.result((name, "50.0"), {})
    report.failure(name, ImageError(f"{name} is empty."))
    out, err = capsys.readouterr()
    assert out.splitlines()[1].split() == ["sun\\nset\\x1b[2J\u00e9.jpg", "50.0"]
    assert err == "error: sun set\\x1b[2J\u00e9.jpg is empty.\n"


def test_a_very_long_name_does_not_widen_the_table(capsys):
    long, short = "n" * 250 + ".jpg", "a.jpg"
    report = Report(("file", "score"), [long, short], as_json=False)
    report.result((long, "50.0"), {})
    report.result((short, "60.0"), {})
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == [long, "50.0"]
    assert len(lines[0]) == len(lines[2]) < 80
    assert lines[2].split() == [short, "60.0"]


def test_alpha_that_would_be_lost_is_told_before_a_model_is_loaded(tmp_path, monkeypatch):
    Image.fromarray(np.full((40, 40, 4), 128, np.uint8)).save(tmp_path / "a.png")
    monkeypatch.setattr("qdnet_keras.cli.enhance.load_model", lambda _: pytest.fail("was loaded"))
    result = run("enhance", tmp_path / "a.png", "--target", 50, "-o", tmp_path / "a.jpg")
    assert result.exit_code == 7
    assert "would lose its alpha channel" in result.stderr
    assert not (tmp_path / "a.jpg").exists()
