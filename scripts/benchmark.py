"""Time and memory beside something that everybody has, in one run: machines are noisy, ratios less.

    python scripts/benchmark.py pictures [--preset PRESET] [--repeat 5] [--json]
    python scripts/benchmark.py start [--repeat 3] [--json]
    python scripts/benchmark.py training --data DATA [--config scratch] [--steps 10]

pictures: `score` and `enhance` by picture size, each size in a process of its own, so that its peak
memory is its own, timed in turn with the forward pass of
`keras.applications.ResNet50(include_top=False)` on the same working copy. The ratios are of `score`
to that pass and of `enhance` to `score`.
start: cold commands on a small picture beside a bare `import tensorflow`, fresh processes; and
`score` of a JPEG of 24 megapixels beside that of the small one.
training: a step and a forward and backward pass of ResNet50 on as many pictures, in turn on one
fixed batch; and the pairs alone, which are made while a step is computed.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image

import qdnet_keras
from qdnet_keras.defaults import DEFAULT_CONFIG, DEFAULT_PRESET

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as the commands have it
app = typer.Typer(no_args_is_help=True, add_completion=False)
SIZES = {"0.25": (408, 612), "1": (816, 1224), "4": (1632, 2448), "24": (4000, 6000)}


def photograph(height: int, width: int) -> np.ndarray:
    """A smooth scene with edges and grain, uint8 `[height, width, 3]`."""
    generator = np.random.default_rng(0)
    coarse = generator.uniform(30, 220, (9, 13, 3)).astype(np.float32)
    rows = np.linspace(0, 8, height).astype(int)
    columns = np.linspace(0, 12, width).astype(int)
    picture = coarse[rows][:, columns]
    picture += generator.integers(-9, 9, (height, width, 1), dtype=np.int8)
    return np.ascontiguousarray(np.clip(picture, 0, 255), np.uint8)  # as files are decoded


def milliseconds(functions: Mapping[str, Callable], repeat: int) -> dict[str, float]:
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
        "enhance ratio": times["enhance"] / times["score"],
        "peak GB": peak,
    }


@app.command()
def pictures(
    preset: Annotated[str, typer.Option(help="Name or folder of a preset.")] = DEFAULT_PRESET,
    repeat: Annotated[int, typer.Option(help="Turns that are counted.")] = 5,
    size: Annotated[str, typer.Option(help="Megapixels: one of 0.25, 1, 4, 24; default all.")] = "",
    json_output: Annotated[bool, typer.Option("--json", help="One JSON object a size.")] = False,
) -> None:
    """Score and enhance by picture size, beside a bare ResNet50 pass."""
    if size:
        print(json.dumps({"megapixels": float(size), **measure(size, preset, repeat)}))
        return
    header = ("resnet50", "score", "enhance", "score ratio", "enhance ratio", "peak GB")
    if not json_output:
        print(f"{'MP':>5s} " + " ".join(f"{name:>13s}" for name in header) + "   (times in ms)")
    for name in SIZES:
        command = [sys.executable, __file__, "pictures", "--size", name, "--preset", preset]
        command += ["--repeat", str(repeat)]
        line = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        if json_output:
            print(line, end="", flush=True)
            continue
        values = json.loads(line)
        print(f"{name:>5s} " + " ".join(f"{values[key]:13.2f}" for key in header), flush=True)


@app.command()
def start(
    repeat: Annotated[int, typer.Option(help="Turns that are counted.")] = 3,
    json_output: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Cold `score` and `enhance` of a small picture beside `import tensorflow`."""
    sample = Path(qdnet_keras.__file__).parent / "samples" / "sunrise_washed.jpg"
    with tempfile.TemporaryDirectory() as folder:
        large = f"{folder}/large.jpg"
        Image.fromarray(photograph(*SIZES["24"])).save(large, quality=95)
        command = (sys.executable, "-m", "qdnet_keras")
        enhance = ("enhance", str(sample), "--target", "50", "-o", f"{folder}/out.jpg", "--force")
        commands = {
            "import": (sys.executable, "-c", "import tensorflow"),
            "score": (*command, "score", str(sample)),
            "score 24 MP": (*command, "score", large),
            "enhance": (*command, *enhance),
        }
        runs = {
            name: partial(subprocess.run, words, check=True, capture_output=True)
            for name, words in commands.items()
        }
        times = milliseconds(runs, repeat)
    ratios = {
        "score / import": times["score"] / times["import"],
        "enhance / import": times["enhance"] / times["import"],
        "score 24 MP / score": times["score 24 MP"] / times["score"],
    }
    if json_output:
        print(json.dumps({**times, **ratios}))
        return
    for name, value in times.items():
        print(f"{name:20s} {value / 1000:6.1f} s")
    for name, value in ratios.items():
        print(f"{name:20s} {value:6.2f}")


@app.command()
def training(
    data: Annotated[Path, typer.Option(help="Any manifest that training reads.")],
    config: Annotated[str, typer.Option(help="Name or file of a configuration.")] = DEFAULT_CONFIG,
    steps: Annotated[int, typer.Option(help="Batches to time.")] = 10,
) -> None:
    """A training step beside a bare ResNet50 pass, and what share of it the data costs."""
    import keras
    import tensorflow as tf

    from qdnet_keras.data.pairs import training_pairs, training_pictures
    from qdnet_keras.data.reading import read_manifest
    from qdnet_keras.data.splits import assign_splits
    from qdnet_keras.training.config import load_config
    from qdnet_keras.training.start import build_model

    settings = load_config(config)
    manifest = assign_splits(read_manifest(data)).select("train")
    start = time.perf_counter()
    store = training_pictures(manifest, settings.data.max_side)
    print(f"sizes of {len(manifest)} pictures: {time.perf_counter() - start:.1f} s")
    section = settings.data
    pairs = training_pairs(
        manifest, store, batch_size=section.batch_size, crop=section.crop, scale=section.scale
    )
    start = time.perf_counter()
    for _ in pairs.take(steps):
        pass
    data_time = (time.perf_counter() - start) / steps

    batch = next(iter(pairs))
    model = build_model(settings, manifest, steps)
    train = tf.function(model.train_step)
    backbone = keras.applications.ResNet50(include_top=False, weights=None)

    @tf.function
    def bare(image: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(backbone(image, training=True))
        return tape.gradient(loss, backbone.trainable_variables)

    pictures = tf.concat([batch["image"], batch["pair"]], axis=0)
    times: dict[str, list[float]] = {"step": [], "bare": []}
    for turn in range(steps + 1):
        for name, run in (("step", lambda: train(batch)), ("bare", lambda: bare(pictures))):
            start = time.perf_counter()
            run()
            if turn:
                times[name].append(time.perf_counter() - start)
    step_time, bare_time = (float(np.median(values)) for values in times.values())
    count = len(pictures)
    print(f"training step: {1000 * step_time:.1f} ms, {count / step_time:.1f} pictures/s")
    print(f"bare ResNet50: {1000 * bare_time:.1f} ms, {count / bare_time:.1f} pictures/s")
    print(f"ratio: {bare_time / step_time:.2f}")
    print(f"pairs: {1000 * data_time:.1f} ms a batch of {section.batch_size}")
    print(f"share of the data: {100 * data_time / (data_time + step_time):.1f} %")


if __name__ == "__main__":
    app()
