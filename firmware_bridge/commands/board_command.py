"""`gearshift board`: emulate, reach, measure, torment and configure boards on serial lines."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from gearshift.runtime.files.whole_file import output_file

if TYPE_CHECKING:
    from gearshift.firmware_bridge.measuring.board_target import Target
    from gearshift.runtime.engines.integer_network import IntegerNetwork

HELP = "a GAP8-class board on a serial line: emulate, reach, measure and configure it"
EXTRA = "board"
Parsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
_RAW = argparse.RawDescriptionHelpFormatter
_TARGET = "a device, usb:SERIAL_NUMBER or pyserial URL, with ?baud=N&timeout=S; or posix, rv32"


def register(parser: argparse.ArgumentParser) -> None:
    """Add the sub-commands."""
    parser.epilog = (
        "examples:\n"
        "  gearshift board emulate --port rv32 --ensemble D1     (prints where it is)\n"
        "  gearshift board info /dev/ttyACM0?baud=3000000\n"
        "  gearshift board bench posix --baud 1000000 3000000\n"
        "  gearshift board soak posix --faults 0.1 --frames 10000\n"
        "  gearshift replay flight.mcap --ensemble D1 --policy op --threshold 0.4 \\\n"
        "      --engine board:/dev/ttyACM0"
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    _add_emulate(actions)
    _add_ping(actions)
    _add_info(actions)
    _add_bench(actions)
    _add_soak(actions)
    _add_configure(actions)
    _add_profile(actions)
    _add_bundle(actions)
    _add_rates(actions)


def _add(actions: Parsers, name: str, text: str, example: str) -> argparse.ArgumentParser:
    return actions.add_parser(
        name, help=text, description=text, epilog=f"example: {example}", formatter_class=_RAW
    )


def _add_target(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", metavar="BOARD", help=_TARGET)


def _add_networks(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--network",
        action="append",
        default=[],
        metavar="NAME|DIR",
        help="of the zoo, or a GAP8 folder; repeat it (default: all of the zoo)",
    )
    parser.add_argument("--ensemble", metavar="NAME", help="the networks of an ensemble, e.g. D1")
    parser.add_argument("--zoo", type=Path, metavar="DIR")


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def _add_emulate(actions: Parsers) -> None:
    example = "gearshift board emulate --port rv32 --ensemble D1"
    parser = _add(actions, "emulate", "build and run a board here until interrupted", example)
    parser.add_argument("--port", choices=("posix", "rv32"), default="posix")
    _add_networks(parser)
    parser.add_argument(
        "--camera", type=Path, metavar="FLIGHT.mcap", help="frames for the board's own camera"
    )
    parser.add_argument("--baud", type=int, metavar="N", help="as slow as a line of so many baud")
    parser.add_argument("--faults", type=float, default=0.0, metavar="SHARE", help="a bad line")
    parser.add_argument("--seed", type=int, default=0, help="of the faults")
    parser.add_argument("--icount", action="store_true", help="rv32: count every instruction")
    _add_json(parser)
    parser.set_defaults(run=_emulate)


def _add_ping(actions: Parsers) -> None:
    parser = _add(actions, "ping", "round trips to a board", "gearshift board ping /dev/ttyACM0")
    _add_target(parser)
    parser.add_argument("--count", type=int, default=20, metavar="N")
    parser.add_argument("--size", type=int, default=32, metavar="BYTES")
    _add_networks(parser)
    _add_json(parser)
    parser.set_defaults(run=_ping)


def _add_info(actions: Parsers) -> None:
    text = "what a board is, has and has counted"
    parser = _add(actions, "info", text, "gearshift board info usb:A10KZ4 --json")
    _add_target(parser)
    _add_networks(parser)
    _add_json(parser)
    parser.set_defaults(run=_info)


def _add_bench(actions: Parsers) -> None:
    text = "the share of the line that pixels get; exit 1 when it is below 97 %%"
    parser = _add(actions, "bench", text, "gearshift board bench posix --baud 1000000 3000000")
    _add_target(parser)
    parser.add_argument("--baud", type=int, nargs="+", default=[1_000_000, 3_000_000], metavar="N")
    parser.add_argument("--frames", type=int, default=200, help="per rate (default: %(default)s)")
    parser.add_argument("--run", dest="runs", metavar="NAME", help="network (default: the fastest)")
    _add_networks(parser)
    _add_json(parser)
    parser.set_defaults(run=_bench)


def _add_soak(actions: Parsers) -> None:
    text = "frames over a bad line; exit 1 when a wrong output was accepted or a call hung"
    parser = _add(actions, "soak", text, "gearshift board soak posix --faults 0.1 --frames 100000")
    _add_target(parser)
    parser.add_argument("--frames", type=int, default=2000, help="(default: %(default)s)")
    parser.add_argument(
        "--faults", type=float, default=0.1, metavar="SHARE", help="(default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--build", choices=("sanitized", "unchecked"), help="of the posix board")
    _add_networks(parser)
    _add_json(parser)
    parser.set_defaults(run=_soak)


def _add_configure(actions: Parsers) -> None:
    text = "give a board's own adaptive loop its ensemble, policy and tables"
    example = "gearshift board configure /dev/ttyACM0 --ensemble D1 --policy op --threshold 0.4"
    parser = _add(actions, "configure", text, example)
    _add_target(parser)
    parser.add_argument("--ensemble", required=True, metavar="NAME", help="e.g. D1")
    parser.add_argument("--policy", required=True, metavar="NAME", help="a portable one, e.g. op")
    parser.add_argument("--threshold", metavar="T", help="a number or an operating point")
    parser.add_argument("--filter", metavar="NAME", help="none, anchor, smooth (default: policy's)")
    parser.add_argument("--combination", choices=("large", "fusion"), default="large")
    parser.add_argument("--max-gap", type=float, default=0.5, metavar="S")
    parser.add_argument("--per-second", action="store_true", help="distances per second")
    parser.add_argument("--deadline", type=float, metavar="MS", help="skip large when it is late")
    parser.add_argument(
        "--stream", type=int, metavar="N", help="then print N estimates of the board's own camera"
    )
    parser.add_argument("--zoo", type=Path, metavar="DIR")
    parser.add_argument(
        "--camera", type=Path, metavar="FLIGHT.mcap", help="an emulated board's camera"
    )
    parser.set_defaults(run=_configure, network=[])


def _add_profile(actions: Parsers) -> None:
    text = "what networks (and policies) cost on a board"
    example = "gearshift board profile rv32 --instructions --ensemble D1 --out counts.json"
    parser = _add(actions, "profile", text, example)
    _add_target(parser)
    parser.add_argument("--runs", type=int, default=10, help="per network (default: %(default)s)")
    parser.add_argument(
        "--time", choices=("compute", "round-trip"), default="compute", help="(default: compute)"
    )
    parser.add_argument(
        "--instructions",
        action="store_true",
        help="count instead of time; deterministic on rv32, and no latency",
    )
    parser.add_argument(
        "--policies", metavar="POINT", help="count an ensemble's policies at an operating point too"
    )
    parser.add_argument(
        "--recording", type=Path, metavar="FLIGHT.mcap", help="frames for --policies"
    )
    parser.add_argument("--frames", type=int, default=60, help="of it (default: %(default)s)")
    parser.add_argument("--out", type=output_file, metavar="FILE", help="(default: print it)")
    _add_networks(parser)
    parser.set_defaults(run=_profile)


def _add_bundle(actions: Parsers) -> None:
    text = "write the networks of a board to a file, to be flashed or emulated"
    example = "gearshift board bundle --ensemble D1 --out d1.gsb"
    parser = _add(actions, "bundle", text, example)
    _add_networks(parser)
    parser.add_argument("--out", type=output_file, required=True, metavar="FILE")
    parser.set_defaults(run=_bundle)


def _add_rates(actions: Parsers) -> None:
    text = "the frame rate that each baud rate allows, computed"
    parser = _add(actions, "rates", text, "gearshift board rates --size 160x96")
    parser.add_argument("--size", default="160x96", metavar="WxH", help="(default: %(default)s)")
    bauds = [115_200, 230_400, 460_800, 921_600, 1_000_000, 2_000_000, 3_000_000]
    parser.add_argument("--baud", type=int, nargs="+", default=bauds, metavar="N")
    parser.add_argument("--payload", type=int, default=4096, help="of the board, in bytes")
    _add_json(parser)
    parser.set_defaults(run=_rates)


def networks_of(options: argparse.Namespace) -> tuple[IntegerNetwork, ...]:
    """The networks that were named."""
    from gearshift.firmware_bridge.measuring.board_target import integer_networks

    return integer_networks(options.network, options.ensemble, options.zoo)


def _emulate(options: argparse.Namespace) -> int:
    from gearshift.firmware_bridge.commands.board_actions import emulate

    return emulate(options, networks_of(options))


def _ping(options: argparse.Namespace) -> int:
    from gearshift.firmware_bridge.commands.board_actions import ping

    return _on_target(options, ping)


def _info(options: argparse.Namespace) -> int:
    from gearshift.firmware_bridge.commands.board_actions import info

    return _on_target(options, info)


def _bench(options: argparse.Namespace) -> int:
    from gearshift.firmware_bridge.commands.board_actions import bench

    return _on_target(options, bench)


def _soak(options: argparse.Namespace) -> int:
    from gearshift.firmware_bridge.commands.board_actions import run_soak
    from gearshift.firmware_bridge.emulation.emulator import Build, build
    from gearshift.firmware_bridge.measuring.board_target import open_target

    program = None if options.build is None else build(Build(options.build))
    with open_target(options.target, networks_of(options), program=program) as target:
        return run_soak(options, target)


def _configure(options: argparse.Namespace) -> int:
    from gearshift.firmware_bridge.commands.board_actions import camera_of, configure
    from gearshift.firmware_bridge.measuring.board_target import open_target

    camera = camera_of(options)
    with open_target(options.target, networks_of(options), camera=camera) as target:
        return configure(options, target)


def _profile(options: argparse.Namespace) -> int:
    from gearshift.firmware_bridge.commands.board_actions import profile
    from gearshift.firmware_bridge.measuring.board_target import open_target

    icount = options.instructions and options.target.startswith("rv32")
    with open_target(options.target, networks_of(options), icount=icount) as target:
        return profile(options, target)


def _bundle(options: argparse.Namespace) -> int:
    from gearshift.firmware_bridge.commands.board_actions import bundle

    return bundle(options, networks_of(options))


def _rates(options: argparse.Namespace) -> int:
    from gearshift.firmware_bridge.commands.board_actions import rates

    return rates(options)


def _on_target(options: argparse.Namespace, action: Action) -> int:
    from gearshift.firmware_bridge.measuring.board_target import open_target

    with open_target(options.target, networks_of(options)) as target:
        return action(options, target)


if TYPE_CHECKING:
    from collections.abc import Callable

    Action: TypeAlias = Callable[[argparse.Namespace, Target], int]
