"""The local server's life: new versions, ends, starts that fail."""

import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import tensorflow as tf
from grpc import StatusCode
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from served_arithmetic import X, add_version, code_of
from serving_process import ServingProcess, ServingThread, wait_for
from typer.testing import CliRunner

from qdnet_keras.cli import app
from qdnet_keras.server import versions

CHECK = HealthCheckRequest()


@pytest.fixture
def own(tmp_path):
    """Starts local servers of `own.folder`, one model of version 1, that a test may end."""
    folder = tmp_path / "toy"
    folder.mkdir()
    add_version(folder, 1, 2.0)
    started = []

    def start(**options) -> ServingThread:
        started.append(ServingThread(folder, **options))
        return started[-1]

    start.folder = folder
    yield start
    for server in started:
        server.stop()


def test_a_new_version_takes_over_while_the_old_one_answers(own, tmp_path):
    server, path = own(), tmp_path / "go"
    assert server.loaded.wait(180)
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


def test_while_it_loads_it_says_so(own, monkeypatch):
    load, let_go = versions.Servable, threading.Event()

    def slow(*arguments):
        let_go.wait()
        return load(*arguments)

    monkeypatch.setattr(versions, "Servable", slow)
    server = own()
    wait_for(lambda: server.rest("", "GET")[0] == 200)
    assert server.states() == {1: "LOADING"}
    code, details = code_of(server.predict, x=X)
    assert (code, "loading" in details) == (StatusCode.UNAVAILABLE, True)
    assert server.rest(":predict", body={"instances": [[1, 2]]})[0] == 503
    assert server.rest("/metadata", "GET")[0] == 503
    assert server.health.Check(CHECK).status == HealthCheckResponse.NOT_SERVING
    let_go.set()
    assert server.loaded.wait(180)
    assert server.predict(x=X)["score"][0] == 6
    assert server.health.Check(CHECK).status == HealthCheckResponse.SERVING


def test_told_to_stop_it_ends_its_requests(own, tmp_path):
    server, path = own(), tmp_path / "go"
    assert server.loaded.wait(180)
    body = {"signature_name": "hold", "inputs": [str(path)]}
    with ThreadPoolExecutor(2) as pool:
        calls = [
            pool.submit(server.predict, "hold", path=[str(path)]),
            pool.submit(server.rest, ":predict", body=body),
        ]
        time.sleep(1)
        server.tell_to_stop()
        wait_for(lambda: server.rest("", "GET")[0] == 0)
        assert code_of(server.predict, x=X, timeout=20)[0] == StatusCode.UNAVAILABLE
        path.touch()
        assert calls[0].result()["factor"] == 2
        assert calls[1].result() == (200, {"outputs": 2.0})
    assert server.stop() is None


def test_told_to_stop_it_goes_after_the_grace_whatever_still_computes(own, tmp_path):
    server = own(grace=0.5)
    assert server.loaded.wait(180)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(server.predict, "hold", path=[str(tmp_path / "never")])
        time.sleep(1)
        assert "1 requests were broken off" in str(server.stop())
        assert call.exception().code() in (StatusCode.UNAVAILABLE, StatusCode.CANCELLED)


def test_killed_it_starts_again_on_its_port_and_ends_by_a_signal(own):
    server = ServingProcess("local", own.folder)
    server.process.kill()
    server.process.wait()
    again = ServingProcess("local", own.folder, port=server.port)
    answer = server.prediction.Predict(server.request(x=X), wait_for_ready=True, timeout=600)
    assert tf.make_ndarray(answer.outputs["score"]).tolist() == [6, 14]
    assert again.stop() == 0


@pytest.mark.parametrize("start", ["", "damaged"])
def test_a_folder_without_a_model_is_one_sentence(tmp_path, start):
    if start:
        (tmp_path / "1").mkdir()
        (tmp_path / "1" / "saved_model.pb").write_bytes(b"damaged")
    done = CliRunner().invoke(app, ["serve", str(tmp_path), "--port", "0"])
    assert done.exit_code == 6
    assert "export" in done.stderr.splitlines()[-1]
