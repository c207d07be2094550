"""Presets from elsewhere: addresses, hashes, hostile zips, packing, cards and the list of them."""

import hashlib
import json
import os
import shutil
import stat
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import trustme
from fake_hub import REVISION, FakeHub
from typer.testing import CliRunner

from qdnet_keras.cli import app
from qdnet_keras.errors import MissingPackageError, PresetError
from qdnet_keras.hubs import fetch as fetching
from qdnet_keras.hubs.bundle import HASHED, README, SUMS, pack, unpack
from qdnet_keras.hubs.card import Card, Figure, parse_card, read_card, write_card
from qdnet_keras.hubs.fetch import fetch
from qdnet_keras.model.presets import preset_folder, preset_names, read_preset_config

CARD_TEXT = write_card(
    Card("votes of 3 people", ("attic",), "cc0-1.0", (Figure("attic", "SROCC", 0.5),), "Mine.\n"),
    "small",
)
MODEL = {"encoder": {"network": "ResNet50", "taps": [], "pyramid": []}, "latent_dim": 4}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """No test sees what was fetched by another, or by the person at this machine."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("hugging_face", "kaggle", "server"):
        getattr(fetching, f"_from_{name}").cache_clear()


@pytest.fixture
def preset(tmp_path):
    """The files of a preset; only their hashes matter here."""
    folder = tmp_path / "preset"
    folder.mkdir()
    config = json.dumps({"package_version": "0", "model": MODEL})
    for name, content in zip(HASHED, (config.encode(), b"w" * 5000, b"c"), strict=True):
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def zipped(preset, tmp_path):
    path = tmp_path / "small.zip"
    pack(preset, path, CARD_TEXT)
    return path


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    authority = trustme.CA()
    path = tmp_path_factory.mktemp("tls") / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return authority, path


@pytest.fixture
def https(authority, monkeypatch):
    """A server with TLS that this process trusts."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority[0].issue_cert("127.0.0.1").configure_cert(context)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority[1]))
    server = FakeHub(context)
    yield server
    server.stop()


@pytest.fixture
def hub():
    server = FakeHub()
    yield server
    server.stop()


