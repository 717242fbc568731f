"""The command `gearshift models`: what networks cost, how wrong they are, and how they are made."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from gearshift.models.commands import real_command
from gearshift.models.commands.format_command import register_export, register_import
from gearshift.runtime.files.whole_file import output_place

HELP = "list, cost, train, import, export and compare networks"
EXTRA = "train"


def register(parser: argparse.ArgumentParser) -> None:
    """Add the sub-commands; only `train`, `export` and `agree` need torch."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    _register_views(actions)
    _register_making(actions)


def _register_views(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    listing = actions.add_parser("list", help="the zoo's networks: size, modelled cost, errors")
    listing.add_argument("--zoo", type=Path, metavar="DIR", help="folder of networks")
    listing.add_argument("--json", action="store_true", help="print JSON")
    listing.set_defaults(run=_list)

    cost = actions.add_parser(
        "cost", help="fit and modelled cost on a board, layer by layer (default: GAP8)"
    )
    cost.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="networks, int8 .onnx files or folders of a GAP8 deployment (default: all networks)",
    )
    cost.add_argument("--device", choices=("gap8",), default="gap8")
    cost.add_argument(
        "--ensemble",
        metavar="NAME|FILE.toml",
        help="all networks of an ensemble, loaded together",
    )
    cost.add_argument(
        "--together", action="store_true", help="the named networks are loaded at the same time"
    )
    cost.add_argument("--zoo", type=Path, metavar="DIR", help="folder of networks")
    cost.add_argument("--from-l3", action="store_true", help="stream all weights from L3")
    cost.add_argument(
        "--code", type=int, default=0, metavar="BYTES", help="L2 that programs take (%(default)s)"
    )
    cost.add_argument("--fit", action="store_true", help="show the model's error per measurement")
    cost.add_argument("--json", action="store_true", help="print JSON")
    cost.set_defaults(run=_cost)

    evaluate = actions.add_parser("evaluate", help="errors on labelled flights, with intervals")
    evaluate.add_argument("names", nargs="+", metavar="NAME", help="networks, files or folders")
    evaluate.add_argument("--data", type=Path, required=True, metavar="DIR", help="recordings")
    evaluate.add_argument("--zoo", type=Path, metavar="DIR", help="folder of networks")
    evaluate.set_defaults(run=_evaluate)

    compare = actions.add_parser("compare", help="does the first network beat the second?")
    compare.add_argument("first", metavar="A")
    compare.add_argument("second", metavar="B")
    compare.add_argument("--data", type=Path, required=True, metavar="DIR", help="recordings")
    compare.add_argument("--zoo", type=Path, metavar="DIR", help="folder of networks")
    compare.set_defaults(run=_compare)

    real_command.register(actions)

    formats = actions.add_parser(
        "formats", help="every format of every network: agreement, error, size, time"
    )
    formats.add_argument("names", nargs="*", metavar="NAME", help="networks (default: all)")
    formats.add_argument(
        "--data",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="recordings of one split; may be given again",
    )
    formats.add_argument("--zoo", type=Path, metavar="DIR", help="folder of networks")
    formats.add_argument(
        "--seconds",
        type=float,
        default=1.0,
        help="to time each format, 0 to leave times out (%(default)g)",
    )
    formats.add_argument("--json", action="store_true", help="print JSON")
    formats.set_defaults(run=_formats)


