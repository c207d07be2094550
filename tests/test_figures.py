"""Figures as files: what is drawn where, and the commands that write them."""

import csv
import io
import json
from base64 import b64decode
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import qdnet_keras
from qdnet_keras.cli import app
from qdnet_keras.figures.ladder import ladder, ladder_svg
from qdnet_keras.figures.tsne import draw_latents, place_latents

SVG = "{http://www.w3.org/2000/svg}"
COLOURS = [(200, 30, 30), (30, 180, 30), (40, 40, 220), (220, 200, 40), (90, 20, 120), (0, 0, 0)]


def tiles(count: int, size: tuple[int, int] = (80, 60)) -> list[tuple[np.ndarray, str]]:
    return [
        (np.full((size[1], size[0], 3), COLOURS[i], np.uint8), f"target {i}\nscores <{i}> & more")
        for i in range(count)
    ]


def images_of(svg: str) -> list[tuple[float, float, np.ndarray]]:
    found = []
    for node in ElementTree.fromstring(svg).iter(f"{SVG}image"):
        data = b64decode(node.attrib["href"].removeprefix("data:image/jpeg;base64,"))
        pixels = np.asarray(Image.open(io.BytesIO(data)))
        assert pixels.shape[:2] == (int(node.attrib["height"]), int(node.attrib["width"]))
        found.append((float(node.attrib["x"]), float(node.attrib["y"]), pixels))
    return found


def test_svg_and_raster_show_the_same_at_the_same_places():
    svg = ladder_svg(tiles(6), columns=3)
    raster = ladder(tiles(6), columns=3)
    root = ElementTree.fromstring(svg)
    assert (int(root.attrib["height"]), int(root.attrib["width"])) == raster.shape[:2]
    placed = images_of(svg)
    assert len({x for x, _, _ in placed}) == 3
    assert len({y for _, y, _ in placed}) == 2
    for (x, y, pixels), colour in zip(placed, COLOURS, strict=True):
        top, left = int(y), int(x)
        part = raster[top : top + pixels.shape[0], left : left + pixels.shape[1]]
        np.testing.assert_array_equal(part, np.broadcast_to(colour, part.shape))
        assert np.abs(pixels.astype(int) - colour).max() <= 6
    texts = [node.text for node in root.iter(f"{SVG}text")]
    assert texts[:2] == ["target 0", "scores <0> & more"]
    assert len(texts) == 12


def test_captions_stay_inside_and_apart():
    """Text is no wider than its column and lies below its picture, inside the figure."""
    svg = ladder_svg(tiles(4, size=(40, 50)), columns=2)
    root = ElementTree.fromstring(svg)
    height = int(root.attrib["height"])
    placed = images_of(svg)
    bottoms = {(x, y + pixels.shape[0]) for x, y, pixels in placed}
    baselines = [(float(n.attrib["x"]), float(n.attrib["y"])) for n in root.iter(f"{SVG}text")]
    for x, y in baselines:
        above = max(bottom for left, bottom in bottoms if left == x and bottom < y)
        assert 10 < y - above < 70
        assert y < height - 5
    raster = ladder(tiles(4, size=(40, 50)), columns=2)
    assert (raster[:, :10] == 255).all()
    assert (raster[:, -10:] == 255).all()
    assert (raster[-8:] == 255).all()


@pytest.mark.parametrize("columns", [2, 4, 6])
def test_captions_can_be_read_when_a_page_is_7_inches_wide(columns):
    wide = [(np.zeros((360, 480, 3), np.uint8), "target 60\nscores 52.4 (out of reach)")] * columns
    root = ElementTree.fromstring(ladder_svg(wide, columns=columns, for_print=True))
    points = 7.2 * 72 / int(root.attrib["width"])
    sizes = [int(node.attrib["font-size"]) * points for node in root.iter(f"{SVG}text")]
    assert min(sizes) > 5.8
    assert max(sizes) > 7.5


def clusters(seed: int = 0) -> np.ndarray:
    centres = np.repeat(10 * np.eye(3, 6), 20, axis=0)
    return centres + np.random.default_rng(seed).normal(0, 0.3, centres.shape)


def test_near_latents_lie_together():
    places = place_latents(clusters(), perplexity=10)
    assert places.shape == (60, 2)
    groups = places.reshape(3, 20, 2)
    within = max(np.linalg.norm(g - g.mean(0), axis=1).max() for g in groups)
    centres = groups.mean(1)
    between = min(np.linalg.norm(centres[i] - centres[j]) for i, j in ((0, 1), (0, 2), (1, 2)))
    assert between > 2 * within
    np.testing.assert_array_equal(places, place_latents(clusters(), perplexity=10))


