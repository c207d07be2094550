"""Files are complete or absent, tables come back as they were, runs keep their settings."""

import os
import resource
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qdnet_keras.errors import DataError, OutputError
from qdnet_keras.files import (
    new_file,
    new_folder,
    read_table,
    read_text,
    start_run,
    write_bytes,
    write_table,
    write_text,
)


def test_a_file_appears_at_the_end_and_replaces_the_old_one(tmp_path):
    path = tmp_path / "deep" / "file.bin"
    write_bytes(path, b"old")
    with new_file(path) as file:
        file.write(b"new")
        assert Path(file.name).parent == path.parent
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert os.listdir(path.parent) == ["file.bin"]


def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file.bin"
    write_bytes(path, b"old")
    with pytest.raises(ZeroDivisionError), new_file(path) as file:
        file.write(b"half")
        raise ZeroDivisionError
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file.bin"]


def test_files_have_the_mode_that_open_gives(tmp_path):
    write_bytes(tmp_path / "ours", b"")
    (tmp_path / "plain").touch()
    modes = {stat.S_IMODE(os.stat(tmp_path / name).st_mode) for name in ("ours", "plain")}
    assert len(modes) == 1


def test_a_full_disk_is_told_in_a_sentence(tmp_path):
    path = tmp_path / "file.bin"
    kept = resource.getrlimit(resource.RLIMIT_FSIZE)

    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, kept[1]))
    try:
        with pytest.raises(OutputError, match=r"file\.bin cannot be written \(File too large\)\."):
            write_bytes(path, bytes(5000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, kept)
        signal.signal(signal.SIGXFSZ, before)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["x" * 300, "写" * 86, "file/below"])
def test_names_that_cannot_be_are_told_in_a_sentence(tmp_path, name):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be") as caught:
        write_text(tmp_path / name, "text")
    assert str(caught.value).endswith(").")
    assert os.listdir(tmp_path) == ["file"]


def test_a_folder_stays_only_if_it_is_renamed(tmp_path):
    with new_folder(tmp_path / "out") as folder:
        (folder / "file").write_text("x")
        folder.rename(tmp_path / "out" / "1")
    with pytest.raises(ZeroDivisionError), new_folder(tmp_path / "out") as folder:
        (folder / "file").write_text("x")
        raise ZeroDivisionError
    with pytest.raises(OutputError, match="out cannot be written"), new_folder(tmp_path / "out"):
        raise OSError(28, "No space left on device")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["1"]


KILLED = """if True:
    import os, signal, sys
    from pathlib import Path
    from qdnet_keras.files import new_folder
    with new_folder(Path(sys.argv[1])) as folder:
        (folder / "file").write_text("x")
        print(folder.name, flush=True)
        sys.stdin.read()
"""


def test_what_a_killed_process_left_is_removed_and_what_another_fills_is_not(tmp_path):
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as killed, subprocess.Popen(command, **pipes) as alive:
        left, kept = (tmp_path / child.stdout.readline().strip() for child in (killed, alive))
        killed.kill()
        killed.wait()
        with new_folder(tmp_path) as folder:
            assert {left, kept, folder} == set(tmp_path.iterdir())  # too young to tell
        for path in (left, kept):
            os.utime(path, (0, 0))
        with new_folder(tmp_path) as folder:
            assert {kept, folder} == set(tmp_path.iterdir())
        alive.stdin.close()


CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=8)


@given(st.lists(st.tuples(CELLS, CELLS, CELLS), max_size=5))
def test_tables_come_back_as_they_were(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("table") / "table.csv"
    columns = ("file", "a, b", 'the "third"')
    write_table(path, columns, rows)
    assert read_table(path) == [dict(zip(columns, row, strict=True)) for row in rows]


def test_file_names_that_are_no_utf8_come_back(tmp_path):
    name = os.fsdecode(b"caf\xe9.jpg")
    write_table(tmp_path / "table.csv", ["file"], [[name]])
    assert b"caf\xe9" in (tmp_path / "table.csv").read_bytes()
    assert read_table(tmp_path / "table.csv") == [{"file": name}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1\n", r"table\.csv, row 2: 1 cells where the header has 2"),
        ('a,b\n1,2\n"3', r"table\.csv, row 3: not valid CSV"),
        (None, r"table\.csv cannot be read \(No such file or directory\)\."),
    ],
)
def test_damaged_tables_are_told_in_a_sentence(tmp_path, content, message):
    path = tmp_path / "table.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=message):
        read_table(path)


def test_text_loses_its_byte_order_mark_and_must_be_utf8(tmp_path):
    (tmp_path / "marked").write_bytes("\ufeffgrün".encode())
    assert read_text(tmp_path / "marked") == "grün"
    (tmp_path / "latin").write_bytes("grün".encode("latin-1"))
    with pytest.raises(DataError, match="latin is not UTF-8 text"):
        read_text(tmp_path / "latin")


def test_a_run_goes_on_with_its_own_settings_alone(tmp_path):
    run = tmp_path / "run"
    start_run(run, "settings.json", "one", resume=False)
    start_run(run, "settings.json", "one", resume=True)
    with pytest.raises(OutputError, match="not empty"):
        start_run(run, "settings.json", "one", resume=False)
    with pytest.raises(OutputError, match="not made with these settings"):
        start_run(run, "settings.json", "two", resume=True)
    assert (run / "settings.json").read_text() == "one"
