"""Files are written whole or not at all, and what stops that is named in one line."""

import argparse
import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gearshift.runtime import cli
from gearshift.runtime.errors import OutputError
from gearshift.runtime.files.whole_file import (
    WholeFile,
    make_folder,
    output_file,
    output_place,
    write_whole,
    writing,
)

READ_PATHS = {
    "baseline",
    "camera",
    "checkpoint",
    "checkpoints",
    "data",
    "ensemble",
    "file",
    "files",
    "flights",
    "folder",
    "frame",
    "frames",
    "golden",
    "input",
    "labels",
    "paths",
    "real",
    "recording",
    "recordings",
    "reference",
    "start",
    "teacher",
    "trace",
    "traces",
    "truth",
    "val",
    "zoo",
}
"""Arguments that are paths to read. What is written beside one is checked when it is written."""


def test_content_has_its_name_and_nothing_is_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "it.json"
    write_whole(path, "Grüße\n")
    assert path.read_bytes() == "Grüße\n".encode()
    write_whole(path, b"\x00\x01")
    assert path.read_bytes() == b"\x00\x01"
    assert [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("no"), OSError(28, "full")])
def test_an_error_on_the_way_leaves_what_was_there(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "it.json"
    path.write_text("before")
    wanted = OutputError if isinstance(error, OSError) else type(error)

    def write_half() -> None:
        with WholeFile(path) as stream:
            stream.write(b"half of")
            raise error

    with pytest.raises(wanted):
        write_half()
    assert [*tmp_path.iterdir()] == [path]
    assert path.read_text() == "before"


@pytest.mark.parametrize("call", ["fsync", "open", "replace"])
def test_a_full_disk_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "it.json"
    path.write_text("before")

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os if call == "fsync" else Path, call, fail)
    with pytest.raises(OutputError, match=r"^cannot write .*it\.json: No space left on device$"):
        write_whole(path, b"x" * 100)
    monkeypatch.undo()
    assert [*tmp_path.iterdir()] == [path]
    assert path.read_text() == "before"


def test_what_is_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path, reason in {
        tmp_path: "it is a folder; name a file",
        tmp_path / "file" / "x": f"{tmp_path}/file is a file, not a folder",
        tmp_path / "none" / "x": f"there is no folder {tmp_path}/none",
        tmp_path / ("x" * 300): "File name too long",
    }.items():
        with pytest.raises(OutputError) as raised:
            write_whole(path, "x")
        assert str(raised.value) == f"cannot write {path}: {reason}"
        with pytest.raises(OutputError):
            output_file(str(path))
    assert [*tmp_path.iterdir()] == [tmp_path / "file"]
    for path in (tmp_path / "file", tmp_path / "file" / "x"):
        with pytest.raises(OutputError, match="is a file, not a folder"):
            make_folder(path)


def test_a_folder_without_permission_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o500)
    if os.geteuid() == 0:  # who may write anywhere
        monkeypatch.setattr(os, "access", lambda path, _: path != folder)
    for call in (output_file, output_place):
        with pytest.raises(OutputError, match=r"closed cannot be written to$"):
            call(str(folder / "x"))
    with pytest.raises(OutputError, match=r"closed cannot be written to$"):
        write_whole(folder / "x", "x")


def test_missing_folders_are_made_where_that_is_wanted(tmp_path: Path) -> None:
    path = output_place(str(tmp_path / "a" / "b"))
    make_folder(path)
    make_folder(path)
    assert path.is_dir()


def test_a_link_stays_one_and_its_target_is_written(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("target")
    write_whole(tmp_path / "link", "x")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text() == "x"


def test_what_is_no_regular_file_stays_what_it_is(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_whole(pipe, "through")
        assert os.read(reader, 100) == b"through"
    finally:
        os.close(reader)
    assert pipe.is_fifo()


def test_standard_output_is_written_where_it_is() -> None:
    code = "from pathlib import Path; from gearshift.runtime.files.whole_file import *; "
    code += "write_whole(Path('/dev/stdout'), 'through a pipe')"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert done.stdout == b"through a pipe"


def test_a_full_device_is_named() -> None:
    with pytest.raises(OutputError, match=r"^cannot write /dev/full: No space left on device$"):
        write_whole(Path("/dev/full"), b"x" * 100_000)


def test_errors_of_other_writers_name_the_path(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match=r"cannot write .*: two lines$"),
        writing(tmp_path / "x"),
    ):
        raise OSError("two\n lines")


def arguments(
    parser: argparse.ArgumentParser, words: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], argparse.ArgumentParser, argparse.Action]]:
    """Every argument of every command, with the words of its command."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                yield from arguments(command, (*words, name))
        else:
            yield words, parser, action


ARGUMENTS = list(arguments(cli.build_parser(cli.load_commands())))
OUTPUTS = [
    (words, parser, action)
    for words, parser, action in ARGUMENTS
    if getattr(action.type, "__name__", "").startswith("output_")
]


def test_every_path_is_known_to_be_read_or_written() -> None:
    assert len(OUTPUTS) >= 18
    unknown = {
        f"{' '.join(words)} {action.dest}"
        for words, _, action in ARGUMENTS
        if action.type is Path and action.dest not in READ_PATHS
    }
    assert not unknown, "type=output_file or output_place; or it is read: add it to READ_PATHS"


@pytest.mark.parametrize(
    ("words", "parser", "action"),
    OUTPUTS,
    ids=[f"{'-'.join(words)}-{action.dest}" for words, _, action in OUTPUTS],
)
def test_an_output_under_a_file_is_one_line(
    words: tuple[str, ...],
    parser: argparse.ArgumentParser,
    action: argparse.Action,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "file").write_text("")
    place = tmp_path / "file" / "x"
    given: list[str] = []
    for positional in parser._get_positional_actions():
        if action.option_strings:
            break
        given.append(str(place) if positional is action else "x")
    given = given or [action.option_strings[-1], str(place)]
    assert cli.main([*words, *given]) == 1
    said = capsys.readouterr().err
    assert said == f"gearshift: cannot write {place}: {tmp_path}/file is a file, not a folder\n"
