"""Flies the lean install on emulated 64-bit ARM processors and compares with this machine.

A Debian for ARM is unpacked from its own packages, the wheels that pip would install on a companion
computer are laid beside it, and `gearshift run` flies a shipped recording under qemu-user: as on a
Raspberry Pi 4 (Cortex-A72, no dot-product instructions) and on a 5 (Cortex-A76, which has them).
Then every network runs again here on the recorded frames. Needs a Debian or Ubuntu with
`apt-get install qemu-user debian-archive-keyring`; no root, container or kernel setting.
Times mean nothing here.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from wheels import ROOT, TARGETS, NoWheelError, Target, flying_requirements, resolve_everything

from gearshift.runtime.errors import GearshiftError
from gearshift.runtime.recordings.recording import RecordingReader
from gearshift.runtime.recordings.recording_messages import Decision
from gearshift.runtime.recordings.recording_writer import RecordingWriter
from gearshift.runtime.types import NetworkRole
from gearshift.sim.replay.recorded_flight import RecordedFlight, read_flights
from gearshift.sim.replay.redecide import decide_again, infer_again

RECORDING = ROOT / "sim/data/recordings/val-05000.mcap"
DEBIAN = "http://deb.debian.org/debian"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
SUITES = {"bookworm": TARGETS["3.11"], "trixie": TARGETS["3.13"]}
POLICIES = ("op", "aux-sm")
"""Between them every network of the ensemble runs, and decides."""
ENGINES = ("onnx", "integer", "litert")
CLI = "import sys; from gearshift.runtime.cli import main; sys.exit(main())"


@dataclass(frozen=True, slots=True)
class Board:
    """A computer with its processor as qemu names it and as its /proc/cpuinfo describes it."""

    model: str
    cpu: str
    variant: str
    part: str
    revision: int
    features: str

    @property
    def cpu_info(self) -> str:
        """What Linux says there. qemu-user shows this machine's, in which ONNX Runtime finds no ARM
        processor and crashes when it is imported."""
        core = (
            f"BogoMIPS\t: 108.00\nFeatures\t: {self.features}\nCPU implementer\t: 0x41\n"
            f"CPU architecture: 8\nCPU variant\t: {self.variant}\nCPU part\t: {self.part}\n"
            f"CPU revision\t: {self.revision}\n\n"
        )
        cores = "".join(f"processor\t: {index}\n{core}" for index in range(4))
        return f"{cores}Model\t\t: {self.model}\n"


PI_4 = "fp asimd evtstrm crc32 cpuid"
PI_5 = (
    "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop "
    "asimddp"
)
BOARDS = (
    Board("Raspberry Pi 4 Model B", "cortex-a72", "0x0", "0xd08", 3, PI_4),
    Board("Raspberry Pi 5 Model B", "cortex-a76", "0x4", "0xd0b", 1, PI_5),
)

DOT_PRODUCTS = (
    (0xBFE0FC00, 0x2E809400),  # udot, vector
    (0xBFE0FC00, 0x0E809400),  # sdot, vector
    (0xBFC0F400, 0x2F80E000),  # udot, by element
    (0xBFC0F400, 0x0F80E000),  # sdot, by element
)
"""Mask and value of the instruction words (Arm Architecture Reference Manual, C7.2)."""


@dataclass(frozen=True, slots=True)
class Flown:
    """A flight on an emulated board. dot_products: distinct such instructions that were reached."""

    engine: str
    policy: str
    board: Board
    flight: RecordedFlight
    dot_products: int


class CheckError(Exception):
    """Something is not there or not as it should be."""


def run(*command: str | Path, environment: Mapping[str, str] | None = None) -> str:
    """Run a program; raises CheckError with the last lines of what it said."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-12:])
        raise CheckError(f"{' '.join(map(str, command))}: exit code {done.returncode}\n{said}")
    return done.stdout