def test_few_latents_can_be_placed():
    assert place_latents(clusters()[:5], perplexity=30).shape == (5, 2)


def test_panels_show_the_same_places_in_two_colourings():
    places = np.random.default_rng(0).normal(size=(40, 2))
    mos, scores = np.linspace(20, 60, 40), np.linspace(90, 30, 40)
    figure = draw_latents(places, mos, scores)
    figure.savefig(io.BytesIO(), format="png")
    left, right = figure.axes[:2]
    assert (left.get_xlim(), left.get_ylim()) == (right.get_xlim(), right.get_ylim())
    for panel, values, title in (
        (left, mos, "MOS in the data set"),
        (right, scores, "score predicted"),
    ):
        (points,) = panel.collections
        np.testing.assert_allclose(points.get_offsets(), places)
        np.testing.assert_allclose(points.get_array(), values)
        assert points.get_clim() == pytest.approx(np.percentile(values, [1, 99]))
        assert panel.get_title() == title
        (low, high), (bottom, top) = panel.get_xlim(), panel.get_ylim()
        assert low < places[:, 0].min() < places[:, 0].max() < high
        assert bottom < places[:, 1].min() < places[:, 1].max() < top


def run(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_ladder_command(tiny_preset, photo, tmp_path):
    first, second = photo("a.jpg", size=(96, 64)), photo("b.png", size=(64, 96), seed=1)
    name = tmp_path / "out" / "figure.v2"
    common = ("--targets", "40,60", "--preset", tiny_preset, "-o", name)
    done = run("ladder", first, second, tmp_path / "none.jpg", *common, "--json")
    assert done.exit_code == 1
    *rows, last = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row.get("target") for row in rows] == [40, 60, 40, 60, None]
    assert "does not exist" in rows[-1]["error"]
    model = qdnet_keras.load(str(tiny_preset))
    assert rows[0]["score_before"] == pytest.approx(qdnet_keras.score(first, model).score, abs=1e-3)
    png, svg = map(Path, last["figures"])
    assert (png.name, svg.name) == ("figure.v2.png", "figure.v2.svg")
    placed = images_of(svg.read_text())
    assert len(placed) == 6
    assert len({y for _, y, _ in placed}) == 2
    assert Image.open(png).size[0] > 3 * 96
    assert {path.name for path in png.parent.iterdir()} == {"figure.v2.png", "figure.v2.svg"}

    again = run("ladder", first, *common)
    assert again.exit_code == 7
    assert "exists already" in again.stderr
    assert run("ladder", first, "--targets", "high").exit_code == 2
    assert run("ladder", tmp_path / "none.jpg", "--preset", tiny_preset).exit_code == 3


@pytest.fixture
def data(photo, tmp_path) -> Path:
    rows = ["file,mos,scene,operator,split"]
    for index in range(8):
        photo(f"set/Images/{index}.jpg", seed=index)
        split = "test" if index < 6 else "train"
        rows.append(f"{index}.jpg,{30 + index},s{index},op{index % 2},{split}")
    (tmp_path / "set" / "labels.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "set"


def test_tsne_command(tiny_preset, data, tmp_path):
    name = tmp_path / "out" / "map"
    done = run("tsne", "--data", data, "-o", name, "--preset", tiny_preset, "--json")
    assert done.exit_code == 0, done.output
    *rows, last = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["mos"] for row in rows] == list(range(30, 38))
    with Path(last["csv"]).open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [(row["file"], float(row["x"])) for row in table] == [(r["file"], r["x"]) for r in rows]
    model = qdnet_keras.load(str(tiny_preset))
    expected = [qdnet_keras.score(row["file"], model).score for row in rows]
    np.testing.assert_allclose([row["score"] for row in rows], expected, atol=0.05)
    png, svg = map(Path, last["figures"])
    assert Image.open(png).format == "PNG"
    assert "<svg" in svg.read_text()
    assert last["renderings"] == 8

    one = run(
        "tsne", "--data", data, "--split", "test", "-o", f"{name}2.svg", "--preset", tiny_preset
    )
    assert one.exit_code == 0, one.output
    assert "6 renderings" in one.stdout
    names = {path.name for path in name.parent.iterdir()}
    assert names == {"map.png", "map.svg", "map.csv", "map2.svg", "map2.csv"}
    few = run("tsne", "--data", data, "--split", "train", "-o", f"{name}3", "--preset", tiny_preset)
    assert few.exit_code == 4
    assert "2 rendering(s) to draw" in few.stderr
