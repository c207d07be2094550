"""The devices and processes that a training runs on, as `tf.distribute` strategies."""

import json
import os
from contextlib import suppress

import tensorflow as tf

from qdnet_keras.errors import ConfigError, QDNetError
from qdnet_keras.files import reason

EXAMPLE = (
    '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}'
)


def fix_order_of_operations() -> None:
    """On CPUs, lets one operation run at a time (on all cores) and sum in a fixed order.

    So results repeat in every process. TensorFlow accepts this only before its first operation.
    """
    if tf.config.list_physical_devices("GPU"):
        return
    with suppress(RuntimeError):
        tf.config.threading.set_inter_op_parallelism_threads(1)
        tf.config.experimental.enable_op_determinism()


def on_devices(devices: str) -> tf.distribute.Strategy:
    """A strategy for some GPUs of this machine, or for its CPUs where it has none.

    Args:
        devices: "all", or numbers of GPUs such as "0,1".

    Raises:
        ConfigError: If a device is not there.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if devices != "all":
        try:
            chosen = [gpus[int(number)] for number in devices.split(",")]
        except (ValueError, IndexError):
            known = f"GPUs 0 to {len(gpus) - 1}" if gpus else "no GPU"
            raise ConfigError(
                f"--devices {devices} is neither 'all' nor numbers of GPUs, such as 0,1; this "
                f"machine has {known}."
            ) from None
        tf.config.set_visible_devices(chosen, "GPU")
    names = [device.name for device in tf.config.list_logical_devices("GPU" if gpus else "CPU")]
    return tf.distribute.MirroredStrategy(names) if len(names) > 1 else tf.distribute.get_strategy()


def among_workers() -> tf.distribute.MultiWorkerMirroredStrategy:
    """A strategy for all processes that `TF_CONFIG` lists; waits until they are all there.

    Raises:
        ConfigError: If `TF_CONFIG` does not say which they are, and which of them this one is.
        QDNetError: If this one's port cannot be used.
    """
    try:
        place = json.loads(os.environ["TF_CONFIG"])
        index, workers = place["task"]["index"], place["cluster"]["worker"]
        known = place["task"]["type"] == "worker" and 0 <= index < len(workers) > 0
        if not known or not all(":" in worker for worker in workers):
            raise ValueError
    except (KeyError, TypeError, ValueError):
        raise ConfigError(
            "--workers needs the addresses of all processes, and which of them this one is, in the "
            f"environment variable TF_CONFIG, such as {EXAMPLE}."
        ) from None
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except (tf.errors.OpError, RuntimeError) as error:
        raise QDNetError(f"{workers[index]} cannot be served ({reason(error)}).") from error


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process is the one that writes: the first, where there are several."""
    several = isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
    return not several or strategy.cluster_resolver.task_id == 0
