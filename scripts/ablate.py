"""Trains small networks that differ in one choice each, and prints them side by side.

    python scripts/ablate.py --data DATA [--out runs/ablations] [--only baseline,z-4] [--json]

DATA is a folder of `qdnet-keras data build --keep-hdr` or of its form. Every network starts from
the encoder of a preset, kept as it is, and learns posterior, scorer and decoder anew from few
crops: enough to tell choices apart, far from what the released training reaches. All see the same
pairs in the same order. What is in the output folder is not made again, whatever the options: other
options need another folder.

OUT/NAME/         the preset of each, and its figures
OUT/enhanced.jpg  a test picture as it is and as each network renders it at the target
"""

import contextlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from PIL import Image, ImageDraw

from qdnet_keras.cli.output import run_script
from qdnet_keras.defaults import DEFAULT_PRESET, WORKING_SIDE
from qdnet_keras.evaluation.ablations import ABLATIONS

if TYPE_CHECKING:
    from qdnet_keras.data.manifest import Manifest
    from qdnet_keras.data.pictures import Pictures
    from qdnet_keras.model.qdnet import QDNet
    from qdnet_keras.training.config import Config


COMMON = (
    "train.score_steps=0",
    "train.freeze=encoder",
    "model.dropout=0.2",
    "model.statistics_dropout=0.5",
    "data.crop=128",
    "loss.kl_warmup=0.05",
    "loss.cycle=0.5",
    "loss.cycle_start=0.25",
)
VARIANTS = {"baseline": (), **ABLATIONS}
BANK_PICTURES = 256
LADDER = (35.0, 40.0, 45.0, 50.0, 55.0, 60.0, 65.0)
Statistics = list[np.ndarray]  # of whole pictures, `[count, channels]` a stage


def encoder_alone(preset: str, folder: Path) -> Path:
    """A preset folder that holds nothing but the encoder of another one."""
    from safetensors.numpy import load_file, save_file

    from qdnet_keras.model.presets import CALIBRATION, CONFIG, WEIGHTS, preset_folder
    from qdnet_keras.training.start import PARTS

    source = preset_folder(preset)
    folder.mkdir(parents=True, exist_ok=True)
    weights = load_file(source / WEIGHTS)
    _, *others = PARTS
    kept = {n: w for n, w in weights.items() if n.split("/")[0] not in others}
    save_file(kept, folder / WEIGHTS)
    for name in (CALIBRATION, CONFIG):
        (folder / name).write_bytes((source / name).read_bytes())
    return folder


def seen_by(model: "QDNet", statistics: Statistics) -> Statistics:
    """Those that a network's posterior sees, of what `everything` gave."""
    stages = len(model.encoder.channels)
    seen = [statistics[i] for i in model.z_stages]
    return seen + statistics[stages : stages + len(model.picture_statistics)]


def everything(preset: str) -> "QDNet":
    """The network of a preset, but its posterior sees every stage and each picture statistic."""
    from qdnet_keras.model.encoder import Encoder
    from qdnet_keras.model.presets import preset_folder, read_preset_config
    from qdnet_keras.model.qdnet import QDNet
    from qdnet_keras.training.start import start_from

    config = read_preset_config(preset)["model"]
    stages = range(len(Encoder.from_config(config["encoder"]).channels))
    model = QDNet.from_config({**config, "z_stages": list(stages)})
    model.build()
    start_from(model, preset_folder(preset))
    return model


def train(
    training: "Manifest",
    store: "Pictures",
    config: "Config",
    common: Statistics,
    validation: tuple[Statistics, np.ndarray],
) -> "QDNet":
    """What `qdnet_keras.training.loop.train` does, but with fewer pictures in bank and statistics.

    Args:
        common: Statistics of training pictures, for the bank, the posterior and the novelty.
        validation: Statistics and MOS, for the scale of the scores.
    """
    import keras

    from qdnet_keras.data.pairs import training_pairs
    from qdnet_keras.training.release import calibrate
    from qdnet_keras.training.start import build_model

    keras.utils.set_random_seed(config.train.seed)
    steps = config.train.steps_per_epoch
    assert steps
    model = build_model(config, training, steps)
    pairs = training_pairs(
        training,
        store,
        batch_size=config.data.batch_size,
        crop=config.data.crop,
        scale=config.data.scale,
        seed=config.train.seed,
    )
    model.fit(pairs, steps_per_epoch=steps, shuffle=False)
    model.optimizer.finalize_variable_values(model.trainable_variables)
    seen = seen_by(model, common)
    model.posterior.adapt(seen)
    model.novelty.adapt(np.concatenate(seen, axis=-1))
    model.fill_bank(np.asarray(model.posterior(seen)[0]))
    unseen, mos = validation
    loc, scale = model.posterior(seen_by(model, unseen))
    calibrate(model, np.asarray(loc), np.asarray(scale), mos)
    return model


def score_figures(model: "QDNet", statistics: Statistics, test: "Manifest") -> dict[str, float]:
    """Agreement with the test split's MOS, from the statistics of its pictures."""
    from qdnet_keras.metrics import plcc, srocc, within_group_srocc

    loc, _ = model.posterior(seen_by(model, statistics))
    predicted = np.asarray(model.score_latent(loc))
    scenes = [rendering.scene for rendering in test.renderings]
    return {
        "srocc": srocc(predicted, test.mos),
        "plcc": plcc(predicted, test.mos),
        "within-scene srocc": within_group_srocc(predicted, test.mos, scenes),
    }


