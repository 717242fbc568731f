"""A recorded flight with what its decisions hang on: one or more parts, in order."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gearshift.runtime.errors import RecordingError
from gearshift.runtime.recordings.recording import RecordingReader
from gearshift.runtime.recordings.recording_messages import Decision
from gearshift.runtime.scheduling.description import ATTRIBUTE, FlightDescription
from gearshift.runtime.types import Frame

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RecordedFlight:
    """The parts of one flight and the description that the first of them carries."""

    description: FlightDescription
    parts: tuple[RecordingReader, ...]

    @property
    def name(self) -> str:
        """The file, or the flight where there are several."""
        first = self.parts[0].path
        return str(first if len(self.parts) == 1 else first.parent / self.description.flight)

    def decisions(self) -> Iterator[tuple[Frame, Decision]]:
        """Every decided frame, in the order in which they were decided.

        Ends with a warning where decisions are missing: the disk was too slow for the flight, and
        what comes later hangs on a history that nobody knows.
        """
        expected = 0
        for part in self.parts:
            for entry in part:
                if entry.decision is None:
                    continue
                index = entry.decision.estimate.index
                if index != expected:
                    logger.warning(
                        "%s: %d decisions before frame %d were not recorded; those after them "
                        "cannot be decided again",
                        part.path,
                        index - expected,
                        entry.frame.sequence,
                    )
                    return
                expected += 1
                yield entry.frame, entry.decision


def read_flights(paths: Sequence[Path], *, allow_truncated: bool = False) -> list[RecordedFlight]:
    """The flights that the files are parts of, in the order of their first file.

    Raises RecordingError for a file that does not say how it was flown and for a flight of which a
    part is missing.
    """
    flights: dict[str, list[tuple[FlightDescription, RecordingReader]]] = {}
    for path in paths:
        reader = RecordingReader(path, allow_truncated=allow_truncated)
        text = reader.header.attributes.get(ATTRIBUTE)
        if text is None:
            raise RecordingError(
                f"{path} has no decisions; 'gearshift replay --record' and 'gearshift run' "
                "write some"
            )
        description = FlightDescription.from_json(text, str(path))
        # A flight is a file of its own unless the recorder split it.
        key = f"{path.parent}/{description.flight}" if description.flight else str(path)
        flights.setdefault(key, []).append((description, reader))
    return [_joined(parts) for parts in flights.values()]


def _joined(parts: list[tuple[FlightDescription, RecordingReader]]) -> RecordedFlight:
    parts.sort(key=lambda part: part[0].part)
    numbers = [description.part for description, _ in parts]
    if numbers != list(range(len(parts))):
        missing = min(set(range(max(numbers) + 1)) - set(numbers), default=max(numbers))
        raise RecordingError(
            f"{parts[0][1].path}: part {missing} of flight {parts[0][0].flight} is missing or "
            "there twice; give every part once"
        )
    return RecordedFlight(parts[0][0], tuple(reader for _, reader in parts))
