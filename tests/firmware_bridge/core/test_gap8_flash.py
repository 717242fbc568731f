"""The gap8 port gives the board its bundle whole or not at all; a flash that fails is not silicon's
privilege, so this part of the port runs here."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

FIRMWARE = Path(__file__).parents[3] / "firmware_bridge" / "firmware"
DRIVER = Path(__file__).with_name("gap8_flash.c")
NEVER = 10**9
READ_BYTES = 4096


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        pytest.skip("no C compiler (cc) to build the gap8 port's reading of flash with")
    target = tmp_path_factory.mktemp("gap8") / "flash"
    folders = (".", "include", "ports/gap8", "ports/gap8/shim")
    includes = [f"-I{FIRMWARE / folder}" for folder in folders]
    command = [compiler, "-std=c11", "-O1", *includes, str(DRIVER), "-o", str(target)]
    # Of the port only load_bundle stays: nothing else is called, and UART and camera not needed.
    subprocess.run([*command, "-ffunction-sections", "-Wl,--gc-sections"], check=True)
    return target


def load(program: Path, size: int, most: int, failing: int = NEVER, failure: int = 0) -> list[str]:
    """The length, and the sum of the bytes or "null"."""
    command = [str(program), *map(str, (size, most, failing, failure))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.parametrize("size", [0, 1, READ_BYTES, 3 * READ_BYTES + 5])
@pytest.mark.parametrize("most", [READ_BYTES, 1000])
def test_a_file_is_read_whole_in_reads_of_any_length(program: Path, size: int, most: int) -> None:
    assert load(program, size, most) == [str(size), str(sum(i % 256 for i in range(size)))]


@pytest.mark.parametrize("failing", [0, 1, 3])
@pytest.mark.parametrize("failure", [0, -1, READ_BYTES + 1])
def test_a_read_that_fails_leaves_neither_bytes_nor_a_length(
    program: Path, failing: int, failure: int
) -> None:
    """The first, the second or the last, with an error, an early end or more than was asked for."""
    assert load(program, 3 * READ_BYTES + 5, READ_BYTES, failing, failure) == ["0", "null"]
