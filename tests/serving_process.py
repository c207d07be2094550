"""Model servers as processes: this project's, and TF-Serving itself where it is installed."""

import json
import shutil
import signal
import socket
import subprocess
import sys
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


class ServingProcess:
    """A server of the model `name` in a process, ready when constructed.

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
        self.channel = grpc.insecure_channel(
            f"127.0.0.1:{self.port}",
            [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)],
        )
        self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.models = model_service_pb2_grpc.ModelServiceStub(self.channel)
        self.health = health_pb2_grpc.HealthStub(self.channel)

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
