"""`gearshift models export tflite`: a zoo's networks for LiteRT, and how close they come.

`models/commands/format_command.py` calls `register`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from gearshift.models.zoo_making.tflite_export import ExportedTflite

Parsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def register(formats: Parsers) -> None:
    """Add `tflite` to the formats of `export`."""
    tflite = formats.add_parser("tflite", help="write networks for LiteRT (TFLite)")
    tflite.add_argument(
        "names", nargs="*", metavar="NAME", help="networks of the zoo (default: all)"
    )
    tflite.add_argument("--zoo", type=Path, metavar="DIR", help="folder of networks")
    tflite.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="recordings, or a folder of splits, to compare with the int8 ONNX networks on",
    )
    tflite.set_defaults(run=_export)


def _export(args: argparse.Namespace) -> int:
    from gearshift.runtime.engines.network import read_manifest, zoo_folder
    from gearshift.runtime.errors import MissingExtraError
    from gearshift.runtime.installation import install_line

    try:
        from gearshift.models.zoo_making.tflite_export import export_tflite, load_splits
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"writing TFLite needs the package {error.name!r}: {install_line('tflite')}"
        ) from error
    zoo = args.zoo or zoo_folder()
    flights = load_splits(args.data) if args.data is not None else {}
    exported = [
        export_tflite(name, zoo, flights)
        for name in args.names or sorted(read_manifest(zoo)["networks"])
    ]
    sys.stdout.write("".join(f"{entry.path}: {_size(entry.path)}\n" for entry in exported))
    if flights:
        sys.stdout.write(_table(exported) + "\n")
    return 0


def _size(path: Path) -> str:
    return f"{path.stat().st_size:,} bytes"


def _table(exported: list[ExportedTflite]) -> str:
    """One row per output, or for all scores of a localiser, and the errors of both forms."""
    from gearshift.models.commands.model_tables import text_table

    header = ["network", "split", "frames", "output", "LSB", "largest", "mean"]
    header += ["error, ONNX", "error, TFLite"]
    rows = []
    for entry in exported:
        names = [component.name for component in entry.network.components]
        for split, compared in entry.splits.items():
            found = compared.agreement
            start = [entry.network.name, split, str(found.frames)]
            if not names:
                numbers = [f"<= {found.step.max():.4g}", f"{found.largest.max():.2g}"]
                numbers += [f"{found.mean.mean():.2g}"]
                errors = [
                    f"{1 - form['accuracy']:.4f}" for form in (compared.onnx, compared.tflite)
                ]
                rows.append([*start, f"{len(found.step)} scores", *numbers, *errors])
            for index, name in enumerate(names):
                numbers = [f"{found.step[index]:.4g}", f"{found.largest[index]:.2g}"]
                numbers += [f"{found.mean[index]:.2g}"]
                errors = [f"{form[name]:.4f}" for form in (compared.onnx, compared.tflite)]
                rows.append([*start, name, *numbers, *errors])
    note = (
        "largest, mean: difference from the int8 ONNX network in LSB, the range of the output "
        "over the frames / 255. error: MAE in the output's unit; localisers: share of wrong cells."
    )
    return text_table(header, rows) + "\n" + note
