"""A recording of one's own: written, read and replayed. How much worse is it at dusk?

    python docs/examples/own_recording.py [FLIGHT.mcap]

Takes a flight (default: one that is in this repository), makes it darker and noisier, writes it as
a new recording with the same ground truth, and flies both through the same ensemble and policy.
Foxglove opens either file.
"""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

import gearshift

SHIPPED = Path(__file__).parents[2] / "sim" / "data" / "recordings" / "known-05000.mcap"


def dusk(image, generator):
    """A third of the light, and the noise of a sensor at a high gain."""
    dark = 0.35 * image + generator.normal(0, 4, image.shape)
    return np.clip(dark, 0, 255).astype(np.uint8)


def main(flight):
    """Write, read, replay, compare."""
    generator = np.random.default_rng(0)
    day = gearshift.RecordingReader(flight)
    with tempfile.TemporaryDirectory() as folder:
        evening = Path(folder) / "dusk.mcap"
        with gearshift.RecordingWriter(
            evening,
            camera=day.header.camera,
            components=day.header.components,
            attributes={**day.header.attributes, "light": "dusk"},
        ) as writer:
            for entry in day:
                image = dusk(entry.frame.image, generator)
                writer.write_frame(replace(entry.frame, image=image), entry.truth)
        print(f"{flight.name}: {sum(1 for _ in gearshift.RecordingReader(evening))} frames written")
        print(f"{'':6} {'policy':13} {'error (m, rad)':>14} {'on large':>9}  most frequent reasons")
        for light, path in (("day", flight), ("dusk", evening)):
            for policy, threshold in (
                ("always-small", None),
                ("anchor", "equal-error"),
                ("always-large", None),
            ):
                replayed = gearshift.replay(path, "D2", policy, threshold)
                summary = replayed.summary()
                reasons, counts = np.unique(replayed.columns()["reason"], return_counts=True)
                often = ", ".join(f"{reasons[i]} {counts[i]}" for i in np.argsort(counts)[::-1][:3])
                print(
                    f"{light:6} {policy:13} {summary.error['sum'].value:14.3f} "
                    f"{summary.shares['large']:9.0%}  {often}"
                )


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else SHIPPED)
