"""The local server's life: new versions, ends, starts that fail."""

import shutil
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from grpc import StatusCode
from served_arithmetic import X, add_version, code_of
from serving_process import ServingProcess, wait_for
from typer.testing import CliRunner

from qdnet_keras.cli import app


@pytest.fixture
def own(tmp_path, request):
    """Starts local servers of `own.folder`, one model of version 1, that a test may end."""
    folder = tmp_path / "toy"
    folder.mkdir()
    add_version(folder, 1, 2.0)
    started = []

    def start(*options: str, port: int = 0) -> ServingProcess:
        started.append(ServingProcess("local", folder, *options, port=port))
        return started[-1]

    start.folder = folder
    yield start
    for server in started:
        if server.process.poll() is None:
            server.stop(signal.SIGKILL)


def test_a_new_version_takes_over_while_the_old_one_answers(own, tmp_path):
    server, path = own(), tmp_path / "go"
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(server.predict, "hold", path=[str(path)])
        time.sleep(1)
        add_version(own.folder, 2, 10.0)
        wait_for(lambda: server.predict(x=X)["score"][0] == 30)
        assert server.states() == {1: "UNLOADING", 2: "AVAILABLE"}
        assert code_of(server.predict, "", 1, x=X)[0] == StatusCode.NOT_FOUND
        path.touch()
        assert held.result()["factor"] == 2
    wait_for(lambda: server.states() == {1: "END", 2: "AVAILABLE"})

    (own.folder / "3").mkdir()
    (own.folder / "3" / "saved_model.pb").write_bytes(b"damaged")
    wait_for(lambda: server.states().get(3) == "END")
    assert server.predict(x=X)["score"][0] == 30
    (failed,) = server.rest("/versions/3", "GET")[1]["model_version_status"]
    assert failed["status"]["error_code"] == "UNKNOWN"

    shutil.rmtree(own.folder / "3")
    shutil.rmtree(own.folder / "2")  # a roll-back
    wait_for(lambda: server.predict(x=X)["score"][0] == 6)


def test_killed_it_starts_again_and_told_to_stop_it_ends_its_requests(own, tmp_path):
    server = own()
    answers: list[float] = []

    def ask_until_answered() -> None:
        for _ in range(10):
            end = time.monotonic() + 180
            while time.monotonic() < end:
                try:
                    answers.append(server.predict(x=X, timeout=10)["score"][0])
                    break
                except grpc.RpcError:
                    time.sleep(0.1)

    client = threading.Thread(target=ask_until_answered)
    server.process.kill()
    server.process.wait()
    client.start()
    again = own(port=server.port)
    client.join(timeout=240)
    assert answers == [6] * 10

    path = tmp_path / "go"
    body = {"signature_name": "hold", "inputs": [str(path)]}
    with ThreadPoolExecutor(2) as pool:
        calls = [
            pool.submit(again.predict, "hold", path=[str(path)]),
            pool.submit(again.rest, ":predict", body=body),
        ]
        time.sleep(1)
        again.process.send_signal(signal.SIGTERM)
        wait_for(lambda: again.rest("", "GET")[0] == 0)
        assert code_of(again.predict, x=X, timeout=20)[0] == StatusCode.UNAVAILABLE
        path.touch()
        assert calls[0].result()["factor"] == 2
        assert calls[1].result() == (200, {"outputs": 2.0})
    assert again.process.wait(60) == 0


def test_told_to_stop_it_goes_after_the_grace_whatever_still_computes(own, tmp_path):
    server = own("--grace", "1")
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(server.predict, "hold", path=[str(tmp_path / "never")])
        time.sleep(1)
        assert server.stop() == 8
        assert call.exception().code() in (StatusCode.UNAVAILABLE, StatusCode.CANCELLED)


@pytest.mark.parametrize("start", ["", "damaged"])
def test_a_folder_without_a_model_is_one_sentence(tmp_path, start):
    if start:
        (tmp_path / "1").mkdir()
        (tmp_path / "1" / "saved_model.pb").write_bytes(b"damaged")
    done = CliRunner().invoke(app, ["serve", str(tmp_path), "--port", "0"])
    assert done.exit_code == 6
    assert "export" in done.stderr.splitlines()[-1]
