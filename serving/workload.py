"""What the load test and the soak test have in common: pictures, the model in process, clocks."""

import io
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from qdnet_keras.defaults import WORKING_SIDE
from qdnet_keras.photos.files import working_copy

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Call:
    """One Predict call."""

    signature: str
    inputs: Arrays


def photograph(megapixels: float, seed: int) -> np.ndarray:
    """A bundled photograph in another size and shape, uint8 `[height, width, 3]`."""
    samples = sorted((resources.files("qdnet_keras") / "samples").iterdir(), key=lambda f: f.name)
    files = [sample for sample in samples if sample.name.endswith(".jpg")]
    aspect = (1.5, 4 / 3, 16 / 9, 0.75)[seed % 4]
    height = round((megapixels * 1e6 / aspect) ** 0.5)
    with Image.open(io.BytesIO(files[seed % len(files)].read_bytes())) as image:
        size = (round(aspect * height), height)
        return np.asarray(image.convert("RGB").resize(size, Image.Resampling.BICUBIC))


def jpeg(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=92)
    return file.getvalue()


def call_for(signature: str, pixels: np.ndarray, target: float, batch: int = 1) -> Call:
    """A call of any signature for one picture, `batch` times; the files are JPEG."""
    inputs: Arrays = {}
    if signature.endswith("_bytes"):
        inputs["image_bytes"] = np.array([jpeg(pixels)] * batch, np.object_)
    elif signature == "score_copy":
        inputs["copy"] = np.stack([working_copy(pixels, WORKING_SIDE)] * batch)
    else:
        inputs["image"] = np.stack([pixels] * batch)
    if signature.startswith("enhance"):
        inputs["target"] = np.full(batch, target, np.float32)
    return Call(signature, inputs)


def newest_version(model: Path) -> Path:
    """The folder of the highest version in the folder of a model, or the folder itself."""
    versions = [folder for folder in model.iterdir() if folder.name.isdecimal()]
    return max(versions, key=lambda folder: int(folder.name)) if versions else model


def closed_loop(
    work: Callable[[int], Any], seconds: float, concurrency: int
) -> tuple[list[float], float]:
    """Each of `concurrency` threads does `work(n)` again as soon as it is done.

    Returns:
        The seconds that each call took, and those from the first start to the last end.
    """
    latencies: list[float] = []
    errors: list[Exception] = []
    start = time.perf_counter()

    def loop(thread: int) -> None:
        number = thread
        while time.perf_counter() < start + seconds and not errors:
            begun = time.perf_counter()
            try:
                work(number)
            except Exception as error:
                errors.append(error)
            latencies.append(time.perf_counter() - begun)
            number += concurrency

    threads = [threading.Thread(target=loop, args=(index,)) for index in range(concurrency)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return latencies, time.perf_counter() - start


class InProcess:
    """An exported model called directly, in a process of its own so that it shares nothing.

    Args:
        folder: A version's folder.
    """

    def __init__(self, folder: Path):
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(str(folder), other), daemon=True)
        self._process.start()

    def answers(self, calls: Sequence[Call]) -> list[Arrays]:
        """The outputs of each call."""
        return self._ask("answers", list(calls))

    def closed_loop(
        self, calls: Sequence[Call], seconds: float, concurrency: int
    ) -> tuple[list[float], float]:
        """See `closed_loop`; the calls take turns."""
        return self._ask("loop", (list(calls), seconds, concurrency))

    def close(self) -> None:
        self._connection.close()
        self._process.join(10)
        self._process.kill()

    def _ask(self, question: str, argument: Any) -> Any:
        self._connection.send((question, argument))
        answer = self._connection.recv()
        if isinstance(answer, Exception):
            raise answer
        return answer


def _serve(folder: str, connection: Connection) -> None:
    """Answers questions until the other end is closed."""
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as `qdnet-keras serve` has it
    import tensorflow as tf

    session = tf.compat.v1.Session(graph=tf.Graph())
    with session.graph.as_default():
        loaded = tf.compat.v1.saved_model.loader.load(session, ["serve"], folder)

    def run(call: Call) -> Arrays:
        signature = loaded.signature_def[call.signature]
        feeds = {signature.inputs[name].name: value for name, value in call.inputs.items()}
        fetches = {name: tensor.name for name, tensor in signature.outputs.items()}
        return session.run(fetches, feeds)

    def answer(question: str, argument: Any) -> Any:
        if question == "answers":
            return [run(call) for call in argument]
        calls, seconds, concurrency = argument
        return closed_loop(lambda number: run(calls[number % len(calls)]), seconds, concurrency)

    while True:
        try:
            asked = connection.recv()
        except EOFError:
            return
        try:
            connection.send(answer(*asked))
        except Exception as error:
            connection.send(RuntimeError(str(error)))
