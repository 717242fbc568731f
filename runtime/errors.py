"""The exception tree.

A message says what was wrong, where, and what to do; the CLI prints it as one line.
"""

MAX_QUOTED = 300


def one_line(error: BaseException) -> str:
    """What a library's exception says, in one line of bounded length, to be quoted in ours."""
    return " ".join(str(error).split())[:MAX_QUOTED]


def named(error: BaseException) -> str:
    """The same with the exception's type, for libraries whose messages need it to be understood."""
    return f"{type(error).__name__}: {one_line(error)}"


class GearshiftError(Exception):
    """Base of every error that Gearshift raises on purpose."""


class ConfigurationError(GearshiftError):
    """A name, value or combination that the user chose does not exist or does not fit."""


class OutputError(GearshiftError):
    """A file or folder cannot be written where it was asked for."""


class RecordingError(GearshiftError):
    """A recording is missing, truncated, or not what it says it is."""


class TraceError(GearshiftError):
    """A trace, profile or baseline is missing, outdated, or does not match its networks."""


class NetworkError(GearshiftError):
    """A network's file, hash, metadata or interface is wrong."""


class FrameError(GearshiftError):
    """A frame has the wrong size or type for the network that should see it."""


class EngineError(GearshiftError):
    """A network failed while it ran; the scheduler answers with the other one."""


class SourceError(GearshiftError):
    """A source of frames cannot be opened, or failed while it was read."""


class SinkError(GearshiftError):
    """The target of estimates cannot be reached, or failed while it was written to."""


class LinkError(GearshiftError):
    """A serial line or socket to a board is gone, silent, or speaks another protocol."""


class SinkStoppedError(SinkError):
    """A sink stopped for the rest of the flight; opening it again would not help."""


class MissingExtraError(GearshiftError):
    """A command needs an optional dependency that is not installed."""
