"""Gearshift: adaptive inference for drones, from Python.

    import gearshift

    scheduler = gearshift.make_scheduler("D2", "anchor", "equal-error")
    estimate = scheduler.process(gearshift.Frame(image, time.monotonic_ns(), 0))

    replayed = gearshift.replay("flight.mcap", "D2", "anchor", "equal-error").to_pandas()
    swept = gearshift.sweep("known", "op", "D1").to_pandas("gap8")

Nothing is imported before a name is asked for: `import gearshift` takes no numpy. Each name is
taken from the room it lives in; anything else is imported from there (`gearshift.runtime`,
`gearshift.models`, `gearshift.firmware_bridge`, `gearshift.sim`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gearshift.runtime.decide.policy import weighted_distance
    from gearshift.runtime.decide.policy_registry import find_policy, policy
    from gearshift.runtime.engines.engine_registry import load_engine
    from gearshift.runtime.ensembles.loading import load_ensemble
    from gearshift.runtime.errors import GearshiftError
    from gearshift.runtime.launch.load_flight import load_flight
    from gearshift.runtime.recordings.recording import RecordingReader
    from gearshift.runtime.recordings.recording_writer import RecordingWriter
    from gearshift.runtime.scheduling.make_scheduler import make_scheduler
    from gearshift.runtime.types import Frame, GroundTruth
    from gearshift.sim.compare.main_job import compare
    from gearshift.sim.compare.policy_sweep import sweep
    from gearshift.sim.replay.replay import replay
    from gearshift.sim.traces.trace import read_trace

    __version__: str

__all__ = [
    "Frame",
    "GearshiftError",
    "GroundTruth",
    "RecordingReader",
    "RecordingWriter",
    "__version__",
    "compare",
    "find_policy",
    "load_engine",
    "load_ensemble",
    "load_flight",
    "make_scheduler",
    "policy",
    "read_trace",
    "replay",
    "sweep",
    "weighted_distance",
]

_ROOMS = {
    "Frame": "gearshift.runtime.types",
    "GearshiftError": "gearshift.runtime.errors",
    "GroundTruth": "gearshift.runtime.types",
    "RecordingReader": "gearshift.runtime.recordings.recording",
    "RecordingWriter": "gearshift.runtime.recordings.recording_writer",
    "compare": "gearshift.sim.compare.main_job",
    "find_policy": "gearshift.runtime.decide.policy_registry",
    "load_engine": "gearshift.runtime.engines.engine_registry",
    "load_ensemble": "gearshift.runtime.ensembles.loading",
    "load_flight": "gearshift.runtime.launch.load_flight",
    "make_scheduler": "gearshift.runtime.scheduling.make_scheduler",
    "policy": "gearshift.runtime.decide.policy_registry",
    "read_trace": "gearshift.sim.traces.trace",
    "replay": "gearshift.sim.replay.replay",
    "sweep": "gearshift.sim.compare.policy_sweep",
    "weighted_distance": "gearshift.runtime.decide.policy",
}


def _import(name: str) -> object:
    """Import what was asked for, once; raises AttributeError with the nearest names."""
    if name == "__version__":
        from importlib.metadata import version

        value: object = version("gearshift")
    elif name in _ROOMS:
        from importlib import import_module

        value = getattr(import_module(_ROOMS[name]), name)
    elif name.startswith("_"):  # asked for by tools, of every module
        raise AttributeError(f"module 'gearshift' has no attribute {name!r}")
    else:
        from gearshift.runtime.plugins import advice

        raise AttributeError(
            f"module 'gearshift' has no attribute {name!r}; {advice(name, tuple(__all__))}"
        )
    globals()[name] = value
    return value


if not TYPE_CHECKING:  # to a type checker it would say that every name is there
    __getattr__ = _import


def __dir__() -> list[str]:
    """The public names, whether imported yet or not."""
    return sorted({*globals(), *__all__})
