import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from qdnet_keras.cli import app
from qdnet_keras.data.manifest import Manifest, Rendering
from qdnet_keras.data.reading import read_csv, read_manifest
from qdnet_keras.errors import DataError


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "Images").mkdir()
    for name in ("a1.png", "a2.png", "b1.png", "with, comma.png"):
        (tmp_path / "Images" / name).write_bytes(b"x")
    (tmp_path / "beside.png").write_bytes(b"x")
    return tmp_path


def write(folder, text, name="labels.csv"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


FULL = (
    "file,mos,mos_std,scene,group,operator,split\n"
    "a1.png,40.5,7,a,g,ReinhardTMO,train\n"
    "a2.png,55,,a,g,,train\n"
    "b1.png,0,0,b,h,mine,test\n"
)


def test_full_manifest(folder):
    manifest = read_manifest(write(folder, FULL))
    images = folder / "Images"
    assert manifest.source == folder / "labels.csv"
    assert manifest.renderings == (
        Rendering(images / "a1.png", 40.5, 7.0, "a", "g", "ReinhardTMO", "train"),
        Rendering(images / "a2.png", 55.0, None, "a", "g", None, "train"),
        Rendering(images / "b1.png", 0.0, 0.0, "b", "h", "mine", "test"),
    )
    assert [r.row for r in manifest.renderings] == [2, 3, 4]


def test_helpers(folder):
    manifest = read_csv(write(folder, FULL))
    assert len(manifest) == 3
    assert manifest.by_scene() == {"a": [0, 1], "b": [2]}
    assert manifest.mos.dtype == np.float32
    np.testing.assert_array_equal(manifest.mos, np.array([40.5, 55, 0], np.float32))
    assert manifest.subset([2, 0]).renderings == (manifest.renderings[2], manifest.renderings[0])
    assert manifest.select("test").renderings == manifest.renderings[2:]
    assert len(manifest.select("val")) == 0
    with pytest.raises(DataError, match="'Test' is not a split"):
        manifest.select("Test")


def test_folder_with_labels_is_read_as_csv(folder):
    write(folder, FULL)
    assert read_manifest(folder) == read_csv(folder / "labels.csv")


def test_defaults(folder):
    manifest = read_csv(write(folder, "mos,file\n10,a1.png\n20,beside.png\n"))
    first, second = manifest.renderings
    assert (first.scene, first.group, first.operator, first.split) == ("a1", "a1", None, None)
    assert first.mos_std is None
    assert second.file == folder / "beside.png"


def test_group_defaults_to_scene_and_empty_cells_count_as_absent(folder):
    manifest = read_csv(write(folder, "file,mos,scene,group\na1.png,11,s,\na2.png,12,,g\n"))
    assert [(r.scene, r.group) for r in manifest.renderings] == [("s", "s"), ("a2", "g")]


def test_same_name_in_two_folders_is_two_scenes(folder):
    for sub in ("x", "y"):
        (folder / sub).mkdir()
        (folder / sub / "p.png").write_bytes(b"x")
    manifest = read_csv(write(folder, "file,mos\nx/p.png,11\ny/p.png,12\n"))
    assert list(manifest.by_scene()) == ["x/p", "y/p"]


def test_images_argument_replaces_the_search(folder):
    path = write(folder, "file,mos\nbeside.png,11\n")
    assert read_csv(path, images=folder).renderings[0].file == folder / "beside.png"
    with pytest.raises(DataError, match=r"row 2: image 'beside\.png' is not in"):
        read_csv(path, images=folder / "Images")


def test_untidy_but_valid_files(folder):
    text = '\r\nFile, MOS ,note\r\n"with, comma.png",12.5,"a ""b"""\r\n\r\na1.png,3, \r\n,,\r\n\r\n'
    manifest = read_csv(write(folder, b"\xef\xbb\xbf" + text.encode()))
    assert [(r.file.name, r.mos, r.row) for r in manifest.renderings] == [
        ("with, comma.png", 12.5, 3),
        ("a1.png", 3.0, 5),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,mos\na1.png,1\n", "'file' is missing; found the columns name, mos"),
        ("file|mos\na1.png|1\n", "'file' is missing; found the columns file|mos"),
        ("file,dmos\na1.png,1\n", "rename column 'dmos' to 'mos' and give its scale"),
        ("file;mos\na1.png;1.2.3\n", "row 2: mos '1.2.3' is not a finite number"),
        ('file,mos\na1.png,"1,234.5"\n', "row 2: mos '1,234.5' is not a finite number"),
        ("file,score\na1.png,1\n", "'mos' is missing; found the columns file, score"),
        ("file,mos,mos\na1.png,1,1\n", "column 'mos' is there twice"),
        ("file,mos,groups\na1.png,1,g\n", "rename column 'groups' to 'group'"),
        ("file,mos\na1.png\n", "row 2: 1 cells where the header has 2"),
        ("file,mos\na1.png,1\nb1.png,40,5\n", "row 3: 3 cells where the header has 2"),
        ('file,mos\n"a1.png,1\nb1.png,2\n', "row 2: not valid CSV"),
        ("file,mos\na1.png,1\nnone.png,2\n", "row 3: image 'none.png' is not in"),
        ("file,mos\n,2\n", "row 2: image '' is not in"),
        ("file,mos\na1.png,1\na1.png,2\n", "row 3: image 'a1.png' is in row 2 already"),
        (
            "file,mos\nbeside.png,1\nImages/../beside.png,2\n",
            "row 3: image 'beside.png' is in row 2 already",
        ),
        ("file,mos\na1.png,1\nImages/a1.png,2\n", "row 3: image 'a1.png' is in row 2 already"),
        ("file,mos\na1.png,\n", "row 2: mos '' is not a finite number"),
        ("file,mos\na1.png,good\n", "row 2: mos 'good' is not a finite number"),
        ("file,mos\na1.png,nan\n", "row 2: mos 'nan' is not a finite number"),
        ("file,mos\na1.png,inf\n", "row 2: mos 'inf' is not a finite number"),
        ("file,mos\na1.png,100.1\n", "row 2: mos 100.1 is outside 0..100"),
        ("file,mos\na1.png,-0.1\n", "row 2: mos -0.1 is outside 0..100"),
        ("file,mos,mos_std\na1.png,1,nan\n", "row 2: mos_std 'nan' is not a finite number"),
        ("file,mos,mos_std\na1.png,1,-2\n", "row 2: mos_std -2 is negative"),
        ("", "lists no renderings"),
        ("file,mos\n\n", "lists no renderings"),
        ("file,mos,split\na1.png,1,dev\n", "row 2: 'dev' is not a split; use train, val or test"),
        (
            "file,mos,scene,split\na1.png,1,s,train\nb1.png,1,t,val\na2.png,1,s,val\n",
            "row 4: scene 's' has split val here but train in row 2",
        ),
        (
            "file,mos,scene,split\na1.png,1,s,train\na2.png,1,s,\n",
            "row 3: scene 's' has split none here but train in row 2",
        ),
        (
            "file,mos,scene,group,split\na1.png,1,s,g,train\na2.png,1,t,g,test\n",
            "row 3: group 'g' has split test here but train in row 2",
        ),
        (
            "file,mos,scene,group\na1.png,1,s,g\na2.png,1,s,h\n",
            "row 3: scene 's' has group h here but g in row 2",
        ),
    ],
)
def test_errors_name_the_file_and_row(folder, text, message):
    path = write(folder, text)
    with pytest.raises(DataError) as caught:
        read_csv(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_not_utf8(folder):
    with pytest.raises(DataError, match="not UTF-8"):
        read_csv(write(folder, "file,mos\né.png,1\n".encode("latin-1")))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent", "does not exist"),
        ("absent.csv", "does not exist"),
        ("beside.png", "is not a manifest"),
        ("sub", "has neither labels.csv nor Images/"),
    ],
)
def test_unusable_paths(folder, name, message):
    (folder / "sub").mkdir()
    with pytest.raises(DataError, match=message):
        read_manifest(folder / name)


