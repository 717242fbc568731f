"""Boards without a board: the firmware built for this computer, or for a RISC-V core in QEMU.

The sources come with the package; what is built from them is kept in a cache folder, one per
version of the sources.
"""

from __future__ import annotations

import hashlib
import os
import re
import select
import shutil
import struct
import subprocess
import tempfile
import time
import tty
from collections.abc import Sequence
from enum import StrEnum
from importlib.resources import files
from pathlib import Path

from gearshift.runtime.errors import ConfigurationError, LinkError
from gearshift.runtime.files.whole_file import make_folder, writing
from gearshift.runtime.types import Image

START_S = 10.0
CAMERA_MAGIC = 0x31465347
_BUNDLE_ADDRESS = 0x8040_0000
_CAMERA_ADDRESS = 0x80A0_0000
_REGION_BYTES = 0x0060_0000
# QEMU knows no option to go with whoever started it; this shell ends it when its input ends.
_KEEPER = (
    'exec 3<&0; "$@" </dev/null & q=$!; (cat <&3 >/dev/null; kill $q 2>/dev/null) & w=$!; '
    "wait $q; s=$?; kill $w 2>/dev/null; exit $s"
)


class EmulatedPort(StrEnum):
    """The ports of the firmware that run without a board."""

    POSIX = "posix"
    RV32 = "rv32"


class Build(StrEnum):
    """What is built for a port; the values are targets of the firmware's Makefile."""

    POSIX = "posix"
    RV32 = "rv32"
    SANITIZED = "sanitized"
    UNCHECKED = "unchecked"
    LIB = "lib"


_PROGRAMS = {
    Build.POSIX: "gearshift-board",
    Build.RV32: "gearshift-board-rv32.elf",
    Build.SANITIZED: "gearshift-board-sanitized",
    Build.UNCHECKED: "gearshift-board-unchecked",
    Build.LIB: "libgearshift.so",
}
_COMPILERS = {Build.RV32: "riscv64-unknown-elf-gcc"}
_PACKAGES = {
    "riscv64-unknown-elf-gcc": "gcc-riscv64-unknown-elf",
    "qemu-system-riscv32": "qemu-system-misc",
    "make": "make",
    "cc": "gcc",
}


def missing_tools(port: EmulatedPort) -> list[str]:
    """Programs that building and running a port needs and this computer lacks."""
    tools = {EmulatedPort.POSIX: ["make", "cc"]}.get(
        port, ["make", "riscv64-unknown-elf-gcc", "qemu-system-riscv32"]
    )
    return [tool for tool in tools if shutil.which(tool) is None]


def firmware_folder() -> Path:
    """Where the firmware's sources are."""
    return Path(str(files("gearshift.firmware_bridge"))) / "firmware"