def rendering_figures(
    model: "QDNet", data: Path, test: "Manifest", every: int, target: float
) -> dict[str, float]:
    """Pictures on every n-th test scene, enhancement on every n-th rendering of the lower half."""
    from qdnet_keras.evaluation.enhancement import OURS, compare_enhancement
    from qdnet_keras.evaluation.renderings import enhancement_figures, picture_figures

    scenes = list(test.by_scene())[::every]
    some = test.subset(i for i, r in enumerate(test.renderings) if r.scene in scenes)
    pictures = picture_figures(model, some, WORKING_SIDE)
    enhanced = compare_enhancement(model, test, data / "hdr", every, target)[OURS]
    ladders = enhancement_figures(model, test, WORKING_SIDE, 8 * every, LADDER)
    names = "TMQI gain", "TMQI rose", "score gained", "gradient correlation", "shift of greys"
    return {
        **{name: pictures[name] for name in ("reconstruction psnr", "swapped gain", "z effect")},
        **{name: enhanced[name] for name in names},
        "rising ladders": ladders["ladders that never fall"],
    }


def contact_sheet(pictures: dict[str, np.ndarray]) -> Image.Image:
    """Named pictures of one size, five in a row."""
    height, width, _ = next(iter(pictures.values())).shape
    caption, columns = 18, 5
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * width, rows * (height + caption)), "white")
    draw = ImageDraw.Draw(sheet)
    for i, (name, picture) in enumerate(pictures.items()):
        x, y = i % columns * width, i // columns * (height + caption)
        sheet.paste(Image.fromarray(picture), (x, y))
        draw.text((x + 4, y + height + 2), name, "black", font_size=14)
    return sheet


def ablate(
    chosen: list[str],
    data: Path,
    out: Path,
    preset: str,
    steps: int,
    every: int,
    target: float,
    picture: int,
) -> dict[str, dict[str, float]]:
    """Trains and judges what is not there yet; figures by name."""
    from qdnet_keras.data.pairs import training_pictures
    from qdnet_keras.data.reading import read_manifest
    from qdnet_keras.data.splits import assign_splits
    from qdnet_keras.model.enhancement import enhance_pixels
    from qdnet_keras.model.presets import CONFIG
    from qdnet_keras.model.qdnet import QDNet
    from qdnet_keras.photos.files import read_photo
    from qdnet_keras.training.config import load_config
    from qdnet_keras.training.scores import whole_picture_statistics

    manifest = assign_splits(read_manifest(data))
    training, test = manifest.select("train"), manifest.select("test")
    held_out = manifest.select("val")
    start = everything(preset)
    spread = np.linspace(0, len(training) - 1, BANK_PICTURES).round().astype(int)
    common = whole_picture_statistics(start, training.subset(spread))
    validation = whole_picture_statistics(start, held_out), held_out.mos
    statistics = whole_picture_statistics(start, test)

    encoder = encoder_alone(preset, out / "encoder")
    length = f"train.init={encoder}", "train.epochs=1", f"train.steps_per_epoch={steps}"
    store = training_pictures(training, WORKING_SIDE)
    shown = read_photo(test.renderings[picture].file).srgb
    pictures, table = {"as it is": shown}, {}
    for name in chosen:
        folder = out / name
        if not (folder / CONFIG).is_file():
            print(name, flush=True)
            config = load_config("refine", [*COMMON, *length, *VARIANTS[name]])
            train(training, store, config, common, validation).save_to_preset(folder)
        model = QDNet.from_preset(folder)
        stored = folder / "figures.json"
        if not stored.exists():
            figures = score_figures(model, statistics, test)
            figures |= rendering_figures(model, data, test, every, target)
            stored.write_text(json.dumps(figures))
        table[name] = json.loads(stored.read_text())
        pictures[name] = enhance_pixels(model, shown, target).pixels
        contact_sheet(pictures).save(out / "enhanced.jpg", quality=90)
    return table


def main(
    data: Annotated[Path, typer.Option(help="Folder with labels, splits and hdr/.")],
    out: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("runs/ablations"),
    preset: Annotated[str, typer.Option(help="Preset that gives the encoder.")] = DEFAULT_PRESET,
    only: Annotated[str, typer.Option(help="Names of variants; default all.")] = "",
    steps: Annotated[int, typer.Option(help="Steps of each training.")] = 400,
    every: Annotated[int, typer.Option(help="Judge every n-th scene and rendering.")] = 8,
    target: Annotated[float, typer.Option(help="Score asked for.")] = 60.0,
    picture: Annotated[int, typer.Option(help="Test picture to show.")] = 2,
    json_output: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    chosen = only.split(",") if only else list(VARIANTS)
    if unknown := [name for name in chosen if name not in VARIANTS]:
        raise typer.BadParameter(f"{unknown[0]!r} is none of {', '.join(VARIANTS)}.")
    with contextlib.redirect_stdout(sys.stderr):
        table = ablate(chosen, data, out, preset, steps, every, target, picture)
    if json_output:
        print(json.dumps(table))
        return
    columns = list(next(iter(table.values())))
    print("| |" + "".join(f" {column} |" for column in columns))
    print("|---" * (len(columns) + 1) + "|")
    for name, row in table.items():
        print(f"| {name} |" + "".join(f" {row[column]:.3f} |" for column in columns))


if __name__ == "__main__":
    run_script(main)