def make_system(suite: str, target: Target, folder: Path) -> Path:
    """That Debian's Python for ARM in a root folder, unpacked without installing anything."""
    root = folder / "root"
    python = root / "usr/bin" / f"python{target.python}"
    if python.exists():
        return python
    apt = folder / "apt"
    for name in ("lists/partial", "archives/partial", "etc"):
        (apt / name).mkdir(parents=True, exist_ok=True)
    (apt / "status").touch()
    (apt / "sources.list").write_text(f"deb [signed-by={KEYRING}] {DEBIAN} {suite} main\n")
    settings = {
        "Dir::State": apt,
        "Dir::State::Lists": apt / "lists",
        "Dir::State::Status": apt / "status",
        "Dir::Cache": apt,
        "Dir::Cache::Archives": apt / "archives",
        "Dir::Etc": apt / "etc",
        "Dir::Etc::SourceList": apt / "sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "APT::Architecture": "arm64",
        "APT::Architectures": "arm64",
        "APT::Sandbox::User": "",
        "Debug::NoLocking": "true",
    }
    options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
    run("apt-get", *options, "-qq", "update")
    run(
        *("apt-get", *options, "-qq", "--yes", "--no-install-recommends", "--download-only"),
        *("install", f"python{target.python}", "libstdc++6"),
    )
    part = folder / "root.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    for directory in ("bin", "lib", "sbin"):
        (part / "usr" / directory).mkdir(parents=True)
        (part / directory).symlink_to(f"usr/{directory}")
    for package in sorted((apt / "archives").glob("*.deb")):
        files = subprocess.run(
            ["dpkg-deb", "--fsys-tarfile", package], capture_output=True, check=True
        ).stdout
        subprocess.run(
            ["tar", "-x", "-C", part, "--keep-directory-symlink"], input=files, check=True
        )
    (part / "proc").mkdir(exist_ok=True)
    part.rename(root)
    return python


def make_wheel(folder: Path) -> Path:
    """The wheel of the working tree."""
    shutil.rmtree(folder, ignore_errors=True)
    source = folder / "source"
    names = run(
        *("git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    )
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, source / name)
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, source)
    (wheel,) = folder.glob("*.whl")
    return wheel


def make_site(extras: Sequence[str], target: Target, folder: Path, wheel: Path) -> Path:
    """A folder to import from: ours and exactly what pip would install with it there."""
    found = resolve_everything(flying_requirements(extras), target, ROOT / "constraints.txt")
    pins = sorted(f"{w.name}=={w.version}" for w in found.values())
    digest = hashlib.sha256("\n".join(pins).encode()).hexdigest()[:16]
    site = folder / f"site-{digest}"
    pip: tuple[str, ...] = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    pip += ("install", "--quiet", "--no-deps")
    if not site.exists():
        part = site.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        platforms = [word for name in target.platforms for word in ("--platform", name)]
        run(
            *(*pip, "--only-binary", ":all:", "--implementation", "cp"),
            *("--python-version", target.python, *platforms, "--target", str(part), *pins),
        )
        part.rename(site)
    for ours in (site / "gearshift", *site.glob("gearshift-*.dist-info")):
        shutil.rmtree(ours, ignore_errors=True)
    run(*pip, "--upgrade", "--target", site, wheel)
    return site


def cut_recording(path: Path, frames: int) -> None:
    """The first frames of the shipped recording."""
    reader = RecordingReader(RECORDING)
    with RecordingWriter(path, camera=reader.header.camera) as writer:
        for _, entry in zip(range(frames), reader, strict=False):
            writer.write_frame(entry.frame, entry.truth)


def fly(
    board: Board, engine: str, policy: str, recording: Path, *, python: Path, site: Path
) -> Flown:
    """One flight on an emulated board; raises CheckError unless every frame got an estimate."""
    folder = recording.parent / f"{board.cpu}-{engine}-{policy}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    root = python.parent.parent.parent
    (root / "proc/cpuinfo").write_text(board.cpu_info)
    configuration = folder / "flight.toml"
    configuration.write_text(
        "schema_version = 1\n"
        f'[source]\nkind = "recording"\npath = "{recording}"\npace = "none"\n'
        f'[ensemble]\nname = "D1"\nengine = "{engine}"\n'
        f'[policy]\nname = "{policy}"\nthreshold = "equal-latency"\n'
        # Emulation is slower than any board; here only what is computed counts.
        "[limits]\nstall_ms = 60000.0\n"
        f'[[sinks]]\nkind = "jsonl"\npath = "{folder / "estimates.jsonl"}"\n'
        f'[recording]\nfolder = "{folder}"\n'
    )
    instructions = folder / "instructions"
    qemu: tuple[str | Path, ...] = ("qemu-aarch64", "-cpu", board.cpu, "-L", root)
    run(
        *(*qemu, "-d", "in_asm", "-D", instructions, python, "-c", CLI, "run", configuration),
        environment={"PYTHONPATH": str(site), "PATH": os.environ["PATH"], "HOME": str(folder)},
    )
    dot_products = count_dot_products(instructions)
    instructions.unlink()
    wanted = sum(1 for _ in RecordingReader(recording))
    estimates = (folder / "estimates.jsonl").read_text().count('"answered":"')
    (flight,) = read_flights(sorted(folder.glob("*.mcap")))
    if estimates != wanted:
        raise CheckError(f"{folder.name}: {estimates} estimates of {wanted} frames")
    return Flown(engine, policy, board, flight, dot_products)


