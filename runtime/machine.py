"""What machine this is, as far as a network's speed and the last bits of its output hang on it."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")
GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
RELEVANT_FEATURES = frozenset(
    (
        *("avx", "avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8"),
        *("neon", "asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve"),
    )
)
"""Those by which inference libraries choose their kernels."""
LIBRARIES = ("gearshift", "onnxruntime", "ai-edge-litert", "tflite-runtime", "numpy")


@dataclass(frozen=True, slots=True)
class Machine:
    """One computer. governor: of the clock rate, "" where the kernel does not say."""

    processor: str
    features: tuple[str, ...]
    system: str
    governor: str
    versions: dict[str, str]

    @property
    def summary(self) -> str:
        """One line."""
        versions = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        return f"{self.processor} ({' '.join(self.features)}), {self.system}, {versions}"


def this_machine() -> Machine:
    """Read what Linux says; other systems say less, never nothing."""
    return Machine(
        processor=processor_name(),
        features=tuple(sorted(_flags() & RELEVANT_FEATURES)),
        system=f"{platform.system()} {platform.machine()}",
        governor=_read(GOVERNOR).strip(),
        versions={"python": platform.python_version(), **library_versions()},
    )


def processor_name() -> str:
    """The processor's own name, on a board without one the board's."""
    for line in _read(CPU_INFO).splitlines():
        if line.startswith(("model name", "Model")):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def library_versions() -> dict[str, str]:
    """Versions of the installed libraries that a network's output may hang on."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _flags() -> frozenset[str]:
    for line in _read(CPU_INFO).splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
