"""A flight loop without the command line: gearshift estimates, the loop here steers.

    python docs/examples/flight_loop.py [FLIGHT.mcap]

Camera, networks and watchdog have threads of their own; this loop runs at its own rate and takes
the latest report, which says by its state whether it may be used. Here a recording plays at its own
pace in the place of a camera; with `kind = "v4l2"` the same lines fly.
"""

import sys
import tempfile
from pathlib import Path

import gearshift

SHIPPED = Path(__file__).parents[2] / "sim" / "data" / "recordings" / "known-05001.mcap"
FLIGHT = """\
schema_version = 1
[source]
kind = "recording"
path = '{path}'
start_s = {start_s}
[ensemble]
name = "D2"
[policy]
name = "anchor"
threshold = "equal-error"
"""
PERIOD_S = 0.05  # 20 Hz, whatever the camera does
KEEP_M = 1.5


def steer(report):
    """Velocities (forward m/s, left m/s, yaw rad/s) that keep KEEP_M away and face the person."""
    if report is None or report.state != "tracking":
        return 0.0, 0.0, 0.0  # hover: nothing old may be used
    pose = report.estimate.pose
    return 0.8 * (pose.x - KEEP_M), 0.0, 1.2 * pose.y / max(pose.x, 0.5)


def main(path, start_s=4.0):
    """Fly to the end of the recording."""
    with tempfile.TemporaryDirectory() as folder:
        configuration = Path(folder) / "flight.toml"
        configuration.write_text(FLIGHT.format(path=path, start_s=start_s))
        turns = 0
        with gearshift.load_flight(configuration) as flight:
            while not flight.wait(PERIOD_S):
                report = flight.last
                forward, left, yaw = steer(report)
                if turns % 10 == 0:
                    age = (
                        ""
                        if report is None or report.age_ns is None
                        else f", {report.age_ns / 1e6:.1f} ms old"
                    )
                    said = f"forward {forward:+.2f} m/s, left {left:+.2f} m/s, yaw {yaw:+.2f} rad/s"
                    print(f"{flight.state}{age}: {said}")
                turns += 1
        counts = flight.counts
    print(f"{turns} turns; {counts.estimates} estimates, {counts.large} asked the large network")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else SHIPPED)
