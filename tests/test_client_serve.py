"""The client and the commands against `qdnet-keras serve` with an exported network."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from photo_files import ORIENTATION, files_of_other_kinds
from PIL import Image
from typer.testing import CliRunner

import qdnet_keras
from qdnet_keras.cli import app
from qdnet_keras.client import Client, pictures
from qdnet_keras.errors import ServerError
from qdnet_keras.outcomes import SCORES
from qdnet_keras.photos.files import read_photo

sys.path.insert(0, str(Path(__file__).parents[1] / "serving"))


class Serve:
    """`qdnet-keras serve` in a process of its own."""

    def __init__(self, model: Path, port: int = 0):
        command = [sys.executable, "-m", "qdnet_keras", "serve", str(model), "--json"]
        command += ["--port", str(port), "--rest-port", "0", "--rest-timeout", "300"]
        command += ["--no-warm-up"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        ports = json.loads(self.process.stdout.readline())
        self.port, self.rest_port = ports["port"], ports["rest_port"]
        self.grpc, self.rest = f"127.0.0.1:{self.port}", f"127.0.0.1:{self.rest_port}"

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture(scope="module")
def exported(tiny_preset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from qdnet_keras.export.saved_model import export

    folder = tmp_path_factory.mktemp("models") / "qdnet"
    export(qdnet_keras.load(tiny_preset), folder)
    return folder


@pytest.fixture(scope="module")
def served(exported: Path) -> Iterator[Serve]:
    server = Serve(exported)
    yield server
    server.kill()


def run(*arguments: object) -> list[dict]:
    result = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_the_client_knows_the_limit_of_an_export():
    from qdnet_keras.export.saved_model import MAX_PIXELS

    assert pictures.MAX_PIXELS == MAX_PIXELS


@pytest.mark.parametrize("rest", [False, True])
def test_commands_say_the_same_with_and_without_a_server(
    served, tiny_preset, photo, tmp_path, rest
):
    files = [photo("a.png"), photo("b.jpg", (700, 500), 1), photo("c.tif", (64, 90), 2)]
    files.append(photo("d.webp", (80, 80), 3))
    server = ("--server", served.rest, "--rest") if rest else ("--server", served.grpc)
    server += ("--timeout", 300)
    local = run("score", *files, "--preset", tiny_preset)
    remote = run("score", *files, *server)
    for ours, theirs in zip(remote, local, strict=True):
        assert ours.pop("file") == theirs.pop("file")
        assert ours.pop("interval") == pytest.approx(theirs.pop("interval"), abs=1e-3)
        assert ours == pytest.approx(theirs, abs=1e-3)

    target = local[0]["score"] + 0.5
    enhance = ("enhance", *files, "--target", target)
    local = run(*enhance, "--preset", tiny_preset, "-o", f"{tmp_path}/local/")
    remote = run(*enhance, *server, "-o", f"{tmp_path}/remote/")
    for ours, theirs in zip(remote, local, strict=True):
        first, second = (read_photo(record.pop("output")).pixels for record in (ours, theirs))
        tolerance = 4 if ours["file"].endswith(("jpg", "webp")) else 1  # encoded once more
        assert np.abs(first.astype(int) - second).max() <= tolerance
        assert ours.pop("file") == theirs.pop("file")
        assert ours.pop("reached") == theirs.pop("reached")
        assert ours.pop("notes") == theirs.pop("notes")
        assert ours == pytest.approx(theirs, abs=0.05)


def test_pictures_of_all_kinds_score_alike_with_and_without_a_server(
    served, tiny_preset, photo, tmp_path
):
    turned = Image.Exif()
    turned[ORIENTATION] = 6
    files = files_of_other_kinds(tmp_path)
    del files["deep.png"]  # a server is sent 8 bits
    files |= {name: photo(name, (300, 211)) for name in ("plain.png", "plain.jpg")}
    files["large.jpg"] = photo("large.jpg", (1801, 1199), quality=85)
    files["large turned.jpg"] = photo("large turned.jpg", (1801, 1199), exif=turned)
    files["strip.jpg"] = photo("strip.jpg", (3300, 60))
    local = run("score", *files.values(), "--preset", tiny_preset)
    with Client(served.grpc, timeout=300) as client:
        for file, record in zip(files.values(), local, strict=True):
            score = client.score(file)
            for name in SCORES:
                assert getattr(score, name) == pytest.approx(record[name], abs=1e-4), file
    remote = run("score", *files.values(), "--server", served.grpc, "--timeout", 300)
    assert [r["score"] for r in remote] == pytest.approx([r["score"] for r in local], abs=1e-4)


def test_a_batch_of_tensors_gives_the_scores_of_files(served, photo):
    paths = [photo(f"{seed}.png", seed=seed) for seed in range(3)]
    pixels = np.stack([read_photo(path).pixels for path in paths])
    with Client(served.grpc, timeout=300) as client:
        scores = client.predict("score", {"image": pixels})["score"]
        expected = [client.score(path).score for path in paths]
        with pytest.raises(ServerError, match=r"0\.\.100"):
            client.enhance(paths[0], float("nan"))
    np.testing.assert_allclose(scores, expected, atol=1e-3)


def test_hostile_requests_are_refused_with_a_sentence_and_do_no_harm(served, photo):
    import hostile
    from attacker import GIVEN_UP, REFUSALS, Attacker

    path = photo("a.png")
    with Client(served.grpc, timeout=300) as client:
        before = client.score(path)
        calls = hostile.calls()
        for kind, call in calls.items():
            with pytest.raises(ServerError) as caught:
                client.predict(call.signature, call.inputs)
            assert "\n" not in str(caught.value), kind
        attacker = Attacker(served.port, served.rest_port)
        for kind, attack in attacker.attacks.items():
            assert kind in calls or attack() in REFUSALS | {GIVEN_UP}, kind
        attacker.close()
        assert client.score(path) == before
    assert served.process.poll() is None


def test_kill_and_restart_lose_nothing(exported, photo):
    path = photo("a.png", (120, 90))
    server = Serve(exported)
    scores: list[float] = []
    finish = threading.Event()
    with Client(server.grpc, timeout=600) as client:
        expected = client.score(path).score

        def work() -> None:
            while not finish.is_set():
                scores.append(client.score(path).score)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(1)
        server.kill()
        before = len(scores)
        server = Serve(exported, server.port)
        deadline = time.monotonic() + 300
        while len(scores) < before + 8 and time.monotonic() < deadline:
            time.sleep(0.1)
        finish.set()
        for thread in threads:
            thread.join()
    server.kill()
    assert len(scores) >= before + 8  # a thread whose call failed would have ended
    assert scores == pytest.approx([expected] * len(scores), abs=1e-3)


def test_a_server_with_a_real_tensorflow_model_server(exported, photo):
    """Only where TF-Serving itself is installed."""
    import shutil
    import socket

    binary = shutil.which("tensorflow_model_server")
    if binary is None:
        pytest.skip("tensorflow_model_server is not on PATH: TF-Serving itself was not tested")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [binary, f"--port={port}", "--model_name=qdnet", f"--model_base_path={exported}"]
    process = subprocess.Popen(command, env={**os.environ}, stderr=subprocess.DEVNULL)
    try:
        with Client(f"127.0.0.1:{port}", timeout=60, connect_timeout=60) as client:
            assert 0 <= client.score(photo("a.png")).score <= 100
            assert client.enhance(photo("a.png"), 50).pixels.shape == (64, 96, 3)
    finally:
        process.terminate()
        process.wait(30)