def in_zip(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def refusal(call, *arguments):
    with pytest.raises(PresetError) as caught:
        call(*arguments)
    text = str(caught.value)
    assert "\n" not in text and text.endswith(".")
    return text


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


# === Packing ===


def test_a_zip_holds_the_preset_its_card_and_hashes_that_other_programs_check(
    zipped, preset, tmp_path
):
    files = in_zip(zipped)
    assert files.keys() == {*HASHED, SUMS, README}
    assert all(files[name] == (preset / name).read_bytes() for name in HASHED)
    out = tmp_path / "out"
    with zipfile.ZipFile(zipped) as archive:
        archive.extractall(out)
    done = subprocess.run(["sha256sum", "--check", "--strict", SUMS], cwd=out, capture_output=True)
    assert done.returncode == 0 and done.stdout.count(b": OK") == len(HASHED)


def test_the_same_preset_gives_the_same_zip(preset, tmp_path):
    first, second = (pack(preset, tmp_path / name, CARD_TEXT) for name in ("a.zip", "b.zip"))
    assert first == second == sha256(tmp_path / "a.zip") == sha256(tmp_path / "b.zip")


def test_pack_by_the_command(preset, tmp_path):
    out = tmp_path / "mine.zip"
    command = [
        "pack",
        preset,
        "--out",
        out,
        "--labels",
        "votes of 3 people",
        "--licence",
        "cc0-1.0",
    ]
    result = run(*command, "--json")
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    assert (record["bytes"], record["sha256"]) == (out.stat().st_size, sha256(out))
    again = run(*command)
    assert again.exit_code == 7 and "--force" in again.stderr
    assert run(*command, "--force").exit_code == 0
    card = read_card(preset_folder(str(out)))
    assert (card.labels, card.licence) == ("votes of 3 people", "cc0-1.0")
    assert "votes of 3 people" in card.text and "cc0-1.0" in card.text


def test_pack_keeps_a_card_and_says_what_it_lacks(preset, tmp_path):
    (preset / "CARD.md").write_text("# By hand\n")
    result = run("pack", preset, "--out", tmp_path / "a.zip")
    assert result.exit_code == 0
    assert "--labels" in result.stderr and "--licence" in result.stderr
    assert in_zip(tmp_path / "a.zip")[README].endswith(b"---\n# By hand\n")
    (tmp_path / "other.md").write_text("# Another\n")
    run("pack", preset, "--out", tmp_path / "b.zip", "--card", tmp_path / "other.md")
    assert in_zip(tmp_path / "b.zip")[README].endswith(b"---\n# Another\n")
    missing = run("pack", preset, "--out", tmp_path / "c.zip", "--card", tmp_path / "none.md")
    assert missing.exit_code == 6 and not (tmp_path / "c.zip").exists()
    (preset / "weights.safetensors").unlink()
    missing = run("pack", preset, "--out", tmp_path / "c.zip")
    assert missing.exit_code == 6 and not (tmp_path / "c.zip").exists()


# === Cards ===


def test_hugging_face_reads_the_card(tmp_path):
    from huggingface_hub import ModelCard

    path = tmp_path / "README.md"
    path.write_text(CARD_TEXT)
    theirs = ModelCard.load(path)
    assert theirs.data.license == "cc0-1.0" and theirs.data.library_name == "keras"
    assert theirs.data.datasets == ["attic"]
    (figure,) = theirs.data.eval_results
    assert (figure.dataset_name, figure.metric_name, figure.metric_value) == ("attic", "SROCC", 0.5)
    assert theirs.text == "Mine.\n"
    assert write_card(parse_card(path), "small") == CARD_TEXT


@pytest.mark.parametrize("name", preset_names())
def test_figures_of_a_released_card_stand_in_its_text(name):
    card = read_card(preset_folder(name))
    assert card.labels in card.text and card.licence in card.text.lower()
    assert card.figures and all(f"{figure.value:g}" in card.text for figure in card.figures)


@pytest.mark.parametrize(
    "head",
    [
        "labels: [a",
        "- a list",
        "a: &a [1, 2]\nb: [*a, *a, *a]",
        "model-index: [{results: [{}]}]",
        "model-index: 5",
        "[" * 5000,
        "!!python/object/apply:os.system ['touch hacked']",
    ],
)
def test_a_card_whose_head_is_wrong_is_refused(head, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "CARD.md"
    path.write_text(f"---\n{head}\n---\ntext\n")
    assert str(path) in refusal(parse_card, path)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["CARD.md"]


# === Zips ===


def test_a_local_zip_is_a_preset(zipped, preset, tmp_path):
    folder = preset_folder(str(zipped))
    assert folder == tmp_path / "cache" / "qdnet-keras" / "presets" / sha256(zipped)
    assert read_preset_config(str(zipped))["model"] == MODEL
    assert all((folder / name).read_bytes() == (preset / name).read_bytes() for name in HASHED)
    assert preset_folder(zipped) == folder


def test_a_folder_in_a_zip_is_a_preset_too(zipped, tmp_path):
    with zipfile.ZipFile(tmp_path / "folder.zip", "w") as archive:
        archive.mkdir("small")
        for name, content in in_zip(zipped).items():
            archive.writestr(f"small/{name}", content)
    assert read_preset_config(str(tmp_path / "folder.zip"))["model"] == MODEL


def test_what_was_unpacked_and_damaged_is_unpacked_anew(zipped):
    folder = preset_folder(str(zipped))
    (folder / "weights.safetensors").write_bytes(b"other")
    assert (preset_folder(str(zipped)) / "weights.safetensors").read_bytes() == b"w" * 5000


def entry(name, mode=0, **fields):
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    for field, value in fields.items():
        setattr(info, field, value)
    return info


HOSTILE = {
    "path above": [(entry("../config.json"), b"{}")],
    "path far above": [(entry("../../etc/config.json"), b"{}")],
    "absolute path": [(entry("/config.json"), b"{}")],
    "path of Windows": [(entry("..\\config.json"), b"{}")],
    "dots in the middle": [(entry("a/../config.json"), b"{}")],
    "two folders": [(entry("a/config.json"), b"{}"), (entry(SUMS), b"")],
    "symbolic link": [(entry("config.json", stat.S_IFLNK | 0o777), b"/etc/passwd")],
    "device": [(entry("config.json", stat.S_IFCHR | 0o666), b"")],
    "program": [(entry("config.json"), b"{}"), (entry("model.py"), b"raise SystemExit")],
    "pickle": [(entry("weights.pkl"), b"cos\nsystem\n")],
    "twice": [(entry("config.json"), b"{}"), (entry("config.json"), b"{ }")],
    "bomb": [(entry("config.json", compress_type=zipfile.ZIP_DEFLATED), bytes(2**20 + 1))],
    "bomb of another packing": [(entry("config.json", compress_type=zipfile.ZIP_LZMA), b"{}")],
    "nothing": [],
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_zip_leaves_nothing(kind, tmp_path):
    path = tmp_path / "hostile.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in HOSTILE[kind]:
            archive.writestr(member, content, member.compress_type)
    assert "hostile.zip" in refusal(preset_folder, str(path))
    left = [found for found in tmp_path.rglob("*") if found.is_file()]
    assert left == [path]


def test_a_zip_that_understates_its_sizes_is_refused(zipped, tmp_path):
    """The size in the list of members and in the member's head, 10 bytes for 5,000."""
    content = bytearray(zipped.read_bytes())
    true = struct.pack("<I", 5000)
    assert content.count(true) == 2
    zipped.write_bytes(content.replace(true, struct.pack("<I", 10)))
    assert "small.zip" in refusal(preset_folder, str(zipped))


def test_a_zip_with_a_huge_list_of_members_is_refused_before_it_is_read(tmp_path, monkeypatch):
    path = tmp_path / "many.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(100):
            archive.writestr(f"{number:012000}", b"")
    monkeypatch.setattr(zipfile, "ZipFile", None)
    assert "no zip file of a preset" in refusal(preset_folder, str(path))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_zip_cut_short_is_refused(zipped, share):
    content = zipped.read_bytes()
    zipped.write_bytes(content[: int(share * len(content))])
    assert "small.zip" in refusal(preset_folder, str(zipped))


def test_every_flipped_byte_is_noticed_or_harmless(zipped, tmp_path):
    whole = zipped.read_bytes()
    for place in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[place] ^= 0x41
        path = tmp_path / "damaged.zip"
        path.write_bytes(damaged)
        folder = tmp_path / "out"
        folder.mkdir()
        try:
            unpack(path, folder, "it")
        except PresetError as error:
            assert str(error).startswith("it ")
        else:
            assert (folder / "weights.safetensors").read_bytes() == b"w" * 5000
            assert json.loads((folder / "config.json").read_bytes())["model"] == MODEL
        shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("sums", "said"),
    [
        ("", "config.json"),
        ("{config}  config.json\n", "weights.safetensors"),
        ("{config}  ../config.json\n", "no part of a preset"),
        ("\x00\xff", "no part of a preset"),
    ],
)
def test_hashes_that_do_not_fit_are_refused(zipped, tmp_path, sums, said):
    files = in_zip(zipped)
    digest = hashlib.sha256(files["config.json"]).hexdigest()
    files[SUMS] = sums.replace("{config}", digest).encode()
    with zipfile.ZipFile(zipped, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    assert said in refusal(preset_folder, str(zipped))


# === Configs ===

LAYER = {"module": "keras.layers", "class_name": "ReLU", "config": {}, "registered_name": None}


@pytest.mark.parametrize(
    "value",
    [
        {**LAYER, "class_name": "Lambda"},
        {**LAYER, "class_name": "TFSMLayer"},
        {**LAYER, "module": "os", "class_name": "system"},
        {**LAYER, "module": "antigravity"},
        {**LAYER, "module": None},
        {**LAYER, "registered_name": "theirs>ReLU"},
        {"class_name": "Lambda", "config": {}},
        {"class_name": "__lambda__", "config": {"value": "4w=="}},
        {"class_name": "function", "module": "builtins", "config": "eval"},
        {**LAYER, "config": {"deep": [{"deeper": {**LAYER, "class_name": "Lambda"}}]}},
    ],
)
@pytest.mark.parametrize("place", ["encoder", "dtype"])
def test_a_config_can_name_nothing_but_layers_of_keras(preset, value, place):
    model = {**MODEL, place: {"network": value} if place == "encoder" else value}
    (preset / "config.json").write_text(json.dumps({"model": model}))
    assert "it is not used" in refusal(read_preset_config, preset)
    (preset / "config.json").write_text(json.dumps({"model": {**MODEL, place: LAYER}}))
    assert read_preset_config(preset)["model"][place] == LAYER


def test_a_config_that_never_ends_is_refused(preset):
    (preset / "config.json").write_text("[" * 100_000)
    assert "cannot be read" in refusal(read_preset_config, preset)


# === From a server ===


def test_from_a_server_once(https, zipped):
    https.files["/small.zip"] = zipped.read_bytes()
    folder = fetch(f"{https.url}/small.zip")
    assert folder.name == sha256(zipped)
    fetch(f"{https.url}/small.zip")
    assert https.asked == ["/small.zip"]


def again():
    """As a new process would be."""
    fetching._from_server.cache_clear()


def test_a_new_process_asks_whether_it_is_still_the_same(https, zipped, preset, tmp_path):
    address = f"{https.url}/small.zip"
    https.files["/small.zip"] = zipped.read_bytes()
    first = fetch(address)
    again()
    assert fetch(address) == first and len(https.asked) == 2
    (preset / "weights.safetensors").write_bytes(b"new")
    pack(preset, zipped, CARD_TEXT)
    https.files["/small.zip"] = zipped.read_bytes()
    again()
    assert (fetch(address) / "weights.safetensors").read_bytes() == b"new"
    https.stop()
    again()
    assert (fetch(address) / "weights.safetensors").read_bytes() == b"new"
    assert "cannot be fetched" in refusal(fetch, f"{https.url}/other.zip")


def test_with_a_hash_what_is_there_needs_no_server(https, zipped):
    address = f"{https.url}/small.zip#sha256={sha256(zipped)}"
    https.files["/small.zip"] = zipped.read_bytes()
    folder = fetch(address)
    again()
    assert fetch(address) == folder and https.asked == ["/small.zip"]


def test_another_hash_than_the_one_asked_for(https, zipped, tmp_path):
    https.files["/small.zip"] = zipped.read_bytes()
    assert sha256(zipped) in refusal(fetch, f"{https.url}/small.zip#sha256={'0' * 64}")
    assert "64 hexadecimal digits" in refusal(fetch, f"{https.url}/small.zip#sha256=abc")
    assert not [found for found in (tmp_path / "cache").rglob("*") if found.is_file()]


def test_without_encryption_only_by_hash(hub, zipped):
    hub.files["/small.zip"] = zipped.read_bytes()
    assert "https://" in refusal(fetch, f"{hub.url}/small.zip")
    assert hub.asked == []
    assert fetch(f"{hub.url}/small.zip#sha256={sha256(zipped)}").name == sha256(zipped)


def test_a_server_cannot_lead_out_of_encryption(https, hub, zipped):
    hub.files["/small.zip"] = https.files["/elsewhere.zip"] = zipped.read_bytes()
    https.redirects["/small.zip"] = f"{hub.url}/small.zip"
    assert "not encrypted" in refusal(fetch, f"{https.url}/small.zip")
    assert hub.asked == []
    https.redirects["/small.zip"] = f"{https.url}/elsewhere.zip"
    assert fetch(f"{https.url}/small.zip").name == sha256(zipped)


def test_a_server_that_is_not_trusted(https, zipped, monkeypatch):
    https.files["/small.zip"] = zipped.read_bytes()
    monkeypatch.delenv("SSL_CERT_FILE")
    assert "certificate" in refusal(fetch, f"{https.url}/small.zip").lower()


def test_what_is_too_large_is_not_fetched_to_its_end(https, monkeypatch, tmp_path):
    monkeypatch.setattr(fetching, "LARGEST", 1000)
    https.files["/small.zip"] = bytes(5000)
    assert "larger than a preset" in refusal(fetch, f"{https.url}/small.zip")
    assert not [found for found in (tmp_path / "cache").rglob("*") if found.is_file()]


@pytest.mark.parametrize("address", ["ftp://a/b.zip", "file:///etc/passwd", "s3://a/b", "://"])
def test_other_addresses_are_refused(address):
    assert "no known form" in refusal(fetch, address)


# === From hubs ===


@pytest.fixture
def hugging_face(hub, zipped, tmp_path, monkeypatch):
    """Hugging Face's own library, on a server of this machine."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr(
        constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        hub.url + "/{repo_id}/resolve/{revision}/{filename}",
    )
    hub.repository = {**in_zip(zipped), "model.py": b"raise SystemExit", "big.bin": bytes(100)}
    return hub


@pytest.mark.parametrize("revision", ["", "@v1", f"@{REVISION}"])
def test_from_hugging_face(hugging_face, preset, revision):
    folder = fetch(f"hf://me/small{revision}")
    assert all((folder / name).read_bytes() == (preset / name).read_bytes() for name in HASHED)
    assert {file.name for file in folder.iterdir()} == {*HASHED, SUMS, README}
    assert not [path for path in hugging_face.asked if "model.py" in path or "big.bin" in path]
    assert read_card(folder).labels == "votes of 3 people"


def test_from_hugging_face_without_a_network(hugging_face):
    folder = fetch("hf://me/small")
    hugging_face.stop()
    fetching._from_hugging_face.cache_clear()
    assert fetch("hf://me/small") == folder
    assert "cannot be fetched" in refusal(fetch, "hf://me/large")


@pytest.mark.parametrize("address", ["hf://me/large", "hf://me/small@v9", "hf://m~e/small"])
def test_what_hugging_face_does_not_have(hugging_face, address):
    assert f"{address} cannot be fetched" in refusal(fetch, address)


def test_addresses_of_another_form(hugging_face):
    assert "hf://USER/REPO" in refusal(fetch, "hf://me")
    assert "hf://USER/REPO" in refusal(fetch, "hf://me/small/config.json")
    assert "VARIATION" in refusal(fetch, "kaggle://me/small")
    assert hugging_face.asked == []


def test_a_repository_without_hashes_or_with_others(hugging_face, tmp_path, monkeypatch):
    hugging_face.repository["weights.safetensors"] = b"other"
    text = refusal(fetch, "hf://me/small")
    assert "weights.safetensors is not the file" in text and "kept in" in text
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "another"))
    fetching._from_hugging_face.cache_clear()
    del hugging_face.repository[SUMS]
    assert f"holds no {SUMS}" in refusal(fetch, "hf://me/small")


def test_a_repository_with_a_file_that_is_too_large_is_not_fetched(hugging_face, monkeypatch):
    hugging_face.repository["config.json"] = bytes(2**20 + 1)
    assert "too large" in refusal(fetch, "hf://me/small")
    assert not [path for path in hugging_face.asked if path.endswith("weights.safetensors")]


def test_from_kaggle(hub, zipped, preset, tmp_path, monkeypatch):
    """Kaggle's own library, on a server of this machine."""
    from kagglesdk import kaggle_env

    monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.PROD, hub.url)
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "kaggle"))
    monkeypatch.setenv("HOME", str(tmp_path))
    hub.repository = in_zip(zipped)
    folder = fetch("kaggle://me/small/keras/tiny")
    assert folder == fetch("kaggle://me/small/keras/tiny/3")
    assert all((folder / name).read_bytes() == (preset / name).read_bytes() for name in HASHED)
    assert "cannot be fetched" in refusal(fetch, "kaggle://me/large/keras/tiny")
    hub.stop()
    fetching._from_kaggle.cache_clear()
    assert fetch("kaggle://me/small/keras/tiny") == folder


