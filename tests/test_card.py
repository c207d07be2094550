"""The card of a trained preset says what it learnt from and repeats whose terms hold."""

from math import nan

import numpy as np
import pytest
from PIL import Image

from qdnet_keras.data.reading import read_manifest, read_terms
from qdnet_keras.data.votes import import_votes
from qdnet_keras.hubs.card import Figure, read_card
from qdnet_keras.training.card import write_trained_card

NETWORK = {"encoder": {"network": "ResNet50"}, "head": "grid", "latent_dim": 4}


@pytest.fixture
def clive(tmp_path):
    """A small copy of LIVE In the Wild, imported."""
    source = tmp_path / "ChallengeDB"
    (source / "Images").mkdir(parents=True)
    rows = ["file,mos,mos_std"]
    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 40, 3), np.uint8)
        Image.fromarray(pixels).save(source / "Images" / f"{number}.png")
        rows.append(f"{number}.png,{30 + 10 * number},15")
    (source / "labels.csv").write_text("\n".join(rows))
    import_votes("clive", source, tmp_path / "clive")
    return read_manifest(tmp_path / "clive")


def test_terms_of_an_import_are_in_the_card(clive, tmp_path):
    preset = tmp_path / "preset"
    figures = [Figure("clive, validation", "SROCC", 0.5), Figure("clive, validation", "PLCC", nan)]
    write_trained_card(preset, NETWORK, [clive.subset([0, 2, 3])], figures)
    card = (preset / "CARD.md").read_text()
    assert "* clive: 3 pictures of 3 scenes, MOS 30.0..60.0\n" in card
    assert read_card(preset).data == ("clive",)
    assert read_card(preset).figures == (figures[0],)
    terms = read_terms(clive)
    assert terms and "Copyright (c) 2015 The University of Texas at Austin" in terms
    for line in terms.strip().splitlines():
        assert f"\n> {line}\n" in card
    assert str(tmp_path) not in card.replace(terms, "")


def test_card_of_the_start_is_repeated(clive, tmp_path):
    preset, start = tmp_path / "preset", tmp_path / "start"
    start.mkdir()
    (start / "config.json").write_text("{}")
    write_trained_card(preset, NETWORK, [clive], [], str(start))
    assert "preset start\n\n> It has no card." in read_card(preset).text
    write_trained_card(start, NETWORK, [clive], [Figure("clive, validation", "SROCC", 0.125)])
    write_trained_card(preset, NETWORK, [clive], [], str(start))
    assert "\n> | clive, validation | SROCC | 0.125 |\n" in read_card(preset).text


def test_a_set_without_terms_has_none(clive, tmp_path):
    (tmp_path / "clive" / "TERMS.md").unlink()
    assert read_terms(clive) is None
    write_trained_card(tmp_path / "preset", NETWORK, [clive], [])
    assert "Terms" not in read_card(tmp_path / "preset").text
