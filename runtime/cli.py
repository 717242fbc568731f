"""The `gearshift` command; its sub-commands come from the entry-point group `gearshift.commands`.

A command module is light to import and has HELP (one line), EXTRA (the optional dependencies it
needs, or None) and register(parser), which sets `run`, a function from arguments to an exit code.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points, version
from typing import Protocol, cast

from gearshift.runtime.errors import GearshiftError, MissingExtraError
from gearshift.runtime.installation import install_line

COMMAND_GROUP = "gearshift.commands"
EXIT_ERROR = 1
EXIT_INTERRUPTED = 130


class CommandModule(Protocol):
    """What a module in the entry-point group `gearshift.commands` offers."""

    HELP: str
    EXTRA: str | None

    def register(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's arguments and set `run`."""


def build_parser(commands: dict[str, CommandModule]) -> argparse.ArgumentParser:
    """The whole command line; imports nothing that a command needs only when it runs."""
    parser = argparse.ArgumentParser(
        prog="gearshift",
        description="Adaptive inference for drones: shifts between a small and a large "
        "pose-estimation network, frame by frame.",
        epilog="example: gearshift compare    (the paper's six systems on the shipped traces)",
    )
    parser.add_argument("--version", action="version", version=version("gearshift"))
    parser.add_argument("-v", "--verbose", action="count", default=0, help="log more (-vv: debug)")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, module in sorted(commands.items()):
        sub = subparsers.add_parser(
            name,
            help=module.HELP,
            description=module.HELP,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.register(sub)
        sub.set_defaults(extra=module.EXTRA)
    return parser


def load_commands(only: str | None = None) -> dict[str, CommandModule]:
    """Every installed command by name; that one alone where there is one of the name `only`."""
    points = entry_points(group=COMMAND_GROUP)
    chosen = [point for point in points if point.name == only] or points
    return {point.name: cast(CommandModule, point.load()) for point in chosen}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, 1 for a known error, 2 for wrong usage."""
    words = sys.argv[1:] if arguments is None else arguments
    # A flight starts without the modules of the other commands, and although one of them is broken.
    named = next((word for word in words if not word.startswith("-")), None)
    try:
        options = build_parser(load_commands(named)).parse_args(words)
        logging.basicConfig(
            level=[logging.WARNING, logging.INFO, logging.DEBUG][min(options.verbose, 2)],
            format="%(levelname)s %(name)s: %(message)s",
        )
        run: Callable[[argparse.Namespace], int] = options.run
        return _run_with_extra(run, options)
    except GearshiftError as error:
        sys.stderr.write(f"gearshift: {error}\n")
        return EXIT_ERROR
    except KeyboardInterrupt:
        sys.stderr.write("gearshift: interrupted\n")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader (`| head`) left; keep the interpreter from complaining while it shuts down.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_ERROR


def _run_with_extra(run: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    try:
        return run(options)
    except ModuleNotFoundError as error:
        if options.extra is None or (error.name or "").split(".")[0] == "gearshift":
            raise
        raise MissingExtraError(
            f"'{options.command}' needs the package {error.name!r}: {install_line(options.extra)}"
        ) from error
