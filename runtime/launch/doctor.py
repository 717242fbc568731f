"""What is wrong with this machine and this flight, found before take-off.

Every check says what it found in one line and, where something is wrong, what to do about it. A
failure would stop a flight or make it useless; a warning spoils it.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from gearshift.runtime.ensembles.ensemble import Ensemble
from gearshift.runtime.errors import GearshiftError
from gearshift.runtime.launch.configuration import RECORDING, FlightConfig
from gearshift.runtime.launch.feasibility import check_flight
from gearshift.runtime.launch.setup import flown_ensemble, flown_policy, flown_threshold
from gearshift.runtime.machine import this_machine
from gearshift.runtime.status.status import processor_celsius

logger = logging.getLogger(__name__)

BAD_ONNXRUNTIME = {"1.21.0": "it crashes on a Raspberry Pi 4 with an illegal instruction"}
HOT_CELSIUS = 75.0
"""A Raspberry Pi lowers its clock from 80 on."""
LITTLE_MEMORY = 300e6
LITTLE_SPACE, NO_SPACE = 2e9, 50e6
RECORDED_BYTES_PER_S = 30 * 15_360
"""Of a flight at 30 Hz when its frames do not compress."""
FIRST_FRAME_S = 5.0
THROTTLED = {
    0: "the supply voltage is too low",
    1: "the clock is capped",
    2: "the processor is throttled",
    3: "the temperature limit is reached",
    16: "the supply voltage was too low since boot",
    17: "the clock was capped since boot",
    18: "the processor was throttled since boot",
    19: "the temperature limit was reached since boot",
}
"""Bits of `vcgencmd get_throttled`, from the Raspberry Pi documentation."""


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was examined."""

    subject: str
    level: Level
    text: str


def ok(subject: str, text: str) -> Finding:
    """Nothing wrong."""
    return Finding(subject, Level.OK, text)


def warning(subject: str, text: str) -> Finding:
    """It spoils a flight."""
    return Finding(subject, Level.WARNING, text)


def failure(subject: str, text: str) -> Finding:
    """It stops a flight, or makes it useless."""
    return Finding(subject, Level.FAILURE, text)


def examine_machine() -> Iterator[Finding]:
    """The computer, whatever is to fly on it."""
    machine = this_machine()
    features = ", ".join(machine.features) or "none that int8 networks use"
    yield ok("processor", f"{machine.processor}, {os.cpu_count()} cores; {features}")
    version = machine.versions.get("onnxruntime", "")
    if version in BAD_ONNXRUNTIME:
        yield failure(
            "onnxruntime", f"{version}: {BAD_ONNXRUNTIME[version]}; pip install -U onnxruntime"
        )
    elif version:
        yield ok("onnxruntime", version)
    yield _governor(machine.governor)
    yield from throttling(_vcgencmd())
    celsius = processor_celsius()
    if celsius > HOT_CELSIUS:
        yield warning("temperature", f"{celsius:.0f} C: it will throttle; cool it")
    elif celsius == celsius:  # noqa: PLR0124 -- NaN
        yield ok("temperature", f"{celsius:.0f} C")
    yield from _load()
    yield from _memory()
    yield _clock()


def examine_flight(config: FlightConfig) -> Iterator[Finding]:
    """What a configuration needs of this machine."""
    try:
        for note in check_flight(config):
            yield warning("configuration", note)
    except GearshiftError as error:
        yield failure("configuration", str(error))
    else:
        yield ok("configuration", config.document.name)
    yield from _source(config)
    for sink in config.sinks:
        if sink.kind == RECORDING:
            yield from _disk(Path(str(getattr(sink.options, "folder", "."))))
        else:
            yield from _device(sink.name, sink.options)


def examine_networks(
    config: FlightConfig,
) -> tuple[Ensemble | None, list[Finding]]:
    """Load and verify the networks; the ensemble when they can fly."""
    try:
        policy = flown_policy(config)
        ensemble = flown_ensemble(config)
    except GearshiftError as error:
        return None, [failure("networks", str(error))]
    try:
        threshold = flown_threshold(config, policy, ensemble)
    except GearshiftError as error:
        return ensemble, [failure("policy", str(error))]
    names = ", ".join(
        f"{role} {reference.name} ({reference.sha256[:8]}, {ensemble.engines.get(role, '')})"
        for role, reference in ensemble.networks.items()
    )
    shown = "" if threshold is None else f", threshold {threshold:g}"
    return ensemble, [
        ok("networks", f"{names}: verified"),
        ok("policy", f"{policy.name}{shown}"),
    ]


def throttling(mask: int | None) -> Iterator[Finding]:
    """What `vcgencmd get_throttled` says; None where there is no such thing."""
    if mask is None:
        return
    for bit, text in THROTTLED.items():
        if mask >> bit & 1:
            yield warning("throttling", text + "; use a stronger supply or better cooling")
    if not mask:
        yield ok("throttling", "none since boot")