def _register_making(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    train = actions.add_parser("train", help="train a network on a folder of recordings")
    train.add_argument("name", metavar="NAME", help="architecture")
    train.add_argument("--data", type=Path, required=True, metavar="DIR", help="recordings")
    train.add_argument("--val", type=Path, metavar="DIR", help="validation recordings")
    train.add_argument(
        "--hold-out", type=int, default=0, metavar="N", help="without --val: flights that validate"
    )
    train.add_argument("--limit", type=int, metavar="N", help="use only the first N flights")
    train.add_argument("--epochs", type=int)
    train.add_argument("--seed", type=int)
    train.add_argument("--batch", type=int)
    train.add_argument("--learning-rate", type=float)
    train.add_argument("--weight-decay", type=float)
    train.add_argument("--dropout", type=float)
    train.add_argument(
        "--augmentation", type=float, metavar="SHARE", help="strength, 0 to 1 (default 1)"
    )
    train.add_argument("--teacher", type=Path, metavar="CHECKPOINT", help="network to learn from")
    train.add_argument(
        "--teacher-share", type=float, default=0.5, help="how far labels move to it (%(default)s)"
    )
    train.add_argument("--out", type=output_place, default=Path("training"), metavar="DIR")
    train.add_argument("--resume", action="store_true", help="continue from OUT/NAME.pt")
    train.add_argument("--start", type=Path, metavar="CHECKPOINT", help="fine-tune these weights")
    train.add_argument("--threads", type=int, default=1, help="(%(default)s)")
    train.set_defaults(run=_train)

    formats = actions.add_parser("export", help="write networks in another format").add_subparsers(
        dest="format", metavar="FORMAT", required=True
    )
    export = formats.add_parser("zoo", help="quantise checkpoints and put them into the zoo")
    export.add_argument("checkpoints", nargs="+", type=Path, metavar="CHECKPOINT")
    export.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="folder with train, val, ..."
    )
    export.add_argument("--zoo", type=Path, metavar="DIR", help="folder of networks")
    export.add_argument(
        "--float", type=output_place, metavar="DIR", help="also write float ONNX here"
    )
    export.set_defaults(run=_export)
    register_export(formats)
    register_import(actions)

    agree = actions.add_parser("agree", help="distance to a PULP-Frontnet checkpoint on frames")
    agree.add_argument("names", nargs="+", metavar="NAME", help="networks, files or folders")
    agree.add_argument("--reference", type=Path, required=True, metavar="CHECKPOINT")
    agree.add_argument("--frames", type=Path, required=True, metavar="DIR", help="160x96 PNG files")
    agree.add_argument("--zoo", type=Path, metavar="DIR", help="folder of networks")
    agree.set_defaults(run=_agree)

    profile = actions.add_parser("profile", help="write the zoo's modelled profile of a device")
    profile.add_argument("--device", choices=("gap8",), default="gap8")
    profile.add_argument("--zoo", type=Path, metavar="DIR", help="folder of networks")
    profile.set_defaults(run=_profile)


def _write(text: str) -> None:
    sys.stdout.write(text + "\n")


def _list(args: argparse.Namespace) -> int:
    from gearshift.models.commands.model_tables import as_json, zoo_json, zoo_table

    _write(as_json(zoo_json(args.zoo)) if args.json else zoo_table(args.zoo))
    return 0


def _cost(args: argparse.Namespace) -> int:
    from gearshift.models.commands.cost_tables import cost_json, cost_table, fit_table
    from gearshift.models.commands.model_tables import as_json
    from gearshift.models.cost.gap8_deployment import ensemble_shapes, find_shape
    from gearshift.models.cost.gap8_model import L2_BYTES
    from gearshift.models.networks.catalogue import architectures
    from gearshift.runtime.errors import ConfigurationError

    chosen = [find_shape(name, args.zoo) for name in args.names]
    if args.ensemble is not None:
        members = ensemble_shapes(args.ensemble, args.zoo)
        chosen += [shape for shape in members if shape.name not in args.names]
    layers = bool(chosen)
    chosen = chosen or list(architectures().values())
    if not 0 <= args.code < L2_BYTES:
        raise ConfigurationError(f"--code {args.code} is not in 0..{L2_BYTES - 1} bytes of L2")
    together = layers and (args.together or args.ensemble is not None)
    placing: dict[str, Any] = {"from_l3": args.from_l3, "code_bytes": args.code}
    if args.json:
        _write(as_json(cost_json(chosen, together=together, **placing)))
        return 0
    _write(cost_table(chosen, layers=layers, together=together, **placing))
    if args.fit:
        _write("\n" + fit_table())
    return 0


def _evaluate(args: argparse.Namespace) -> int:
    from gearshift.models.commands.model_tables import evaluation_table
    from gearshift.models.evaluating.dataset import load_dataset
    from gearshift.models.evaluating.inference import run_network

    data = load_dataset(args.data)
    outputs = {name: run_network(name, data.images, args.zoo) for name in args.names}
    _write(evaluation_table(outputs, data))
    return 0


