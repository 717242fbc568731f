"""What is true of all tests of boards."""

from __future__ import annotations

import pytest

from gearshift.firmware_bridge.emulation.emulator import EmulatedPort


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever runs on QEMU's RISC-V board is slow."""
    for item in items:
        if isinstance(item, pytest.Function) and hasattr(item, "callspec"):
            values = item.callspec.params.values()
            if any(isinstance(v, EmulatedPort) and v is EmulatedPort.RV32 for v in values):
                item.add_marker(pytest.mark.slow)