def _governor(governor: str) -> Finding:
    if not governor:
        return ok("governor", "the kernel does not say")
    if governor in ("performance", "schedutil"):
        return ok("governor", governor)
    return warning(
        "governor",
        f"{governor}: the clock rises too late for short networks; "
        "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor",
    )


def _vcgencmd() -> int | None:
    """Bits of the Raspberry Pi's firmware."""
    program = shutil.which("vcgencmd")
    if program is None:
        return None
    try:
        done = subprocess.run(
            [program, "get_throttled"], capture_output=True, text=True, timeout=5, check=True
        )
        return int(done.stdout.strip().partition("=")[2], 16)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def _load() -> Iterator[Finding]:
    cores = os.cpu_count() or 1
    load = os.getloadavg()[0]
    if load > cores / 2:
        yield warning("load", f"{load:.1f} of {cores} cores are busy already")
    else:
        yield ok("load", f"{load:.1f} of {cores} cores")


def _memory() -> Iterator[Finding]:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        if line.startswith("MemAvailable:"):
            free = int(line.split()[1]) * 1024
            text = f"{free / 1e6:.0f} MB free"
            yield warning("memory", text) if free < LITTLE_MEMORY else ok("memory", text)


def _clock() -> Finding:
    synchronised = Path("/run/systemd/timesync/synchronized").exists()
    year = time.gmtime().tm_year
    if year < 2024:
        return warning("clock", f"it is {year}: recordings will be named wrongly; set the clock")
    text = "synchronised" if synchronised else "not known to be synchronised"
    return ok("clock", f"{text}; only the names of recordings hang on it")


def _source(config: FlightConfig) -> Iterator[Finding]:
    """Open the source and wait for a frame."""
    choice = config.source
    yield from _device("source", choice.options)
    source = choice.plugin.make(choice.options)
    try:
        source.open()
        began = time.monotonic()
        frame = None
        while frame is None and time.monotonic() - began < FIRST_FRAME_S:
            frame = source.read(0.2)
        if frame is None:
            yield failure("source", f"{choice.kind}: no frame within {FIRST_FRAME_S:g} s")
            return
        height, width = frame.image.shape
        rate = f", {source.rate_hz:g} Hz" if source.rate_hz else ""
        yield ok("source", f"{choice.kind}: {width}x{height}{rate}")
        if choice.calibration is None and source.camera is None:
            yield warning(
                "camera",
                "no intrinsics: distances will be off by the lens; `gearshift camera calibrate`",
            )
    except GearshiftError as error:
        yield failure("source", str(error))
    except Exception as error:
        logger.debug("the source failed", exc_info=True)
        yield failure("source", f"{choice.kind}: {type(error).__name__}: {error}")
    finally:
        source.close()


def _device(subject: str, options: object) -> Iterator[Finding]:
    """Device nodes that options name: there, and allowed to be used."""
    for name in getattr(options, "__struct_fields__", ()):
        value = getattr(options, name)
        if not isinstance(value, str) or not value.startswith("/dev/"):
            continue
        path = Path(value.partition("?")[0])
        if not path.exists():
            yield failure(subject, f"{path} is not there")
        elif not os.access(path, os.R_OK | os.W_OK):
            group = _group(path)
            yield failure(
                subject,
                f"{path} may not be used; sudo usermod -aG {group} $USER, then log in again",
            )
        else:
            yield ok(subject, f"{path} is there")


def _group(path: Path) -> str:
    try:
        return path.group()
    except (KeyError, OSError):
        return "dialout"


def _disk(folder: Path) -> Iterator[Finding]:
    """The folder that is recorded to."""
    folder = folder.expanduser()
    existing = next((p for p in (folder, *folder.absolute().parents) if p.exists()), Path("/"))
    try:
        # Trying is the only way to know: permissions say little to root, on read-only disks, ...
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        yield failure("disk", f"{folder} cannot be written to: {error.strerror}")
        return
    free = shutil.disk_usage(existing).free
    text = (
        f"{folder}: {free / 1e9:.1f} GB free, {free / RECORDED_BYTES_PER_S / 3600:.0f} h of flight"
    )
    if free < NO_SPACE:
        yield failure("disk", text)
    elif free < LITTLE_SPACE:
        yield warning("disk", text)
    else:
        yield ok("disk", text)


def as_table(findings: Sequence[Finding]) -> str:
    """For a person to read: what is wrong last, where it is seen."""
    marks = {Level.OK: "ok     ", Level.WARNING: "WARNING", Level.FAILURE: "FAILURE"}
    order = list(Level)
    lines = [
        f"{marks[f.level]}  {f.subject:14}{f.text}"
        for f in sorted(findings, key=lambda f: order.index(f.level))
    ]
    return "\n".join(lines) + "\n"


def as_document(findings: Sequence[Finding], latencies: Mapping[str, object]) -> dict[str, object]:
    """For a program to read."""
    return {
        "schema_version": 1,
        "ready": not any(f.level is Level.FAILURE for f in findings),
        "findings": [
            {"subject": f.subject, "level": str(f.level), "text": f.text} for f in findings
        ],
        "latency_ms": dict(latencies),
    }