def count_dot_products(log: Path) -> int:
    """How many distinct dot-product instructions qemu translated, which is: reached."""
    line = re.compile(r"(0x[0-9a-f]+):\s+([0-9a-f]{8})\s")
    found = set()
    with log.open() as stream:
        for match in map(line.match, stream):
            if match is not None:
                word = int(match[2], 16)
                if any(word & mask == value for mask, value in DOT_PRODUCTS):
                    found.add(match[1])
    return len(found)


def outputs(flight: RecordedFlight) -> Iterator[Decision]:
    """The decisions of a flight."""
    for _, decision in flight.decisions():
        yield decision


def between(one: RecordedFlight, other: RecordedFlight) -> dict[NetworkRole, float]:
    """The largest difference of a network's outputs between two boards."""
    largest: dict[NetworkRole, float] = {}
    for a, b in zip(outputs(one), outputs(other), strict=True):
        for role in set(a.outputs) & set(b.outputs):
            distance = np.abs(a.outputs[role].astype(np.float64) - b.outputs[role])
            largest[role] = max(largest.get(role, 0.0), float(distance.max()))
    return largest


def compare(flights: Sequence[Flown]) -> bool:
    """Print what differs between the boards and this machine.

    Whether everything that has to be exact is: decisions recomputed from the recorded outputs, and
    the integer engine's outputs.
    """
    exact = True
    sys.stdout.write(
        f"{'engine':9}{'policy':9}{'board':24}{'decisions':>9}  differ: recomputed"
        f"{'run again':>11}{'dot products':>14}  largest difference of an output\n"
    )
    for flown in flights:
        recomputed, again = decide_again(flown.flight), infer_again(flown.flight)
        sys.stdout.write(
            f"{flown.engine:9}{flown.policy:9}{flown.board.model:24}{again.decisions:9}"
            f"{recomputed.differing:20}{again.differing:11}{flown.dot_products:14}"
            f"  {_said(again.largest)}\n"
        )
        if recomputed.differing or (flown.engine == "integer" and again.differing):
            exact = False
    sys.stdout.write("between the boards\n")
    first = [f for f in flights if f.board is BOARDS[0]]
    others = [f for f in flights if f.board is BOARDS[1]]
    for a, b in zip(first, others, strict=True):
        largest = between(a.flight, b.flight)
        sys.stdout.write(f"{a.engine:9}{a.policy:9}{'':78}  {_said(largest)}\n")
        if a.engine == "integer" and any(largest.values()):
            exact = False
    return exact


def _said(largest: Mapping[NetworkRole, float]) -> str:
    return "  ".join(f"{role} {largest[role]:.3g}" for role in NetworkRole if role in largest)


def main() -> int:
    """Fly and compare; 1 when a flight fails or what has to be exact differs in one bit."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--suite", choices=tuple(SUITES), default="bookworm")
    parser.add_argument("--frames", type=int, default=30, choices=range(1, 251), metavar="N")
    parser.add_argument("--engine", choices=ENGINES, action="append", help="default: all")
    options = parser.parse_args()
    target = SUITES[options.suite]
    folder = ROOT / "build/aarch64" / options.suite
    lacking = [name for name in ("qemu-aarch64", "apt-get", "dpkg-deb") if not shutil.which(name)]
    lacking += [] if KEYRING.exists() else [str(KEYRING)]
    if lacking:
        sys.stderr.write(
            f"aarch64: there is no {' and no '.join(lacking)}: on Debian or Ubuntu, "
            "apt-get install qemu-user debian-archive-keyring\n"
        )
        return 1
    try:
        folder.mkdir(parents=True, exist_ok=True)
        python = make_system(options.suite, target, folder)
        wheel = make_wheel(folder / "wheel")
        recording = folder / "flight.mcap"
        cut_recording(recording, options.frames)
        flights = []
        for engine in options.engine or ENGINES:
            extras = ("litert",) if engine == "litert" else ()
            site = make_site(extras, target, folder, wheel)
            for board in BOARDS:
                for policy in POLICIES:
                    flights.append(fly(board, engine, policy, recording, python=python, site=site))
        sys.stdout.write(
            f"Python {target.python} of {target.system}, {options.frames} frames, "
            "networks run again on this machine\n"
        )
        exact = compare(flights)
    except (CheckError, NoWheelError, GearshiftError, subprocess.CalledProcessError) as error:
        sys.stderr.write(f"aarch64: {error}\n")
        return 1
    if not exact:
        sys.stderr.write("aarch64: what has to be the same everywhere differs, see above\n")
    return int(not exact)


if __name__ == "__main__":
    sys.exit(main())
