"""`gearshift models import` and `gearshift models export gap8`: networks from and to other formats.

`models/commands/models_command.py` calls `register_import` and `register_export`.
"""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from gearshift.runtime.files.whole_file import output_place

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from gearshift.runtime.types import Camera

CALIBRATION_FRAMES = 768
Parsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def register_import(actions: Parsers) -> None:
    """Add `import` with its formats."""
    parser = actions.add_parser("import", help="bring in a network of another format")
    formats = parser.add_subparsers(dest="format", metavar="FORMAT", required=True)

    gap8 = formats.add_parser(
        "gap8", help="a GAP8 deployment's folder of weight files, or an integer ONNX network"
    )
    gap8.add_argument("folder", type=Path, metavar="DIR|FILE.onnx")
    gap8.add_argument(
        "--output-scales",
        metavar="S,S,...",
        help="unit per step of each int32 output (DORY's eps), where the folder does not say",
    )
    gap8.add_argument(
        "--fit-scales",
        metavar="NETWORK",
        help="instead: fit them on --frames to what this network of the same outputs says",
    )
    gap8.add_argument(
        "--shifts",
        metavar="N,N,...",
        help="right shift of each convolution (DORY's out_shift), where the folder does not say",
    )
    gap8.add_argument(
        "--golden",
        type=Path,
        metavar="DIR",
        help="input.txt and out_layerN.txt of DORY's examples: every number must be met",
    )
    gap8.add_argument(
        "--halve", action="store_true", help="give it frames of twice its size, halved before it"
    )
    gap8.add_argument("--frames", type=Path, metavar="DIR", help="PNG files: print their outputs")
    gap8.add_argument("--out", type=output_place, metavar="DIR", help="write it with its geometry")
    gap8.add_argument("--json", action="store_true", help="print JSON")
    _add_camera(gap8)
    gap8.set_defaults(run=_import_gap8)

    frontnet = formats.add_parser("frontnet", help="a PULP-Frontnet float checkpoint")
    frontnet.add_argument("checkpoint", type=Path, metavar="CHECKPOINT")
    frontnet.add_argument("--name", help="of the network (default: by its variant)")
    frontnet.add_argument(
        "--frames", type=Path, metavar="DIR", help="160x96 PNG files to calibrate int8 on"
    )
    frontnet.add_argument(
        "--data", type=Path, metavar="DIR", help="recordings to calibrate int8 on instead"
    )
    frontnet.add_argument(
        "--out", type=output_place, default=Path("imported"), metavar="DIR", help="(%(default)s)"
    )
    _add_camera(frontnet)
    frontnet.set_defaults(run=_import_frontnet)

    own = formats.add_parser("onnx", help="a regression network of your own")
    own.add_argument("file", type=Path, metavar="FILE.onnx")
    own.add_argument(
        "--outputs",
        required=True,
        metavar="NAME:UNIT,...",
        help="what it gives, in order, such as x:m,y:m,phi:rad; rad is an angle",
    )
    own.add_argument("--name", help="of the network (default: the file's)")
    own.add_argument("--input-gain", type=float, default=1.0, help="bytes times this (%(default)s)")
    own.add_argument("--input-offset", type=float, default=0.0, help="plus this (%(default)s)")
    own.add_argument(
        "--frames", type=Path, metavar="DIR", help="PNG files of its size: quantise to int8"
    )
    own.add_argument("--data", type=Path, metavar="DIR", help="recordings to calibrate on instead")
    own.add_argument(
        "--out", type=output_place, default=Path("imported"), metavar="DIR", help="(%(default)s)"
    )
    _add_camera(own)
    own.set_defaults(run=_import_onnx)


def _add_camera(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--camera",
        type=Path,
        metavar="CAMERA.toml",
        help="the one it was trained for; other cameras are turned into it (docs/cameras.md)",
    )


def _trained_for(path: Path | None, width: int, height: int) -> Camera | None:
    """The camera of a file, which must be of the network's size; raises ConfigurationError."""
    from gearshift.runtime.cameras.camera_file import read_camera
    from gearshift.runtime.cameras.lens import check_size

    if path is None:
        return None
    camera = read_camera(path)
    check_size(camera, width, height, str(path))
    return camera


