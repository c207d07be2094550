"""Two devices, and two processes, train as one does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from serving_process import free_port

SCRIPT = Path(__file__).with_name("distributed_training.py")


def start(kind, **environment):
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), kind],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def losses(process):
    try:
        output, errors = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == 0, errors[-3000:]
    return json.loads(output.splitlines()[-1])


@pytest.fixture(scope="module")
def alone():
    values = losses(start("one"))
    assert len(set(values)) == len(values)
    return values


def test_two_devices_learn_what_one_learns(alone):
    np.testing.assert_allclose(losses(start("mirrored")), alone, rtol=1e-4)


def test_two_processes_learn_what_one_learns(alone):
    workers = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    places = [
        {"cluster": {"worker": workers}, "task": {"type": "worker", "index": i}} for i in (0, 1)
    ]
    processes = [start("workers", TF_CONFIG=json.dumps(place)) for place in places]
    for process in processes:
        np.testing.assert_allclose(losses(process), alone, rtol=1e-4)