def build(target: Build, cache: Path | None = None) -> Path:
    """Build the firmware unless it has been built, and return the program.

    cache: default `$XDG_CACHE_HOME/gearshift/firmware`. Raises ConfigurationError when a tool is
    missing or the build fails.
    """
    compiler = _COMPILERS.get(target, "cc")
    _require(["make", compiler])
    folder = firmware_folder()
    home = cache or Path(
        os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "gearshift", "firmware"
    )
    program = home / _sources_digest(folder) / _PROGRAMS[target]
    if program.exists():
        return program
    make_folder(program.parent)
    with (
        writing(program),
        tempfile.TemporaryDirectory(dir=program.parent, prefix=".build-") as place,
    ):
        made = subprocess.run(
            ["make", "-C", str(folder), f"BUILD={place}", str(target)],
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode:
            reason = (made.stderr.strip().splitlines() or ["no message"])[0]
            raise ConfigurationError(f"building the firmware ({target}) failed: {reason}")
        # Renaming is atomic: two builders at once end up with one whole program.
        (Path(place) / program.name).replace(program)
    return program


def camera_file(images: Sequence[Image], period_us: int) -> bytes:
    """Frames that stand in for a board's camera, as `ports/camera_file.h` reads them."""
    frames = [image.tobytes() for image in images]
    if not frames or len({len(frame) for frame in frames}) != 1:
        raise ConfigurationError("camera frames must be one or more of equal size")
    header = struct.pack("<4I", CAMERA_MAGIC, len(frames), len(frames[0]), period_us)
    return header + b"".join(frames)


class Emulator:
    """A running board; `url` is where it is. Ends with this process.

    bundle: a network image or bundle (`network_image`). camera: `camera_file`. program: another
    build of the posix port. tcp: a socket instead of a pty (posix). icount: QEMU counts every
    instruction, which makes counts deterministic and the board ten times slower. Raises
    ConfigurationError when a tool is missing, LinkError when the board does not start.
    """

    def __init__(
        self,
        port: EmulatedPort,
        bundle: bytes,
        *,
        camera: bytes | None = None,
        program: Path | None = None,
        tcp: bool = False,
        icount: bool = False,
    ) -> None:
        self.port = port
        self._folder = tempfile.TemporaryDirectory(prefix="gearshift-board-")
        place = Path(self._folder.name)
        (place / "bundle.bin").write_bytes(bundle)
        if camera is not None:
            (place / "camera.bin").write_bytes(camera)
        if port is EmulatedPort.POSIX:
            command = self._posix(place, program or build(Build.POSIX), tcp, camera is not None)
        else:
            _require(["qemu-system-riscv32"])
            for content in (bundle, camera or b""):
                if len(content) > _REGION_BYTES:
                    raise ConfigurationError(
                        f"{len(content)} bytes, the emulated board holds {_REGION_BYTES}"
                    )
            command = self._rv32(place, program or build(Build.RV32), icount, camera is not None)
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        self._held: int | None = None
        try:
            self.url = self._find_url()
            if port is EmulatedPort.RV32:
                # Without a user QEMU forgets its pty for a second and loses what comes meanwhile.
                self._held = os.open(self.url, os.O_RDWR | os.O_NOCTTY)
                tty.setraw(self._held)
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """Of the process (rv32: of the shell that keeps QEMU)."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def wait(self) -> int:
        """Wait until it ends; its exit code."""
        return self._process.wait()

    def close(self) -> None:
        """End it."""
        if self._held is not None:
            os.close(self._held)
            self._held = None
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._folder.cleanup()

    def __enter__(self) -> Emulator:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @staticmethod
    def _posix(place: Path, program: Path, tcp: bool, camera: bool) -> list[str]:
        command = [str(program), "--bundle", str(place / "bundle.bin")]
        if camera:
            command += ["--camera", str(place / "camera.bin")]
        return [*command, "--listen", "0"] if tcp else command

    @staticmethod
    def _rv32(place: Path, program: Path, icount: bool, camera: bool) -> list[str]:
        loads = [("bundle.bin", _BUNDLE_ADDRESS)]
        if camera:
            loads.append(("camera.bin", _CAMERA_ADDRESS))
        command = ["qemu-system-riscv32", "-M", "virt", "-bios", "none", "-display", "none"]
        command += ["-monitor", "none", "-m", "16M", "-serial", "pty", "-kernel", str(program)]
        if icount:
            command += ["-icount", "shift=0"]
        for name, address in loads:
            load = f"loader,file={place / name},addr={address:#x},force-raw=on"
            command += ["-device", load]
        return ["/bin/sh", "-c", _KEEPER, "sh", *command]

    def _find_url(self) -> str:
        """The device or port that it says it has, on its standard output."""
        said = b""
        deadline = time.monotonic() + START_S
        output = self._process.stdout
        while output is not None and (left := deadline - time.monotonic()) > 0:
            if not select.select([output], [], [], left)[0]:
                break
            new = os.read(output.fileno(), 4096)
            said += new
            found = re.search(rb"(/dev/pts/\d+|socket://[\d.:]+)\s", said)
            if found is not None:
                return found.group(1).decode()
            if not new:
                break
        reason = (said.decode(errors="replace").strip().splitlines() or ["no message"])[-1]
        raise LinkError(f"the emulated board ({self.port}) did not start: {reason}")


def _require(tools: Sequence[str]) -> None:
    for tool in tools:
        if shutil.which(tool) is None:
            raise ConfigurationError(
                f"{tool} is needed and not installed; on Debian: "
                f"apt-get install --no-install-recommends {_PACKAGES.get(tool, tool)}"
            )


def _sources_digest(folder: Path) -> str:
    digest = hashlib.sha256()
    paths = [
        p for p in folder.rglob("*") if p.is_file() and "build" not in p.relative_to(folder).parts
    ]
    for path in sorted(paths):
        digest.update(f"{path.relative_to(folder)}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