def register_export(formats: Parsers) -> None:
    """Add `gap8` and `tflite` to the formats of `export`."""
    from gearshift.models.commands import tflite_command

    tflite_command.register(formats)
    gap8 = formats.add_parser("gap8", help="write networks as GAP8 deployments")
    gap8.add_argument(
        "names", nargs="*", metavar="NAME", help="networks of the zoo, or int8 .onnx files of ours"
    )
    gap8.add_argument("--zoo", type=Path, metavar="DIR", help="folder of networks")
    gap8.add_argument(
        "--into-zoo",
        action="store_true",
        help="give the zoo's networks (default: all) their integer form, with its manifest entry",
    )
    gap8.add_argument(
        "--out", type=output_place, default=Path("gap8"), metavar="DIR", help="(%(default)s)/NAME"
    )
    gap8.add_argument("--frame", type=Path, metavar="PNG", help="the golden input")
    gap8.add_argument(
        "--shift",
        type=int,
        metavar="BITS",
        help="that requantisation drops, where the board's code takes other than DORY's usual 24: "
        "with 32 the integers follow the int8 network more closely",
    )
    gap8.add_argument(
        "--data", type=Path, metavar="DIR", help="recordings of one split to measure errors on"
    )
    gap8.set_defaults(run=_export_gap8)


def _import_gap8(args: argparse.Namespace) -> int:
    from gearshift.models.commands.integer_tables import layer_table, network_json, output_table
    from gearshift.models.formats.gap8_import import import_gap8
    from gearshift.models.formats.gap8_writer import run_integer_frames, write_gap8_folder
    from gearshift.models.formats.png_frames import read_frames
    from gearshift.runtime.engines.integer_engine import golden
    from gearshift.runtime.errors import ConfigurationError

    frames = read_frames(args.frames) if args.frames else None
    if args.fit_scales is not None and (frames is None or args.output_scales is not None):
        raise ConfigurationError("--fit-scales wants --frames, and no --output-scales")
    imported = import_gap8(
        args.folder,
        scales=_numbers(args.output_scales) if args.output_scales is not None else None,
        shifts=_whole_numbers(args.shifts) if args.shifts is not None else None,
        fit=None if args.fit_scales is None or frames is None else (args.fit_scales, frames),
        golden_folder=args.golden,
    )
    network, run = imported.network, imported.run
    if args.halve:
        # Every pixel four times: halved again it is the same image.
        image = run.image.repeat(2, axis=0).repeat(2, axis=1)
        described = replace(network.network, height=image.shape[0], width=image.shape[1])
        network = replace(network, network=described)
        run = golden(network, image)
    if args.camera is not None:
        described = network.network
        camera = _trained_for(args.camera, described.width, described.height)
        network = replace(network, network=replace(described, camera=camera))
    outputs = run_integer_frames(network, frames) if frames is not None else None
    if args.out is not None:
        write_gap8_folder(args.out, network, run.image)
    if args.json:
        _write(network_json(network, run, outputs))
        return 0
    _write(layer_table(network, run))
    for note in imported.notes:
        _write(note)
    if outputs is not None:
        _write(output_table(network, outputs))
    if args.out is not None:
        _write(f"{args.out}: written")
    return 0


def _import_frontnet(args: argparse.Namespace) -> int:
    from gearshift.models.formats.frontnet_import import float_onnx, int8_onnx, read_frontnet
    from gearshift.models.zoo_making.import_writer import write_imported

    name = _plain(args.name) if args.name is not None else None
    network = read_frontnet(args.checkpoint, name)
    described = network.description()
    camera = _trained_for(args.camera, described.width, described.height)
    network = replace(network, camera=camera)
    frames = _calibration(args)
    content, method = int8_onnx(network, frames)
    in_float = float_onnx(network)
    for path in write_imported(args.out, network.description(), in_float, content, method):
        _write(str(path))
    _write(f"{network.name}: int8 calibrated {method}")
    if frames is None:
        _write("give --frames or --data to calibrate on images, which is more accurate")
    return 0


