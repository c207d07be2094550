"""Two devices, and two processes, train as one does: by the command, in processes of their own."""

import csv
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file
from serving_process import free_port
from small_data import write_data

from qdnet_keras.errors import ConfigError
from qdnet_keras.training.devices import among_workers, on_devices

# Of SGD, which does not magnify what rounding makes of gradients that are nearly 0, as Adam does.
SETTINGS = (
    *("data.batch_size=4", "data.crop=32", "train.steps_per_epoch=2", "loss.cycle=0"),
    *("optimizer.name=sgd", "optimizer.learning_rate=0.01"),
)
TWO_CPUS = """if True:
    import sys
    import tensorflow as tf
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    from qdnet_keras.cli import app
    app(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def start(tmp_path_factory, tiny_preset):
    """Starts a training of two epochs, with dropout, clipping and normalisation that learns."""
    data = write_data(tmp_path_factory.mktemp("data"))

    def start(run, *options, program=("-m", "qdnet_keras"), **environment):
        settings = [
            word for one in (f"train.init={tiny_preset}", *SETTINGS) for word in ("--set", one)
        ]
        words = ["train", "--data", data, "--out", run, "--config", "tiny", *settings, *options]
        return subprocess.Popen(
            [sys.executable, *program, *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )

    return start


def said(process, code=0):
    """What a process printed, when it has ended."""
    try:
        output, errors = process.communicate(timeout=1800)
    finally:
        process.kill()
    assert process.returncode == code, errors[-3000:]
    return output if code == 0 else errors


def places():
    workers = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    return [
        json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}})
        for index in (0, 1)
    ]


@pytest.fixture(scope="module")
def alone(start, tmp_path_factory):
    """The run of one process on one device."""
    run = tmp_path_factory.mktemp("alone") / "run"
    said(start(run))
    return run


def history(run):
    with (run / "history.csv").open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def assert_same(run, other):
    """To float rounding: history and weights."""
    for row, expected in zip(history(run), history(other), strict=True):
        assert row == pytest.approx(expected, rel=1e-4, abs=1e-4)
    for name in ("weights", "calibration"):
        found, expected = (
            load_file(one / "preset" / f"{name}.safetensors") for one in (run, other)
        )
        for weight, values in expected.items():
            np.testing.assert_allclose(found[weight], values, rtol=1e-3, atol=1e-5, err_msg=weight)


def test_two_processes_learn_what_one_learns(start, alone, tmp_path):
    run = tmp_path / "run"
    processes = [start(run, "--workers", "--json", TF_CONFIG=place) for place in places()]
    first, second = (said(process) for process in processes)
    assert json.loads(first)["run"] == str(run) and second == ""
    assert_same(run, alone)


def test_two_devices_go_on_where_one_stopped(start, alone, tmp_path):
    """The run of one device, as it was after its first epoch, resumed on two."""
    run = shutil.copytree(alone, tmp_path / "run")
    shutil.rmtree(run / "preset")
    state = run / "checkpoint" / "checkpoint"
    state.write_text('model_checkpoint_path: "ckpt-1"\nall_model_checkpoint_paths: "ckpt-1"\n')
    said(start(run, "--devices", "all", "--resume", program=("-c", TWO_CPUS)))
    assert_same(run, alone)


def test_a_batch_that_cannot_be_shared(start, tmp_path):
    options = ("--devices", "all", "--set", "data.batch_size=3")
    errors = said(start(tmp_path / "run", *options, program=("-c", TWO_CPUS)), code=5)
    assert errors.splitlines()[-1].startswith("error: A batch of 3 pairs cannot be shared")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("devices", ["", "x", "0,x", "7", "0,99"])
def test_devices_that_are_not_there(devices):
    with pytest.raises(ConfigError, match="neither 'all' nor numbers of GPUs"):
        on_devices(devices)


@pytest.mark.parametrize(
    "place",
    [
        "",
        "{}",
        "[]",
        '{"cluster": {"worker": []}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": "0"}}',
        '{"cluster": {"worker": ["a"]}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "ps", "index": 0}}',
    ],
)
def test_workers_without_their_places(place, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", place)
    with pytest.raises(ConfigError, match="TF_CONFIG, such as"):
        among_workers()
