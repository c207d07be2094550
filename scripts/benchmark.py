"""Time and memory of score and enhance by picture size, beside a bare ResNet50 pass, in one run.

    python scripts/benchmark.py [--preset open-tm] [--repeat 5] [--json]

Each size runs in a process of its own, so that its peak memory is its own. `ratio` divides by the
forward pass of `keras.applications.ResNet50(include_top=False)` on the same working copy, timed in
turn with it in the same process; machines are noisy, ratios less so.
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Annotated

import numpy as np
import typer

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as the commands have it
SIZES = {"0.25": (408, 612), "1": (816, 1224), "4": (1632, 2448), "24": (4000, 6000)}


def photograph(height: int, width: int) -> np.ndarray:
    """A smooth scene with edges and grain, uint8 `[height, width, 3]`."""
    generator = np.random.default_rng(0)
    coarse = generator.uniform(30, 220, (9, 13, 3)).astype(np.float32)
    rows = np.linspace(0, 8, height).astype(int)
    columns = np.linspace(0, 12, width).astype(int)
    picture = coarse[rows][:, columns]
    picture += generator.integers(-9, 9, (height, width, 1), dtype=np.int8)
    return np.clip(picture, 0, 255).astype(np.uint8)


def milliseconds(functions: dict[str, Callable], repeat: int) -> dict[str, float]:
    """Median time of each function; they take turns, after one turn that is not counted."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(repeat + 1):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            if turn:
                times[name].append(1000 * (time.perf_counter() - start))
    return {name: float(np.median(values)) for name, values in times.items()}


def measure(size: str, preset: str, repeat: int) -> dict[str, float]:
    import keras
    import tensorflow as tf

    from qdnet_keras.model.enhancement import enhance_pixels
    from qdnet_keras.model.qdnet import QDNet
    from qdnet_keras.model.scoring import WORKING_SIDE, score_pixels
    from qdnet_keras.photos.files import working_copy

    pixels = photograph(*SIZES[size])
    model = QDNet.from_preset(preset)
    target = score_pixels(model, pixels).score + 8.0
    score_pixels(model, pixels)
    enhance_pixels(model, pixels, target)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2

    backbone = keras.applications.ResNet50(include_top=False, weights=None)
    forward = tf.function(lambda image: backbone(image, training=False))
    working = tf.constant(working_copy(pixels, WORKING_SIDE)[None])
    times = milliseconds(
        {
            "resnet50": lambda: forward(working),
            "score": lambda: score_pixels(model, pixels),
            "enhance": lambda: enhance_pixels(model, pixels, target),
        },
        repeat,
    )
    return {
        **times,
        "score ratio": times["score"] / times["resnet50"],
        "enhance ratio": times["enhance"] / times["resnet50"],
        "peak GB": peak,
    }


def main(
    preset: Annotated[str, typer.Option(help="Name or folder of a preset.")] = "open-tm",
    repeat: Annotated[int, typer.Option(help="Turns that are counted.")] = 5,
    size: Annotated[str, typer.Option(help="Megapixels: one of 0.25, 1, 4, 24; default all.")] = "",
    json_output: Annotated[bool, typer.Option("--json", help="One JSON object a size.")] = False,
) -> None:
    if size:
        print(json.dumps({"megapixels": float(size), **measure(size, preset, repeat)}))
        return
    header = ("resnet50", "score", "enhance", "score ratio", "enhance ratio", "peak GB")
    if not json_output:
        print(f"{'MP':>5s} " + " ".join(f"{name:>13s}" for name in header) + "   (times in ms)")
    for name in SIZES:
        command = [sys.executable, __file__, "--size", name, "--preset", preset]
        command += ["--repeat", str(repeat)]
        line = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        if json_output:
            print(line, end="", flush=True)
            continue
        values = json.loads(line)
        print(f"{name:>5s} " + " ".join(f"{values[key]:13.2f}" for key in header), flush=True)


if __name__ == "__main__":
    typer.run(main)