def _import_onnx(args: argparse.Namespace) -> int:
    from gearshift.models.formats.onnx_import import import_onnx, parse_components, quantise_onnx
    from gearshift.models.zoo_making.import_writer import write_imported
    from gearshift.runtime.cameras.camera_file import read_camera
    from gearshift.runtime.engines.onnx_engine import OnnxEngine

    where = str(args.file)
    name = _plain(args.name or args.file.stem)
    components = parse_components(args.outputs)
    content = import_onnx(
        _bytes(args.file),
        name,
        components,
        where,
        gain=args.input_gain,
        offset=args.input_offset,
        camera=None if args.camera is None else read_camera(args.camera),
    )
    frames = _calibration(args)
    in_int8 = quantise_onnx(content, frames, where) if frames is not None else None
    method = f"min-max of {len(frames)} frames" if frames is not None else "none: float"
    network = OnnxEngine(content, where).network
    for path in write_imported(args.out, network, content, in_int8, method):
        _write(str(path))
    if frames is None:
        _write("give --frames or --data to quantise it to int8")
    return 0


def _export_gap8(args: argparse.Namespace) -> int:
    from gearshift.models.commands.integer_tables import layer_table
    from gearshift.models.evaluating.inference import find_model
    from gearshift.models.formats.gap8_conversion import integers_of_onnx
    from gearshift.models.formats.gap8_writer import golden_image, write_gap8_folder
    from gearshift.models.formats.png_frames import read_frame
    from gearshift.runtime.engines.integer_network import SHIFT
    from gearshift.runtime.errors import ConfigurationError

    if args.into_zoo:
        if args.shift is not None:
            raise ConfigurationError("--shift is for folders of your own; the zoo's forms have 24")
        return _integers_into_zoo(args.zoo, args.names)
    if not args.names:
        raise ConfigurationError("name the networks to export, or give --into-zoo for all")
    for name in args.names:
        model = find_model(name, args.zoo)
        content = model if isinstance(model, bytes) else _bytes(model)
        shift = SHIFT if args.shift is None else args.shift
        network = integers_of_onnx(content, name, shift=shift)
        described = network.network
        if args.frame is not None:
            image = read_frame(args.frame)
        else:
            image = golden_image(described.height, described.width)
        folder = args.out / _plain(described.name)
        run = write_gap8_folder(folder, network, image)
        _write(f"{folder}\n" + layer_table(network, run))
        if args.data is not None:
            from gearshift.models.formats.gap8_export import measure_integers

            _write(measure_integers(network, content, args.data))
    return 0


def _integers_into_zoo(zoo: Path | None, names: list[str]) -> int:
    from gearshift.models.zoo_making.zoo_writer import write_integer_form
    from gearshift.runtime.engines.network import read_manifest, zoo_folder

    folder = zoo or zoo_folder()
    for name in names or sorted(read_manifest(folder)["networks"]):
        _write(str(write_integer_form(folder, name)))
    return 0


def _calibration(args: argparse.Namespace) -> NDArray[np.uint8] | None:
    """Frames of --frames or --data, evenly spread; None where neither was given."""
    from gearshift.models.evaluating.dataset import load_dataset
    from gearshift.models.formats.png_frames import read_frames

    if args.frames is not None:
        return read_frames(args.frames)
    if args.data is None:
        return None
    images = load_dataset(args.data).images
    step = max(1, len(images) // CALIBRATION_FRAMES)
    chosen: NDArray[np.uint8] = images[::step].copy()
    return chosen


def _bytes(path: Path) -> bytes:
    from gearshift.runtime.errors import NetworkError

    try:
        return path.read_bytes()
    except OSError as error:
        raise NetworkError(f"{path}: {error.strerror}") from error


def _plain(name: str) -> str:
    """The name, which becomes a file's; raises ConfigurationError for one that cannot."""
    from gearshift.runtime.errors import ConfigurationError

    if not re.fullmatch(r"\w[\w.-]*", name):
        raise ConfigurationError(f"{name!r} names no file; use letters, digits, '.', '-' and '_'")
    return name


def _numbers(text: str) -> list[float]:
    from gearshift.runtime.errors import ConfigurationError

    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise ConfigurationError(
            f"--output-scales {text!r}: give numbers separated by commas, such as 7.4e-6,1.3e-5"
        ) from error


def _whole_numbers(text: str) -> list[int]:
    from gearshift.runtime.errors import ConfigurationError

    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise ConfigurationError(
            f"--shifts {text!r}: give whole numbers separated by commas, such as 24,23,23"
        ) from error


def _write(text: str) -> None:
    sys.stdout.write(text + "\n")
