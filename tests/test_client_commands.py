"""The commands with `--server`, against TF-Serving's own service definitions."""

import json
import subprocess
import sys
import time
from pathlib import Path

import grpc
import numpy as np
import pytest
from fake_serving import score_of
from photo_files import files_of_other_kinds
from PIL import Image
from serving_process import free_port
from typer.testing import CliRunner, Result

from qdnet_keras.cli import app
from qdnet_keras.cli.remote import in_order
from qdnet_keras.photos.files import read_photo


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def records(result: Result) -> list[dict]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_folder_is_scored_in_parallel_and_in_order(serving, photo, tmp_path):
    serving.delay = 0.1
    expected = {}
    for number in range(9):
        path = photo(f"in/{number}.png", size=(40 + 8 * number, 48), seed=number)
        expected[str(path)] = score_of(np.asarray(Image.open(path)))
    (tmp_path / "in/3.jpg").write_text("no picture")
    result = run("score", tmp_path / "in", "--server", serving.address, "--parallel", 3, "--json")
    assert result.exit_code == 1
    printed = records(result)
    assert [Path(record["file"]).name for record in printed] == sorted(
        ["3.jpg", *(Path(file).name for file in expected)]
    )
    good = {record["file"]: record["score"] for record in printed if "score" in record}
    assert good == pytest.approx(expected, rel=1e-5)
    assert {frozenset(record) for record in printed} == {
        frozenset({"file", "score", "mos", "mos_std", "interval", "novelty"}),
        frozenset({"file", "error"}),
    }
    assert serving.most_at_once == 3


def test_the_table_is_that_of_local_scores(serving, photo):
    path = photo("a.png")
    header, row = run("score", path, "--server", serving.address).stdout.splitlines()
    assert header.split() == ["file", "score", "MOS", "90", "%", "interval", "note"]
    assert row.split()[0] == str(path)
    assert float(row.split()[1]) == pytest.approx(score_of(np.asarray(Image.open(path))), abs=0.051)


def test_enhance_keeps_format_alpha_profile_and_never_overwrites(serving, tmp_path):
    kinds = files_of_other_kinds(tmp_path)
    arguments = ("enhance", kinds["alpha.png"], kinds["alpha.tif"], kinds["turned.jpg"])
    arguments += ("--target", 50, "--server", serving.address, "--json")
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    for record in records(result):
        before, after = read_photo(record["file"]), read_photo(record["output"])
        assert (after.format, after.icc, after.turned) == (before.format, before.icc, False)
        if before.alpha is None:
            assert np.abs(after.pixels.astype(int) + before.pixels - 255).mean() < 3
        else:
            np.testing.assert_array_equal(after.alpha, before.alpha)
            seen = before.srgb.astype(int)  # on mid grey where it is transparent
            moved = np.clip(before.pixels + (255 - 2 * seen), 0, 255)
            assert np.abs(after.pixels.astype(int) - moved).max() <= 1  # rounded twice
    contents = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert run(*arguments).exit_code == 1
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == contents
    assert run(*arguments, "--force").exit_code == 0


def test_enhance_refuses_16_bits_and_goes_on(serving, photo, tmp_path):
    deep = files_of_other_kinds(tmp_path)["deep.png"]
    result = run(
        *("enhance", deep, photo("b.png"), "--ladder", "40,60"),
        *("-o", tmp_path / "out", "--server", serving.address, "--json"),
    )
    assert result.exit_code == 1
    failed, *done = records(result)
    assert "16 bits" in failed["error"]
    assert str(deep) in failed["error"]
    assert [record["target"] for record in done] == [40, 60]
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {"b_40.png", "b_60.png", "b_ladder.png"}


def test_a_refusal_names_the_file_and_the_next_goes_on(serving, photo):
    serving.failures = [(grpc.StatusCode.INVALID_ARGUMENT, "too strange")]
    first, second = photo("a.png"), photo("b.png")
    arguments = ("score", first, second, "--server", serving.address, "--parallel", 1)
    result = run(*arguments, "--json")
    refused, scored = records(result)
    assert result.exit_code == 1
    assert refused["file"] == str(first)
    assert refused["error"].startswith(f"{first}: ")
    assert "too strange" in refused["error"]
    assert scored["file"] == str(second)
    serving.failures = [(grpc.StatusCode.INVALID_ARGUMENT, "too strange")]
    assert run("score", first, "--server", serving.address).exit_code == 8


def test_an_unreachable_server_ends_the_run(photo, tmp_path):
    for number in range(20):
        photo(f"in/{number}.png")
    start = time.monotonic()
    server = f"127.0.0.1:{free_port()}"
    result = run("score", tmp_path / "in", "--server", server, "--timeout", 1)
    assert result.exit_code == 8
    (line,) = result.stderr.splitlines()
    assert server in line
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    "options",
    [
        ("score", "--preset", "people", "--server", "localhost:1"),
        ("score", "--working-size", "256", "--server", "localhost:1"),
        ("enhance", "--target", "50", "--sampler", "prior", "--server", "localhost:1"),
        ("enhance", "--target", "50", "--tolerance", "2", "--server", "localhost:1"),
        ("enhance", "--target", "50", "--scale", "mos", "--server", "localhost:1"),
        ("score", "--rest"),
        ("score", "--parallel", "2"),
        ("enhance", "--target", "50", "--label", "canary"),
        ("enhance", "--target", "50", "--timeout", "3"),
        ("score", "--server", "localhost"),
    ],
)
def test_options_that_would_do_nothing_are_refused(photo, options):
    command, *others = options
    result = run(command, photo("a.png"), *others)
    assert result.exit_code == 2
    assert "Traceback" not in result.output


def test_tensorflow_is_never_imported(serving, photo, tmp_path):
    script = """if True:
        import sys
        from qdnet_keras.cli import app
        try:
            app(sys.argv[1:])
        except SystemExit as exit:
            assert not exit.code, exit.code
        heavy = {"tensorflow", "keras", "tensorflow_probability"} & sys.modules.keys()
        assert not heavy, heavy
    """
    path, server = photo("a.webp"), ("--server", serving.address)
    for arguments in (
        ["score", path],
        ["enhance", path, "--ladder", "40,50", "-o", tmp_path / "o"],
    ):
        command = [sys.executable, "-c", script, *map(str, [*arguments, *server])]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""


def test_in_order_is_lazy_bounded_and_ordered():
    started: list[int] = []

    def work(item: int) -> int:
        started.append(item)
        time.sleep(0.02 * (item % 3))
        return item

    results = in_order(work, iter(range(50)), 2)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    assert len(started) <= 5 + 4
    results.close()
    assert list(in_order(work, range(7), 3)) == list(range(7))
    assert list(in_order(work, range(3), 1)) == [0, 1, 2]
