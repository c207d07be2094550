"""Model servers: this project's, in a thread or a process, and TF-Serving where it is installed."""

import asyncio
import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from grpc_health.v1 import health_pb2_grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

TF_SERVING = shutil.which("tensorflow_model_server")


class Calls:
    """Calls of the model `name` at `port` and `rest_port`."""

    name: str
    port: int
    rest_port: int

    def connect(self) -> None:
        self.channel = grpc.insecure_channel(
            f"127.0.0.1:{self.port}",
            [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)],
        )
        self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.models = model_service_pb2_grpc.ModelServiceStub(self.channel)
        self.health = health_pb2_grpc.HealthStub(self.channel)

    def request(self, signature: str = "", version: int | None = None, /, **inputs: Any) -> Any:
        tensors = {name: tf.make_tensor_proto(values) for name, values in inputs.items()}
        request = predict_pb2.PredictRequest(inputs=tensors)
        request.model_spec.name = self.name
        request.model_spec.signature_name = signature
        if version is not None:
            request.model_spec.version.value = version
        return request

    def predict(self, *spec: Any, timeout: float = 60, **inputs: Any) -> dict[str, np.ndarray]:
        response = self.prediction.Predict(self.request(*spec, **inputs), timeout=timeout)
        return {name: tf.make_ndarray(tensor) for name, tensor in response.outputs.items()}

    def states(self) -> dict[int, str]:
        """State of each version that the server knows."""
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = self.name
        names = get_model_status_pb2.ModelVersionStatus.State
        return {
            status.version: names.Name(status.state)
            for status in self.models.GetModelStatus(request, timeout=180).model_version_status
        }

    def metadata(self, *fields: str) -> get_model_metadata_pb2.GetModelMetadataResponse:
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
        request.model_spec.name = self.name
        return self.prediction.GetModelMetadata(request, timeout=180)

    def rest(self, path: str, method: str = "POST", body: Any = None) -> tuple[int, Any]:
        """Status and JSON of `/v1/models/NAME` + path; `body` is JSON or bytes."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        url = f"http://127.0.0.1:{self.rest_port}/v1/models/{self.name}{path}"
        request = urllib.request.Request(url, data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=180) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)
        except OSError as error:  # refused or cut
            return 0, error


class ServingThread(Calls):
    """This project's server in a thread, started when constructed; it answers before it loads.

    Args:
        options: Of `qdnet_keras.server.run.Options`.
    """

    def __init__(self, folder: Path, **options: Any):
        from qdnet_keras.server.run import Options

        self.name = folder.name
        self.error: Exception | None = None
        self.loaded = threading.Event()
        chosen = {"port": free_port(), "rest_port": free_port(), "poll": 0.05, **options}
        self.port, self.rest_port = chosen["port"], chosen["rest_port"]
        self._options = Options(folder, self.name, **chosen)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._thread.start()
        self.connect()

    async def _serve(self) -> None:
        from qdnet_keras.server.run import serve_until

        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        try:
            await serve_until(self._stopping, self._options, lambda *_: self.loaded.set())
        except Exception as error:
            self.error = error
            self.loaded.set()

    def tell_to_stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)

    def stop(self) -> Exception | None:
        """Returns what the server ended with."""
        if self._thread.is_alive():
            self.tell_to_stop()
        self._thread.join(180)
        assert not self._thread.is_alive()
        self.channel.close()
        return self.error


class ServingProcess(Calls):
    """A server in a process, ready when constructed.

    Args:
        kind: "local" or "tensorflow_model_server".
        options: Of `qdnet-keras serve`.
    """

    def __init__(self, kind: str, folder: Path, *options: str, port: int = 0):
        if kind == "local":
            self._start_local(folder, options, port)
        else:
            self._start_tf_serving(folder)
        self.name = folder.name
        self.connect()

    def _start_local(self, folder: Path, options: tuple[str, ...], port: int) -> None:
        command = [sys.executable, "-m", "qdnet_keras", "serve", str(folder), "--json"]
        command += ["--port", str(port), "--rest-port", "0", "--poll", "0.1", *options]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        line = self.process.stdout.readline()
        assert line, self.process.communicate()[1]
        self.port, self.rest_port = (json.loads(line)[key] for key in ("port", "rest_port"))

    def _start_tf_serving(self, folder: Path) -> None:
        self.port, self.rest_port = free_port(), free_port()
        command = [TF_SERVING, f"--port={self.port}", f"--rest_api_port={self.rest_port}"]
        command += [f"--model_name={folder.name}", f"--model_base_path={folder}"]
        command += ["--enable_grpc_healthcheck_service", "--file_system_poll_wait_seconds=1"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        wait_for(lambda: self.rest("", "GET")[0] == 200)

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        code = self.process.wait(timeout=180)
        self.channel.close()
        self.process.stdout.close()
        if self.process.stderr:
            self.process.stderr.close()
        return code


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(condition: Any, timeout: float = 180) -> None:
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)
