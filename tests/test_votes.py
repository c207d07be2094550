"""Public sources of human votes, in small: what is read, left out, mapped, written, refused."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from typer.testing import CliRunner

from qdnet_keras.cli import app
from qdnet_keras.cli.data_import import SourceName
from qdnet_keras.data.published_statistics import read_statistics
from qdnet_keras.data.reading import read_manifest
from qdnet_keras.data.votes import SOURCES, import_votes
from qdnet_keras.errors import DataError, OutputError


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 32), (len(path.name) * 5, 90, 200)).save(path)


@pytest.fixture
def biq(tmp_path):
    folder = tmp_path / "BIQ2021"
    for name in ("ss01 (1).jpg", "ss02 (7).jpg", "ss03 (12).jpg"):
        picture(folder / "Images" / name)
    (folder / "Images" / "ss03 (9).jpg").write_bytes(b"\xff\xd8\xff damaged")
    (folder / "Train (Images and MOS).csv").write_text(
        "Image Name,MOS,,\nss03 (12).jpg,0.8471,,\nss01 (1).jpg,0,,\nss03 (9).jpg,0.5,,\n"
    )
    (folder / "Test (Images and MOS).csv").write_text(
        "Image Name,MOS\nss02 (7).jpg,0.25\nss02 (8).jpg,1\n"
    )
    return folder


def test_biq2021(biq, tmp_path):
    votes = import_votes("biq2021", biq, tmp_path / "out")
    manifest = read_manifest(tmp_path / "out")
    assert [(r.file, round(r.mos, 4), r.mos_std, r.split, r.part) for r in manifest.renderings] == [
        (biq / "Images" / "ss03 (12).jpg", 84.71, None, "train", "ss03"),
        (biq / "Images" / "ss01 (1).jpg", 0.0, None, "train", "ss01"),
        (biq / "Images" / "ss02 (7).jpg", 25.0, None, "test", "ss02"),
    ]
    assert set(votes.left_out) == {"ss03 (9).jpg", "ss02 (8).jpg"}
    terms = (tmp_path / "out" / "TERMS.md").read_text()
    assert "ss02 (8).jpg: has votes, but no picture" in terms
    assert "3 pictures with **human** votes, MOS 0.0..84.7" in terms
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["TERMS.md", "labels.csv"]


def test_clive_release_and_copy_agree(tmp_path):
    names = ["t1.bmp", "3.bmp", "4.JPG"]
    release, copy = tmp_path / "release", tmp_path / "copy"
    picture(release / "Images" / "trainingImages" / "t1.bmp")
    for folder in (release, copy):
        for name in names[1:]:
            picture((folder / "Images" / name).with_suffix(".jpg"))
    (release / "Images" / "3.jpg").rename(release / "Images" / "3.bmp")
    (release / "Data").mkdir()
    cells = np.array([[name] for name in names], object)
    savemat(release / "Data" / "AllImages_release.mat", {"AllImages_release": cells})
    savemat(release / "Data" / "AllMOS_release.mat", {"AllMOS_release": [[50.0, 32.56, 66.25]]})
    savemat(release / "Data" / "AllStdDev_release.mat", {"AllStdDev_release": [[9.0, 19.1, 20.5]]})
    (copy / "labels.csv").write_text("file,mos,mos_std\n3.jpg,32.56,19.1\n4.jpg,66.25,20.5\n")
    (copy / "NOTICE.txt").write_text("Copyright of somebody.\n")
    for folder in (release, copy):
        import_votes("clive", folder, tmp_path / "out", force=True)
        manifest = read_manifest(tmp_path / "out")
        assert [(r.file.stem, r.mos, r.mos_std) for r in manifest.renderings] == [
            ("3", 32.56, 19.1),
            ("4", 66.25, 20.5),
        ]
        assert {r.file.parent for r in manifest.renderings} == {folder / "Images"}
    assert "Copyright of somebody." in (tmp_path / "out" / "TERMS.md").read_text()


def test_espl_live_hdr(tmp_path):
    names = ["H_lake_1_FattalTMO.PNG", "V_lake_1_Paul.PNG"]
    for name in names:
        picture(tmp_path / "set" / "Images" / name)
    lines = "".join(f"{name} {mos} 12.5\n" for name, mos in zip(names, (41.5, 60), strict=True))
    (tmp_path / "set" / "scores.txt").write_text(lines)
    import_votes("espl-live-hdr", tmp_path / "set", tmp_path / "out")
    expected = read_manifest(tmp_path / "set").renderings
    assert read_manifest(tmp_path / "out").renderings == expected
    assert {r.operator for r in expected} == {"FattalTMO", "Paul"}


def test_statistics_have_no_pictures_until_they_are_put_there(tmp_path):
    columns = [f"s{number:02d}" for number in range(73)]
    values = np.round(np.random.default_rng(0).normal(size=(2, 73)), 6)
    names = ["H_lake_1_FattalTMO.PNG", "H_sea_2_Paul.PNG"]
    with (tmp_path / "statistics.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "scene", "type", "mos", "mos_std", *columns])
        for number, name in enumerate(names):
            writer.writerow([name, number, "TMO", 40 + number, 12, *values[number]])
    import_votes("espl-statistics", tmp_path, tmp_path / "out")
    manifest, numbers = read_statistics(tmp_path / "out" / "labels.csv")
    np.testing.assert_array_equal(numbers, values)
    assert [(r.file.name, r.mos, r.scene) for r in manifest.renderings] == [
        (names[0], 40.0, "0"),
        (names[1], 41.0, "1"),
    ]
    with pytest.raises(DataError, match="is not in"):
        read_manifest(tmp_path / "out")
    for name in names:
        picture(tmp_path / "out" / "Images" / name)
    assert len(read_manifest(tmp_path / "out")) == 2


def test_pictures_held_out_do_not_depend_on_the_others(tmp_path):
    folder = tmp_path / "copy"
    for number in range(20):
        picture(folder / "Images" / f"{number}.jpg")
    lines = [f"{number}.jpg,{number},1" for number in range(20)]
    test = []
    for order in (lines, lines[::-1]):
        (folder / "labels.csv").write_text("\n".join(["file,mos,mos_std", *order]))
        import_votes("clive", folder, tmp_path / "out", test=0.2, force=True)
        manifest = read_manifest(tmp_path / "out")
        test.append({r.file.name for r in manifest.renderings if r.split == "test"})
        assert {r.split for r in manifest.renderings} == {"test", "train"}
    assert test[0] == test[1] and len(test[0]) == 4


def test_refusals(biq, tmp_path):
    with pytest.raises(DataError, match="leave --test out"):
        import_votes("biq2021", biq, tmp_path / "out", test=0.2)
    with pytest.raises(DataError, match="is not a folder"):
        import_votes("biq2021", tmp_path / "none", tmp_path / "out")
    for name in SOURCES:
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(DataError, match="empty"):
            import_votes(name, tmp_path / "empty", tmp_path / "out")
    table = biq / "Test (Images and MOS).csv"
    table.write_text("Image Name,MOS\nss02 (7).jpg,2.5\n")
    with pytest.raises(DataError, match=r"row 2: mos 2\.5 is outside 0\.\.1"):
        import_votes("biq2021", biq, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_command(biq, tmp_path):
    assert [name.value for name in SourceName] == list(SOURCES)
    arguments = ["data", "import", "biq2021", str(biq), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0
    assert "3 pictures with human votes, MOS 0.0..84.7" in result.stdout
    assert "ss02 (8).jpg left out: has votes, but no picture" in result.stderr
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == OutputError.exit_code
    assert "exists already" in result.stderr
    result = CliRunner().invoke(app, [*arguments, "--force", "--json"])
    record = json.loads(result.stdout)
    assert record["pictures"] == 3
    assert set(record["left_out"]) == {"ss03 (9).jpg", "ss02 (8).jpg"}
