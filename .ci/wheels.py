"""Asks pip, without installing, whether every wheel that flies exists for 64-bit ARM.

What flies is the base install and the extras of a companion computer. pip evaluates environment
markers for the machine it runs on, not for the one it is asked about, so the closure of the
dependencies is computed here again with the target's markers and what lacks is asked for as well.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

ROOT = Path(__file__).parent.parent
FLYING_EXTRAS = ("camera", "litert", "mavlink", "board")
OLDEST_GLIBC_MINOR = 17
"""manylinux2014 is glibc 2.17, below which nothing is built for ARM."""


@dataclass(frozen=True, slots=True)
class Target:
    """A Python on 64-bit ARM. glibc_minor: of its C library, 2.x."""

    system: str
    python: str
    glibc_minor: int

    @property
    def platforms(self) -> tuple[str, ...]:
        """Platform tags whose wheels run there, newest first."""
        minors = range(self.glibc_minor, OLDEST_GLIBC_MINOR - 1, -1)
        return (*(f"manylinux_2_{minor}_aarch64" for minor in minors), "manylinux2014_aarch64")

    @property
    def markers(self) -> dict[str, str]:
        """The environment by which requirements are chosen there."""
        ours = {name: str(value) for name, value in default_environment().items()}
        return {
            **ours,
            "python_version": self.python,
            "python_full_version": f"{self.python}.0",
            "implementation_version": f"{self.python}.0",
            "implementation_name": "cpython",
            "platform_python_implementation": "CPython",
            "platform_machine": "aarch64",
            "platform_system": "Linux",
            "sys_platform": "linux",
            "os_name": "posix",
        }


TARGETS = {
    "3.11": Target("Raspberry Pi OS and Debian 12", "3.11", 36),
    "3.13": Target("Raspberry Pi OS and Debian 13", "3.13", 41),
}


class NoWheelError(Exception):
    """pip found no set of wheels; the message is pip's."""


@dataclass(frozen=True, slots=True)
class Wheel:
    """One that pip would install."""

    name: str
    version: str
    tags: str
    requires: tuple[Requirement, ...]


def flying_requirements(chosen: Iterable[str] = FLYING_EXTRAS) -> list[Requirement]:
    """What pyproject.toml names for the base install and these extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    named = [*project["dependencies"], *(r for extra in chosen for r in extras[extra])]
    return [Requirement(text) for text in dict.fromkeys(named)]


def resolve(
    requirements: Iterable[Requirement], target: Target, constraints: Path | None
) -> dict[str, Wheel]:
    """The wheels that pip would install there, by name; raises NoWheelError."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command: list[str | Path] = [
            *(sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"),
            *("--dry-run", "--ignore-installed", "--report", report, "--target", folder),
            *("--only-binary", ":all:", "--implementation", "cp"),
            *("--python-version", target.python),
            *(word for platform in target.platforms for word in ("--platform", platform)),
            *(() if constraints is None else ("--constraint", constraints)),
            *(f"{r.name}{r.specifier}" for r in requirements),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")]
            raise NoWheelError(lines[-1].removeprefix("ERROR: ") if lines else done.stderr.strip())
        items = json.loads(report.read_text())["install"]
    wheels = (_wheel(item) for item in items)
    return {wheel.name: wheel for wheel in wheels}


def resolve_everything(
    requirements: Sequence[Requirement], target: Target, constraints: Path | None
) -> dict[str, Wheel]:
    """The same with what only the target's markers ask for; raises NoWheelError."""
    asked = [r for r in requirements if r.marker is None or r.marker.evaluate(target.markers)]
    while asked:
        wheels = resolve(asked, target, constraints)
        lacking = {
            canonicalize_name(r.name): r
            for wheel in wheels.values()
            for r in _needed(wheel, target.markers)
            if canonicalize_name(r.name) not in wheels
        }
        if not lacking:
            return wheels
        asked += lacking.values()
    return {}


def missing(
    requirements: Sequence[Requirement], target: Target, constraints: Path | None
) -> Iterator[str]:
    """Which of the requirements cannot be met there, one by one, with pip's reason."""
    for requirement in requirements:
        try:
            resolve_everything([requirement], target, constraints)
        except NoWheelError as error:
            yield f"{requirement}: {error}"


def _wheel(item: Mapping[str, Any]) -> Wheel:
    metadata = item["metadata"]
    file = item["download_info"]["url"].rsplit("/", 1)[-1]
    name, version, _, _ = parse_wheel_filename(file)
    requires = tuple(Requirement(text) for text in metadata.get("requires_dist", ()))
    return Wheel(name, str(version), "-".join(file.removesuffix(".whl").split("-")[-3:]), requires)


def _needed(wheel: Wheel, markers: Mapping[str, str]) -> Iterator[Requirement]:
    """What a wheel requires there; none of what flies asks for extras of its dependencies."""
    for requirement in wheel.requires:
        if requirement.marker is None or requirement.marker.evaluate({**markers, "extra": ""}):
            yield requirement


def main() -> int:
    """Print a table; 1 when a wheel is missing, with its name."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--newest",
        action="store_true",
        help="the newest versions, as pip installs them, not those pinned in constraints.txt",
    )
    options = parser.parse_args()
    constraints = None if options.newest else ROOT / "constraints.txt"
    requirements = flying_requirements()
    failures = []
    for target in TARGETS.values():
        sys.stdout.write(
            f"Python {target.python} on {target.system}, 64-bit ARM, glibc 2.{target.glibc_minor}\n"
        )
        try:
            wheels = resolve_everything(requirements, target, constraints)
        except NoWheelError as error:
            reasons = list(missing(requirements, target, constraints)) or [str(error)]
            failures += [f"Python {target.python}: {reason}" for reason in reasons]
            sys.stdout.write("  not every wheel exists\n")
            continue
        for wheel in sorted(wheels.values(), key=lambda w: w.name):
            sys.stdout.write(f"  {wheel.name:28}{wheel.version:14}{wheel.tags}\n")
    for failure in failures:
        sys.stderr.write(f"missing: {failure}\n")
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
