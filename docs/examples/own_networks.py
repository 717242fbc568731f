"""A pair of ONNX networks of one's own, imported, put into an ensemble and stepped by hand.

    python docs/examples/own_networks.py

The two find a light in the picture, u and v in pixels: small looks at blocks of 16x16 pixels, large
at every second one. They are made here with `onnx` (pip install onnx); a trained pair comes in the
same way, and `gearshift models import onnx` does the same from a shell.
"""

import tempfile
from pathlib import Path

import numpy as np
import onnx.parser

import gearshift
from gearshift.models.formats.onnx_import import import_onnx, parse_components

HEIGHT, WIDTH = 96, 160
OUTPUTS = parse_components("u:px:46,v:px:28")  # name, unit, standard deviation


def centroid(block):
    """An ONNX network: the centre of what is brighter than its surroundings, by blocks."""
    rows, columns = HEIGHT // block, WIDTH // block
    v, u = np.mgrid[:rows, :columns] * block + (block - 1) / 2
    places = np.stack([u.ravel(), v.ravel()], axis=-1).astype(np.float32)
    model = onnx.parser.parse_model(
        f"""<ir_version: 8, opset_import: ["": 17]>
        centroid (float[1, 1, {HEIGHT}, {WIDTH}] frame) => (float[1, 2] place) {{
            pooled = AveragePool <kernel_shape = [{block}, {block}],
                                  strides = [{block}, {block}]> (frame)
            mean = GlobalAveragePool (pooled)
            threshold = Mul (mean, twice)
            above = Sub (pooled, threshold)
            bright = Relu (above)
            flat = Flatten (bright)
            weighted = MatMul (flat, places)
            total = MatMul (flat, ones)
            safe = Max (total, least)
            place = Div (weighted, safe)
        }}"""
    )
    constants = {
        "places": places,
        "ones": np.ones((len(places), 1), np.float32),
        "twice": np.array(1.25, np.float32),
        "least": np.array(1e-3, np.float32),
    }
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(value, name) for name, value in constants.items()
    )
    return model.SerializeToString()


def flight(frames, seed=0):
    """Images of a light that wanders over a noisy wall, and where it is: (frames, 2) pixels."""
    generator = np.random.default_rng(seed)
    turns = np.linspace(0, 2 * np.pi, frames)
    where = np.stack([80 + 60 * np.sin(turns), 48 + 30 * np.sin(3 * turns)], axis=-1)
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    for place in where:
        light = 180 * np.exp(-((u - place[0]) ** 2 + (v - place[1]) ** 2) / (2 * 3.0**2))
        image = np.clip(light + generator.normal(40, 8, (HEIGHT, WIDTH)), 0, 255)
        yield image.astype(np.uint8), place


def main():
    """Import the pair, write an ensemble's file, fly it at four thresholds."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for network, block in (("blocks", 16), ("pixels", 2)):
            imported = import_onnx(centroid(block), network, OUTPUTS, f"{network}.onnx")
            (folder / f"{network}.onnx").write_bytes(imported)
        (folder / "light.toml").write_text(
            "schema_version = 1\n"
            '[small]\nnetwork = "./blocks.onnx"\n'
            '[large]\nnetwork = "./pixels.onnx"\n'
        )
        ensemble = gearshift.load_ensemble(folder / "light.toml")
    print(f"{'threshold':>9} {'error u, v (px)':>16} {'on large':>9}   first five choices")
    for threshold in (-np.inf, 0.2, 0.5, np.inf):
        scheduler = gearshift.make_scheduler(ensemble, "op", threshold)
        errors, estimates = [], []
        for number, (image, truth) in enumerate(flight(200)):
            frame = gearshift.Frame(image, number * 33_333_333, number)  # 30 frames a second
            estimate = scheduler.process(frame)
            estimates.append(estimate)
            errors.append(np.abs(np.array(estimate.values) - truth))
        u, v = np.mean(errors, axis=0)
        large = np.mean(["large" in estimate.networks for estimate in estimates])
        reasons = ", ".join(estimate.reason for estimate in estimates[:5])
        print(f"{threshold:9.2f} {u:9.2f} {v:6.2f} {large:9.0%}   {reasons}")
    ensemble.close()


if __name__ == "__main__":
    main()
