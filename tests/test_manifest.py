import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qdnet_keras.data.manifest import Manifest, Rendering, read_csv, read_manifest
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
    manifest = read_csv(write(folder, "file,mos,scene,group\na1.png,1,s,\na2.png,2,,g\n"))
    assert [(r.scene, r.group) for r in manifest.renderings] == [("s", "s"), ("a2", "g")]


def test_same_name_in_two_folders_is_two_scenes(folder):
    for sub in ("x", "y"):
        (folder / sub).mkdir()
        (folder / sub / "p.png").write_bytes(b"x")
    manifest = read_csv(write(folder, "file,mos\nx/p.png,1\ny/p.png,2\n"))
    assert list(manifest.by_scene()) == ["x/p", "y/p"]


def test_images_argument_replaces_the_search(folder):
    path = write(folder, "file,mos\nbeside.png,1\n")
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
        ("file;mos\na1.png;1\n", "'file' is missing; found the columns file;mos"),
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
        read_csv(write(folder, "file,mos\na1.png,1\n".encode("utf-16")))


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
    with pytest.raises(DataError, match="cannot be read: No such file"):
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
    manifest = read_csv(folder / "any.csv")
    assert [(r.scene, r.mos, r.mos_std) for r in manifest.renderings] == rows


def test_row_is_for_messages_only():
    values = (Path("a.png"), 1.0, None, "s", "g", None, None)
    assert Rendering(*values, row=3) == Rendering(*values)
    assert Manifest((Rendering(*values, row=3),), Path("x")) == Manifest(
        (Rendering(*values),), Path("x")
    )
