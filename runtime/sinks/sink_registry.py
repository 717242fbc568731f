"""Finding sinks by name: the built-in ones and plug-ins."""

from __future__ import annotations

from gearshift.runtime.errors import ConfigurationError
from gearshift.runtime.plugins import PluginTable
from gearshift.runtime.sinks.sink import SinkPlugin

SINKS = PluginTable(
    "sink",
    "gearshift.sinks",
    built_in={
        "jsonl": "gearshift.runtime.sinks.json_lines:PLUGIN",
        "udp": "gearshift.runtime.sinks.udp:PLUGIN",
        "mavlink": "gearshift.runtime.sinks.mavlink:PLUGIN",
        "recording": "gearshift.runtime.sinks.recorder:PLUGIN",
        "rerun": "gearshift.runtime.sinks.rerun:PLUGIN",
    },
    extras={"mavlink": "mavlink", "rerun": "viewer"},
)


def find_sink(name: str) -> SinkPlugin:
    """The sink of that name; raises ConfigurationError or MissingExtraError in one line."""
    plugin = SINKS.load(name)
    if not isinstance(plugin, SinkPlugin):
        raise ConfigurationError(f"sink {name!r} is no SinkPlugin but {type(plugin).__name__}")
    return plugin
