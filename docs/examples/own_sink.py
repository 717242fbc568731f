"""A sink of one's own, flown: it sees every report and knows what may be used of it.

    python docs/examples/own_sink.py [FLIGHT.mcap]

A sink has `open`, `write` and `close` and a thread of its own, so it may take its time. This one
draws where the person is, as seen from above, a line per half second. To be found by its name in
`flight.toml`, a sink is named in an entry point: docs/sinks.md.
"""

import sys
import tempfile
from collections import Counter
from pathlib import Path

import gearshift

SHIPPED = Path(__file__).parents[2] / "sim" / "data" / "recordings" / "unseen-05000.mcap"
FLIGHT = """\
schema_version = 1
[source]
kind = "recording"
path = '{path}'
pace = "none"
[ensemble]
name = "D1"
[policy]
name = "op"
threshold = "equal-error"
"""


class Plan:
    """Where the person is, a line of text per half second, while it is tracked."""

    def __init__(self, columns=51):
        self.columns = columns
        self.lines = []
        self.states: Counter[str] = Counter()
        self._next_ns = 0

    def open(self, info):
        """What the reports will be about."""
        self.units = {component.name: component.unit for component in info.components}

    def write(self, report):
        """One report: an estimate, or a change of state without one."""
        self.states[report.state] += 1
        if report.state != "tracking" or report.time_ns < self._next_ns:
            return
        self._next_ns = report.time_ns + 500_000_000
        pose = report.estimate.pose
        column = round((1 - pose.y) / 2 * (self.columns - 1))
        line = ["."] * self.columns
        asked = "L" if "large" in report.estimate.networks else "s"
        line[min(max(column, 0), self.columns - 1)] = asked
        self.lines.append(f"{''.join(line)}  {pose.x:.2f} {self.units['x']} ahead")

    def close(self):
        """Nothing is held."""


def main(path):
    """Fly a recording, every frame, as fast as it goes."""
    plan = Plan()
    with tempfile.TemporaryDirectory() as folder:
        configuration = Path(folder) / "flight.toml"
        configuration.write_text(FLIGHT.format(path=path))
        with gearshift.load_flight(configuration, sinks={"plan": plan}) as flight:
            flight.wait()
    print("from above, 1 m to the left to 1 m to the right; s: small alone answered, L: large ran")
    print("\n".join(plan.lines))
    print(", ".join(f"{state}: {count} reports" for state, count in plan.states.items()))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else SHIPPED)