def _compare(args: argparse.Namespace) -> int:
    from gearshift.models.commands.model_tables import difference_table
    from gearshift.models.evaluating.dataset import load_dataset
    from gearshift.models.evaluating.evaluation import difference
    from gearshift.models.evaluating.inference import run_network

    data = load_dataset(args.data)
    first, second = (run_network(name, data.images, args.zoo) for name in (args.first, args.second))
    _write(difference_table(args.first, args.second, difference(first, second, data), data))
    return 0


def _formats(args: argparse.Namespace) -> int:
    from gearshift.models.commands.model_tables import as_json, text_table
    from gearshift.models.formats.format_comparison import (
        formats_json,
        formats_text,
        measure_formats,
        time_ratios,
    )

    ratios = time_ratios(args.names, args.zoo, args.seconds) if args.seconds else None
    report = measure_formats(args.names, args.data, args.zoo, ratios=ratios)
    if args.json:
        _write(as_json(formats_json(report)))
        return 0
    heads, rows, notes = formats_text(report)
    _write("\n".join([text_table(heads, rows), *notes]))
    return 0


def _train(args: argparse.Namespace) -> int:
    import torch

    from gearshift.models.evaluating.dataset import load_dataset
    from gearshift.models.networks.catalogue import find_architecture
    from gearshift.models.training.augmentation import scaled
    from gearshift.models.training.teaching import taught
    from gearshift.models.training.training import (
        Trainer,
        TrainingConfig,
        configured,
        load_network,
        split_off,
    )

    torch.set_num_threads(args.threads)
    config = configured(
        TrainingConfig(),
        epochs=args.epochs,
        seed=args.seed,
        batch=args.batch,
        learning_rate=args.learning_rate,
        weight_decay=args.weight_decay,
        dropout=args.dropout,
        augmentation=scaled(args.augmentation) if args.augmentation is not None else None,
    )
    data = load_dataset(args.data, limit=args.limit)
    validation = load_dataset(args.val) if args.val is not None else None
    if validation is None and args.hold_out:
        data, validation = split_off(data, args.hold_out)
    if args.teacher is not None:
        data = taught(data, load_network(args.teacher), args.teacher_share)
    trainer = Trainer(find_architecture(args.name), data, validation, config)
    if args.start is not None:
        trainer.start_from(args.start)
    if args.resume:
        trainer.resume(args.out / f"{args.name}.pt")
    trainer.run(args.out)
    return 0


def _export(args: argparse.Namespace) -> int:
    from gearshift.models.zoo_making.export import export
    from gearshift.runtime.engines.network import zoo_folder

    for checkpoint in args.checkpoints:
        zoo = args.zoo or zoo_folder()
        exported = export(checkpoint, args.data, zoo, float_folder=args.float)
        losses = ", ".join(f"{split} {100 * loss:+.1f} %" for split, loss in exported.loss.items())
        _write(f"{exported.path}: int8 against float: {losses or 'not measured'}")
    return 0


def _agree(args: argparse.Namespace) -> int:
    from gearshift.models.commands.model_tables import agreement_table
    from gearshift.models.evaluating.inference import run_frames, run_network
    from gearshift.models.formats.frontnet_import import float_onnx, read_frontnet
    from gearshift.models.formats.png_frames import read_frames
    from gearshift.models.networks.catalogue import SHAPE

    frames = read_frames(args.frames, SHAPE)
    reference = run_frames(float_onnx(read_frontnet(args.reference)), frames)
    outputs = {name: run_network(name, frames, args.zoo) for name in args.names}
    _write(agreement_table(args.reference.stem, reference, outputs))
    return 0


def _profile(args: argparse.Namespace) -> int:
    from gearshift.models.zoo_making.zoo_writer import write_gap8_profile
    from gearshift.runtime.engines.network import zoo_folder

    _write(str(write_gap8_profile(args.zoo or zoo_folder())))
    return 0