@pytest.mark.parametrize("address", ["hf://me/small", "kaggle://me/small/keras/tiny"])
def test_without_the_library_of_a_hub(address, monkeypatch):
    for name in ("huggingface_hub", "kagglehub"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingPackageError, match=r"pip install 'qdnet-keras\[hub\]'"):
        fetch(address)


# === The list ===


def test_presets_lists_what_is_installed_and_what_was_fetched(https, zipped, preset):
    https.files["/small.zip"] = zipped.read_bytes()
    address = f"{https.url}/small.zip"
    preset_folder(address), preset_folder(str(zipped))
    result = run("presets", "--json")
    assert result.exit_code == 0
    *installed, local, remote = (json.loads(line) for line in result.stdout.splitlines())
    assert [record["preset"] for record in installed] == preset_names()
    assert (local["preset"], remote["preset"]) == (str(zipped), address)
    assert local["folder"] == remote["folder"]
    assert (remote["labels"], remote["data"], remote["licence"]) == (
        "votes of 3 people",
        ["attic"],
        "cc0-1.0",
    )
    assert remote["figures"] == [{"on": "attic", "name": "SROCC", "value": 0.5}]
    shown = run("presets").stdout
    for text in (address, "votes of 3 people", "attic: SROCC 0.5", "cc0-1.0", *preset_names()):
        assert text in shown
    (Path(remote["folder"]) / README).write_text("---\nlabels: [\n---\n")
    broken = [json.loads(line) for line in run("presets", "--json").stdout.splitlines()][-1]
    assert broken.keys() == {"preset", "folder", "error"}
    shutil.rmtree(remote["folder"])
    assert len(run("presets", "--json").stdout.splitlines()) == len(preset_names())


def test_the_list_needs_no_tensorflow():
    script = """if True:
        import sys
        from typer.testing import CliRunner
        from qdnet_keras.cli import app
        assert CliRunner().invoke(app, ["presets"]).exit_code == 0
        assert not {"tensorflow", "keras", "huggingface_hub", "kagglehub"} & sys.modules.keys()
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, env=environment)
    assert done.returncode == 0, done.stderr


def test_a_network_from_a_zip_is_the_one_from_its_folder(tiny_preset, tmp_path):
    import numpy as np

    from qdnet_keras import load

    result = run("pack", tiny_preset, "--out", tmp_path / "tiny.zip")
    assert result.exit_code == 0, result.output
    picture = np.random.default_rng(0).random((1, 40, 50, 3), "float32")
    scores = [load(name)(picture)["score"] for name in (tmp_path / "tiny.zip", tiny_preset)]
    np.testing.assert_array_equal(*scores)
