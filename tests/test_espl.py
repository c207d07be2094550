import csv
from collections import defaultdict
from pathlib import Path

import pytest

from qdnet_keras.data.espl import parse_name, read_espl
from qdnet_keras.data.reading import read_manifest
from qdnet_keras.errors import DataError

NAMES = Path(__file__).parent / "data" / "espl_names.tsv"
KIND_OF_TYPE = {"1": "tmo", "2": "fusion", "3": "effect"}


@pytest.fixture(scope="module")
def published():
    with open(NAMES, encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


def make(folder, lines, scores="scores.txt", images=None):
    (folder / "Images").mkdir(exist_ok=True)
    for name in images if images is not None else [line.split()[0] for line in lines]:
        (folder / "Images" / name).touch()
    (folder / scores).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def partition(labels):
    """The sets of positions with equal labels, whatever the labels are."""
    members = defaultdict(list)
    for index, label in enumerate(labels):
        members[label].append(index)
    return {tuple(indices) for indices in members.values()}


def test_published_names_give_the_605_scenes_and_their_types(published):
    assert len(published) == 1811
    parsed = [parse_name(row["name"]) for row in published]
    assert len({name.scene for name in parsed}) == 605
    assert partition(name.scene for name in parsed) == partition(row["scene"] for row in published)
    assert [name.kind for name in parsed] == [KIND_OF_TYPE[row["type"]] for row in published]
    assert len({name.operator for name in parsed}) == 12


def test_published_database_as_a_folder(published, tmp_path):
    make(tmp_path, [f"{row['name']} {row['mos']} {row['std']}" for row in published])
    manifest = read_manifest(tmp_path)
    assert manifest == read_espl(tmp_path)
    assert len(manifest) == 1811
    assert len(manifest.by_scene()) == 605
    for rendering, row in zip(manifest.renderings, published, strict=True):
        assert rendering.file == tmp_path / "Images" / row["name"]
        assert (rendering.mos, rendering.mos_std) == (float(row["mos"]), float(row["std"]))
        assert rendering.group == rendering.scene
        assert rendering.split is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("H_mozarts_15_RamanTMO.PNG", ("mozarts_15", "RamanTMO", "fusion")),
        ("V_ut_indoors_28_surreal.PNG", ("ut_indoors_28", "surreal", "effect")),
        ("H_snow_1_FattalTMO.PNG.PNG", ("snow_1", "FattalTMO", "tmo")),
        ("H_a_DurandTMO4t.PNG", ("a", "DurandTMO4t", "tmo")),
        ("H_a_LA_Sig_11.PNG", ("a", "LA_Sig_11", "fusion")),
        ("quarry_02_0_LA_Sig_11.jpg", ("quarry_02_0", "LA_Sig_11", "fusion")),
        ("H_view_DurandTMO_GA.png", ("view_DurandTMO", "GA", "fusion")),
        ("quarry_02_0_pfs_drago.jpg", ("quarry_02_0_pfs_drago", None, None)),
        ("H_holiday.png", ("H_holiday", None, None)),
        ("YOGA.png", ("YOGA", None, None)),
        ("GA.png", ("GA", None, None)),
        ("f1.8.png", ("f1.8", None, None)),
    ],
)
def test_parse_name(name, expected):
    assert parse_name(name) == expected


def test_unknown_operators_are_own_scenes_that_share_the_group(tmp_path):
    names = ["q_0_GA", "q_0_bad_low", "q_0_1_GA", "q_0_1_mine", "q_01_mine", "H_q_0_mine", "q"]
    manifest = read_espl(make(tmp_path, [f"{name}.jpg 50 9" for name in names]))
    got = [(r.scene, r.group, r.operator) for r in manifest.renderings]
    assert got == [
        ("q_0", "q_0", "GA"),
        ("q_0_bad_low", "q_0", None),
        ("q_0_1", "q_0_1", "GA"),
        ("q_0_1_mine", "q_0_1", None),
        ("q_01_mine", "q_01_mine", None),
        ("H_q_0_mine", "q_0", None),
        ("q", "q", None),
    ]


def test_any_one_text_file_of_scores_will_do(tmp_path):
    make(tmp_path, ["", "H_a_GA.PNG\t50.5  9", "", "my photo.png 40 8"], "mos.txt", ["H_a_GA.PNG"])
    (tmp_path / "Images" / "my photo.png").touch()
    (tmp_path / "LICENSE.txt").write_text("Use it well.\nSecond line here\n")
    (tmp_path / "latin.txt").write_bytes(b"\xe9 1 2\n")
    manifest = read_espl(tmp_path)
    assert manifest.source == tmp_path / "mos.txt"
    assert [(r.file.name, r.mos, r.row) for r in manifest.renderings] == [
        ("H_a_GA.PNG", 50.5, 2),
        ("my photo.png", 40.0, 4),
    ]
    make(tmp_path, ["H_a_GA.PNG 1 2"], "second.txt")
    with pytest.raises(DataError, match=r"found: mos.txt, second.txt"):
        read_espl(tmp_path)


def test_byte_order_mark_and_windows_line_ends(tmp_path):
    make(tmp_path, [], images=["H_a_GA.PNG", "H_b_GA.PNG"])
    text = "H_a_GA.PNG 50 9\r\nH_b_GA.PNG 40 8\r\n\r\n"
    (tmp_path / "scores.txt").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert [r.scene for r in read_espl(tmp_path).renderings] == ["a", "b"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("H_b_GA.PNG 50", "row 2: 'H_b_GA.PNG 50' is not 'name mos std'"),
        ("H_b_GA.PNG high 9", "row 2: mos 'high' is not a finite number"),
        ("H_b_GA.PNG 50 nan", "row 2: mos_std 'nan' is not a finite number"),
        ("H_b_GA.PNG 101 9", "row 2: mos 101 is outside 0..100"),
        ("H_c_GA.PNG 50 9", "row 2: image 'H_c_GA.PNG' is not in"),
        ("H_a_GA.PNG 50 9", "row 2: image 'H_a_GA.PNG' is in row 1 already"),
    ],
)
def test_errors_name_the_row(tmp_path, line, message):
    make(tmp_path, ["H_a_GA.PNG 50 9", line], images=["H_a_GA.PNG", "H_b_GA.PNG"])
    with pytest.raises(DataError) as caught:
        read_espl(tmp_path)
    assert message in str(caught.value)
    assert "scores.txt" in str(caught.value)


def test_folder_without_scores(tmp_path):
    (tmp_path / "Images").mkdir()
    with pytest.raises(DataError, match=r"found: none.*scores.txt"):
        read_espl(tmp_path)
    (tmp_path / "scores.txt").touch()
    with pytest.raises(DataError, match="lists no renderings"):
        read_espl(tmp_path)
