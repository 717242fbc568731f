"""Finding sources of frames by name: the built-in ones and plug-ins."""

from __future__ import annotations

from gearshift.runtime.errors import ConfigurationError
from gearshift.runtime.plugins import PluginTable
from gearshift.runtime.sources.source import SourcePlugin

SOURCES = PluginTable(
    "source",
    "gearshift.sources",
    built_in={
        "recording": "gearshift.runtime.sources.recording:PLUGIN",
        "v4l2": "gearshift.runtime.sources.v4l2:PLUGIN",
        "picamera2": "gearshift.runtime.sources.picamera2:PLUGIN",
        "video": "gearshift.runtime.sources.video:PLUGIN",
        "images": "gearshift.runtime.sources.images:PLUGIN",
    },
    extras={"v4l2": "camera", "video": "camera", "images": "camera"},
)


def find_source(name: str) -> SourcePlugin:
    """The source of that name; raises ConfigurationError or MissingExtraError in one line."""
    plugin = SOURCES.load(name)
    if not isinstance(plugin, SourcePlugin):
        raise ConfigurationError(f"source {name!r} is no SourcePlugin but {type(plugin).__name__}")
    return plugin