def test_read_csv_of_a_missing_file(tmp_path):
    with pytest.raises(DataError, match=r"cannot be read \(No such file"):
        read_csv(tmp_path / "absent.csv")


CELL = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=8)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(
        st.tuples(CELL, st.floats(0, 100), st.none() | st.floats(0, 50)), min_size=1, max_size=8
    )
)
def test_what_the_csv_module_writes_is_read_back(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("round")
    with open(folder / "any.csv", "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["file", "mos", "mos_std", "scene"])
        for index, (scene, mos, mos_std) in enumerate(rows):
            (folder / f"{index}.png").touch()
            writer.writerow([f"{index}.png", mos, "" if mos_std is None else mos_std, scene])
    manifest = read_csv(folder / "any.csv", mos_range=(0, 100))
    assert [(r.scene, r.mos, r.mos_std) for r in manifest.renderings] == rows


def test_row_is_for_messages_only():
    values = (Path("a.png"), 1.0, None, "s", "g", None, None)
    assert Rendering(*values, row=3) == Rendering(*values)
    assert Manifest((Rendering(*values, row=3),), Path("x")) == Manifest(
        (Rendering(*values),), Path("x")
    )


@pytest.mark.parametrize(
    "content",
    [
        b"file;mos;mos_std\na1.png;10,5;1,5\nb1.png;20,5;2\n",
        b"file\tmos\tmos_std\na1.png\t10.5\t1.5\nb1.png\t20.5\t2\n",
        b'file,mos,mos_std\na1.png,"10,5","1,5"\nb1.png,20.5,2\n',
        "file,mos,mos_std\na1.png,10.5,1.5\nb1.png,20.5,2\n".encode("utf-16"),
        b"\xfe\xff"
        + "file;mos;mos_std\r\na1.png;10,5;1,5\r\nb1.png;20,5;2\r\n".encode("utf-16-be"),
        b"file,mos,mos_std\nImages\\a1.png,10.5,1.5\nImages\\b1.png,20.5,2\n",
        b"file,mos,mos_std\nA1.PNG,10.5,1.5\nimages/B1.png,20.5,2\n",
    ],
    ids=["semicolon", "tab", "comma in quotes", "utf-16", "utf-16 be", "back-slash", "case"],
)
@pytest.mark.parametrize("name", ["labels.csv", "labels.tsv"])
def test_tables_as_other_programs_write_them(folder, content, name):
    manifest = read_manifest(write(folder, content, name))
    assert [r.file for r in manifest.renderings] == [
        folder / "Images" / "a1.png",
        folder / "Images" / "b1.png",
    ]
    assert [(r.mos, r.mos_std) for r in manifest.renderings] == [(10.5, 1.5), (20.5, 2.0)]


def test_accents_may_be_composed_or_not(folder):
    (folder / "Images" / "caf\u00e9.png").touch()
    (folder / "Images" / "nin\u0303o.png").touch()
    text = "file,mos\ncafe\u0301.png,30\nni\u00f1o.png,40\n"
    found = [r.file.name for r in read_csv(write(folder, text)).renderings]
    assert found == ["caf\u00e9.png", "nin\u0303o.png"]


def test_names_that_fit_two_files_fit_none(folder):
    (folder / "Images" / "A2.png").touch()
    assert read_csv(write(folder, "file,mos\nA2.png,30\n")).renderings[0].file.name == "A2.png"
    with pytest.raises(DataError, match=r"image 'a2\.PNG' is not in"):
        read_csv(write(folder, "file,mos\na2.PNG,30\n"))


@pytest.mark.parametrize(
    ("mos_range", "scores", "expected"),
    [
        ((1, 5), "1.4 4.8 3", [10.0, 95.0, 50.0]),
        ((0, 1), "0.25 1 0", [25.0, 100.0, 0.0]),
        ((1, 10), "1 5.5 10", [0.0, 50.0, 100.0]),
        ((100, 0), "90 15 0", [10.0, 85.0, 100.0]),
        ((5, 1), "1 2 5", [100.0, 75.0, 0.0]),
        ((0, 100), "1 2 3", [1.0, 2.0, 3.0]),
    ],
)
def test_other_scales_are_mapped(folder, mos_range, scores, expected):
    names = ("a1.png", "a2.png", "b1.png")
    rows = [f"{name},{mos},0.5" for name, mos in zip(names, scores.split(), strict=True)]
    path = write(folder, "\n".join(["file,mos,mos_std", *rows]))
    manifest = read_csv(path, mos_range=mos_range)
    np.testing.assert_allclose(manifest.mos, expected, rtol=1e-6)
    spread = 0.5 * 100 / abs(mos_range[1] - mos_range[0])
    assert [r.mos_std for r in manifest.renderings] == pytest.approx([spread] * 3)


@pytest.mark.parametrize(
    ("scores", "guess"),
    [("1.4 4.8", "1,5"), ("0.1 0.9", "0,1"), ("3 8.5", "1,10"), ("10 10", "1,10")],
)
def test_small_ranges_are_refused_with_a_hint(folder, scores, guess):
    first, second = scores.split()
    path = write(folder, f"file,mos\na1.png,{first}\nb1.png,{second}\n")
    with pytest.raises(
        DataError, match=rf"lie in {first}\.\.{second}; .*--mos-range {guess}, or 0,100"
    ):
        read_csv(path)
    write(folder, f"a1.png {first} 1\nb1.png {second} 1\n", "scores.txt")
    path.unlink()
    with pytest.raises(DataError, match=f"--mos-range {guess}"):
        read_manifest(folder)
    assert read_manifest(folder, (0, 100)).mos.max() == np.float32(second)


def test_scores_off_their_scale(folder):
    path = write(folder, "file,mos\na1.png,5.5\nb1.png,2\n")
    with pytest.raises(DataError, match=r"row 2: mos 5\.5 is outside 1\.\.5; correct"):
        read_csv(path, mos_range=(1, 5))
    with pytest.raises(DataError, match=r"row 2: mos 5\.5 is outside 5\.\.1; correct"):
        read_csv(path, mos_range=(5, 1))
    with pytest.raises(DataError, match=r"row 2: mos 250 is outside 0\.\.100; .*--mos-range"):
        read_csv(write(folder, "file,mos\na1.png,250\nb1.png,2\n"))


def test_parts_are_kept(folder):
    manifest = read_csv(write(folder, "file,mos,part\na1.png,30,ss01\nb1.png,40,\n"))
    assert [r.part for r in manifest.renderings] == ["ss01", None]


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_the_scale_on_the_command_line(folder, command):
    path = write(folder, "file,mos\na1.png,1.4\nb1.png,6\n")
    arguments = [command, "--data", str(path), "--out", str(folder / "run")]
    result = CliRunner().invoke(app, [*arguments, "--mos-range", "1,5"])
    assert result.exit_code == 4
    assert "row 3: mos 6 is outside 1..5" in result.stderr
    for wrong in ("5", "1,5,7", "a,b", "2,2", "nan,1"):
        assert CliRunner().invoke(app, [*arguments, "--mos-range", wrong]).exit_code == 2


def test_each_set_that_teaches_has_its_scale(folder):
    rows = "file,mos\na1.png,{}\nb1.png,{}\n"
    (folder / "five.csv").write_text(rows.format(1.4, 4))
    (folder / "ten.csv").write_text(rows.format(2, 12))
    others = ["--renderings", folder, "--statistics", folder, "--out", folder / "run"]
    votes = ["--votes", folder / "five.csv", "--votes", folder / "ten.csv"]

    def run(*ranges: str):
        options = [part for text in ranges for part in ("--mos-range", text)]
        return CliRunner().invoke(app, ["teach", *map(str, [*votes, *others]), *options])

    refused = run()
    assert refused.exit_code == 4
    assert "five.csv: all scores lie in 1.4..4" in refused.stderr
    off = run("1,5", "1,10")
    assert off.exit_code == 4
    assert "ten.csv, row 3: mos 12 is outside 1..10" in off.stderr
    assert run("1,5").exit_code == 2
