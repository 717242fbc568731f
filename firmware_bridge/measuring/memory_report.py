"""What an ensemble takes of GAP8's memories, from the objects and images that a board would hold.

Run by `make -C firmware_bridge/firmware size`. Code and static data are those of the gap8 port as
the cross compiler makes it (PMSIS itself, some tens of kB, is the SDK's and not counted);
activations and scratch are what the core itself asks for on eight cores.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gearshift.firmware_bridge.board.network_image import pack_bundle
from gearshift.runtime.engines.gap8_folder import read_gap8_folder
from gearshift.runtime.engines.network import zoo_folder
from gearshift.runtime.ensembles.ensemble_records import read_ensembles
from gearshift.runtime.errors import ConfigurationError, GearshiftError

L2_BYTES = 512 * 1024
L1_BYTES = 64 * 1024
CORES = 8
STACKS_BYTES = 2048 + (CORES - 1) * 1024
"""Of the cluster's cores, in L1 (ports/gap8/cluster.c)."""
ARENA_SYMBOL = "arena"


@dataclass(frozen=True, slots=True)
class Firmware:
    """Bytes of the port's sections, without the arena, whose size follows from the networks."""

    code: int
    data: int
    zeroed: int


@dataclass(frozen=True, slots=True)
class EnsembleMemory:
    """Bytes that one ensemble takes."""

    name: str
    images: int
    activations: int
    scratch: int

    def l2(self, firmware: Firmware) -> int:
        """Everything in L2."""
        return sum((self.images, self.activations, firmware.code, firmware.data, firmware.zeroed))

    @property
    def l1(self) -> int:
        """Everything in L1."""
        return self.scratch + STACKS_BYTES


def firmware_memory(objects: Sequence[Path], cross: str) -> Firmware:
    """The sections of compiled objects; raises ConfigurationError when a tool fails."""
    names = [str(path) for path in objects]
    total = _output([f"{cross}size", "-t", *names]).splitlines()[-1].split()
    symbols = _output([f"{cross}nm", "-S", *names]).splitlines()
    fields = [line.split() for line in symbols]
    arena = sum(int(f[1], 16) for f in fields if len(f) == 4 and f[3] == ARENA_SYMBOL)
    code, data, zeroed = (int(value) for value in total[:3])
    return Firmware(code, data, zeroed - arena)


def ensemble_memory(name: str, folder: Path, tool: Path) -> EnsembleMemory:
    """What the core says of an ensemble's networks; raises GearshiftError."""
    record = read_ensembles(folder)[name]
    references = record.networks.values()
    networks = [read_gap8_folder(folder / "gap8" / ref.name)[0] for ref in references]
    bundle = pack_bundle(networks)
    with tempfile.NamedTemporaryFile(suffix=".bin") as file:
        file.write(bundle.image)
        file.flush()
        lines = _output([str(tool), file.name, str(CORES)]).splitlines()
    needs = [json.loads(line) for line in lines]
    return EnsembleMemory(
        name,
        images=len(bundle.image),
        activations=max(need["activations"] for need in needs),
        scratch=max(need["scratch"] for need in needs),
    )


def table(firmware: Firmware, ensembles: Sequence[EnsembleMemory]) -> str:
    """The report as text."""
    rows = [
        ("", "images", "activations", "code", "data", "buffers", "L2", "of L2", "L1", "of L1"),
    ]
    for ensemble in ensembles:
        l2 = ensemble.l2(firmware)
        rows.append(
            (
                ensemble.name,
                str(ensemble.images),
                str(ensemble.activations),
                str(firmware.code),
                str(firmware.data),
                str(firmware.zeroed),
                str(l2),
                f"{100 * l2 / L2_BYTES:.1f} %",
                str(ensemble.l1),
                f"{100 * ensemble.l1 / L1_BYTES:.1f} %",
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(c.rjust(w) for c, w in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table and which ensembles are too large; 1 when something fails."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--tool", type=Path, required=True, help="the built tools/memory.c")
    parser.add_argument("--cross", default="riscv64-unknown-elf-", help="prefix of size and nm")
    parser.add_argument("objects", type=Path, nargs="+", help="the gap8 port's objects")
    options = parser.parse_args(arguments)
    try:
        firmware = firmware_memory(options.objects, options.cross)
        folder = zoo_folder()
        ensembles = [
            ensemble_memory(name, folder, options.tool) for name in sorted(read_ensembles(folder))
        ]
    except GearshiftError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(table(firmware, ensembles) + "\n")
    over = [e.name for e in ensembles if e.l2(firmware) > L2_BYTES or e.l1 > L1_BYTES]
    verdict = f"too large: {', '.join(over)}" if over else "every ensemble fits"
    sys.stdout.write(
        f"Bytes, without PMSIS and the controller's stack. GAP8 has {L2_BYTES} of L2 and "
        f"{L1_BYTES} of L1: {verdict}.\n"
    )
    return 0


def _output(command: Sequence[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except OSError as error:
        raise ConfigurationError(f"{command[0]}: {error.strerror}") from error
    except subprocess.CalledProcessError as error:
        raise ConfigurationError(f"{command[0]}: {error.stderr.strip()}") from error


if __name__ == "__main__":
    sys.exit(main())
