"""What the sub-commands of `gearshift board` do and print."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any

from gearshift.firmware_bridge.board.board_configuration import (
    POLICIES,
    BoardNetworks,
    configure_board,
)
from gearshift.firmware_bridge.board.network_image import (
    network_identity,
    pack_bundle,
    pack_network,
)
from gearshift.firmware_bridge.emulation.emulator import camera_file
from gearshift.firmware_bridge.emulation.relay import Relay
from gearshift.firmware_bridge.measuring.board_bench import TARGET_RATIO, bench_board, line_rates
from gearshift.firmware_bridge.measuring.board_profile import (
    BoardCount,
    board_count,
    count_json,
    count_networks,
    count_policies,
    measure_board,
    write_count,
)
from gearshift.firmware_bridge.measuring.board_target import Target, open_target
from gearshift.firmware_bridge.measuring.soak import soak
from gearshift.runtime.commands.sizes import parse_size
from gearshift.runtime.decide.combination import Combination
from gearshift.runtime.decide.policy import PolicyOptions
from gearshift.runtime.decide.policy_registry import find_policy
from gearshift.runtime.decide.selection import REASONS
from gearshift.runtime.engines.integer_network import IntegerNetwork
from gearshift.runtime.ensembles.ensemble_records import read_ensemble
from gearshift.runtime.ensembles.profile import write_profile
from gearshift.runtime.ensembles.thresholds import resolve_threshold
from gearshift.runtime.errors import ConfigurationError, NetworkError
from gearshift.runtime.files.whole_file import write_whole
from gearshift.runtime.recordings.recording import RecordingReader
from gearshift.runtime.types import Image, NetworkRole

ICOUNT_TIMEOUT_S = 60.0


def emulate(options: argparse.Namespace, networks: tuple[IntegerNetwork, ...]) -> int:
    """Run a board until interrupted or until it ends."""
    camera = camera_of(options)
    with open_target(options.port, networks, icount=options.icount, camera=camera) as target:
        if options.baud is None and options.faults == 0:
            return _stay(options, target, target.address.url)
        with Relay(
            target.open_port, baud=options.baud, faults=options.faults, seed=options.seed
        ) as relay:
            return _stay(options, target, relay.url)


def _stay(options: argparse.Namespace, target: Target, url: str) -> int:
    names = [network.network.name for network in target.networks]
    if options.json:
        sys.stdout.write(json.dumps({"url": url, "port": options.port, "networks": names}) + "\n")
    else:
        sys.stdout.write(
            f"{options.port} board with {', '.join(names)} on {url}\n"
            f"use it as --engine board:{url}; Ctrl-C ends it\n"
        )
    sys.stdout.flush()
    if target.emulator is not None:
        return target.emulator.wait()
    return 0


def ping(options: argparse.Namespace, target: Target) -> int:
    """Echo some bytes there and back."""
    if options.count < 1 or not 0 <= options.size <= 512:
        raise ConfigurationError("--count must be at least 1 and --size within 0 to 512")
    with target.connect() as board:
        times = []
        for index in range(options.count):
            data = bytes((index + k) % 256 for k in range(options.size))
            started = time.perf_counter()
            board.echo(data)
            times.append(1e3 * (time.perf_counter() - started))
        document = {
            "port": board.info.port,
            "count": options.count,
            "size": options.size,
            "min_ms": min(times),
            "p50_ms": statistics.median(times),
            "max_ms": max(times),
            "repeated": board.counts.channel.repeated,
        }
    if options.json:
        _print_json(document)
    else:
        sys.stdout.write(
            f"{document['port']}: {options.count} x {options.size} bytes there and back, "
            f"min {min(times):.3f} p50 {document['p50_ms']:.3f} max {max(times):.3f} ms, "
            f"{document['repeated']} repeated\n"
        )
    return 0


def info(options: argparse.Namespace, target: Target) -> int:
    """Say what the board is."""
    with target.connect() as board:
        about, status, counters = board.info, board.status(), board.counters()
        networks = board.networks
    if options.json:
        _print_json(
            {
                "info": {**asdict(about), "count_kind": about.count_kind.name.lower()},
                "status": asdict(status),
                "counters": counters,
                "networks": [
                    {k: v for k, v in _fields(n).items() if k != "scale"} for n in networks
                ],
            }
        )
        return 0
    lines = [
        f"{about.port} board, {about.build}, protocol {about.version}, boot {about.boot}",
        f"{about.slots} image slots of {about.slot_bytes} bytes, credit {about.credit} bytes, "
        f"payloads up to {about.payload_limit}",
        f"arena {status.arena_bytes} bytes, {status.needed_bytes} needed; counts "
        f"{about.count_kind.name.lower()}",
    ]
    if not networks:
        lines.append(f"no networks (gs_status {status.bundle_status}); write it a bundle")
    lines += [
        f"  {n.number} {n.name:<16} {n.width}x{n.height} -> {len(n.scale)}  {n.identity[:12]}  "
        f"arena {n.arena_bytes}"
        for n in networks
    ]
    loop = "not configured"
    if status.configured:
        loop = f"{_policy_name(status.policy)}, threshold {status.threshold:g}, "
        loop += f"{status.processed} frames" + (", streaming" if status.streaming else "")
    lines.append(f"adaptive loop: {loop}")
    lines.append(", ".join(f"{name} {value}" for name, value in counters.items() if value))
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def bench(options: argparse.Namespace, target: Target) -> int:
    """Measure the line."""
    if options.frames < 1 or min(options.baud) < 1:
        raise ConfigurationError("--frames and --baud must be positive")
    result = bench_board(target, tuple(options.baud), options.frames, options.runs)
    if options.json:
        _print_json(asdict(result))
    else:
        kind = "paced line" if result.lines[0].paced else "line"
        sys.stdout.write(f"{result.port} board, {result.network}, pipelined frames\n")
        for line in result.lines:
            verdict = "met" if line.met else "not met"
            sys.stdout.write(
                f"{kind} of {line.baud} baud: {line.frames_per_s:.2f} frames of "
                f"{line.frame_bytes} bytes/s, ratio {line.ratio:.4f} of the line "
                f"(at least {TARGET_RATIO:.2f}: {verdict}); single frame {line.single_ms:.1f} ms, "
                f"of it computing {line.compute_ms:.2f}; {line.repeated} repeated\n"
            )
    return 0 if all(line.met for line in result.lines) else 1


def rates(options: argparse.Namespace) -> int:
    """Compute what lines allow."""
    width, height = parse_size(options.size, "--size")
    if min(options.baud) < 1:
        raise ConfigurationError("--baud must be positive")
    computed = line_rates(width, height, tuple(options.baud), options.payload)
    if options.json:
        _print_json({"size": options.size, "lines": [asdict(line) for line in computed]})
        return 0
    sys.stdout.write(
        f"{options.size} pixels, {computed[0].line_bytes} bytes on the line, "
        f"{100 * computed[0].ratio:.1f} % of them pixels\n"
        f"{'baud':>9}  {'frames/s':>8}  {'ms a frame':>10}\n"
    )
    for line in computed:
        sys.stdout.write(f"{line.baud:>9}  {line.frames_per_s:>8.2f}  {line.frame_ms:>10.1f}\n")
    return 0


def run_soak(options: argparse.Namespace, target: Target) -> int:
    """Torment the line."""
    if options.frames < 1 or not 0 <= options.faults <= 1:
        raise ConfigurationError("--frames must be positive and --faults between 0 and 1")
    report = soak(target, options.frames, options.faults, options.seed, _progress(options.frames))
    if options.json:
        _print_json({**asdict(report), "passed": report.passed})
    else:
        faults = ", ".join(f"{name} {n}" for name, n in report.faults.items())
        sys.stdout.write(
            f"{report.port} board, {report.frames} frames, {sum(report.faults.values())} faults in "
            f"{report.line_frames} frames on the line ({faults})\n"
            f"wrong outputs accepted {report.wrong}, hangs {report.hangs} (longest call "
            f"{report.longest_s:.2f} s, time-out {report.timeout_s:g} s)\n"
            f"delivered {report.delivered}, lost {report.lost}, repeated {report.repeated}, "
            f"resets {report.resets}, reconnects {report.reconnects}\n"
            f"frames/s before {report.rate_before:.1f}, during {report.rate_during:.1f}, after "
            f"{report.rate_after:.1f} (recovery {report.recovery:.2f})\n"
            f"{'passed' if report.passed else 'FAILED'}\n"
        )
    return 0 if report.passed else 1


def configure(options: argparse.Namespace, target: Target) -> int:
    """Configure the loop, and listen to it if that was asked for."""
    record = read_ensemble(options.ensemble, options.zoo)
    policy = find_policy(options.policy)
    threshold = resolve_threshold(options.threshold, record, policy, wanted="--threshold")
    with target.connect() as board:
        by_identity = {n.identity: n.number for n in board.networks}
        local = {n.network.name: network_identity(pack_network(n)) for n in target.networks}
        numbers: dict[NetworkRole, int] = {}
        for role, reference in record.networks.items():
            number = by_identity.get(local[reference.name])
            if number is None:
                raise NetworkError(
                    f"the board has no {reference.name} of {record.name} "
                    f"({local[reference.name][:12]}); write it with `gearshift board bundle`"
                )
            numbers[role] = number
        tables = configure_board(
            record.calibration,
            policy,
            BoardNetworks(
                numbers[NetworkRole.SMALL],
                numbers[NetworkRole.LARGE],
                numbers.get(NetworkRole.AUX),
            ),
            threshold,
            PolicyOptions(max_gap_s=options.max_gap, per_second=options.per_second),
            combination=Combination(options.combination),
            filter_name=options.filter,
            deadline_ns=None if options.deadline is None else round(options.deadline * 1e6),
        ).pack()
        board.configure(tables)
        at = "" if threshold is None else f", threshold {threshold:g}"
        sys.stdout.write(
            f"{board.info.port} board: {record.name} {policy.name}{at}, {len(tables)} bytes\n"
        )
        for estimate in board.stream(options.stream) if options.stream else ():
            values = " ".join(f"{value:.3f}" for value in estimate.values)
            sys.stdout.write(
                f"{estimate.frame} {estimate.capture_time_ns / 1e9:.3f} s  {values}  "
                f"{_ran(estimate.ran)}  {REASONS[estimate.reason]}  signal {estimate.signal:.4g}  "
                f"{estimate.times_ns[3] / 1e6:.2f} ms\n"
            )
    return 0


def profile(options: argparse.Namespace, target: Target) -> int:
    """Write a profile, or counts."""
    if options.runs < 1:
        raise ConfigurationError("--runs must be at least 1")
    if options.instructions:
        # Counting every instruction, QEMU takes seconds for a large network.
        address = replace(target.address, timeout_s=max(target.address.timeout_s, ICOUNT_TIMEOUT_S))
        with replace(target, address=address).connect(repeats=False) as board:
            networks = count_networks(board, options.runs)
            policies = {}
            if options.policies is not None:
                if options.ensemble is None:
                    raise ConfigurationError("--policies needs --ensemble")
                record = read_ensemble(options.ensemble, options.zoo)
                images = _images(options.recording, options.frames)
                policies = count_policies(board, record, networks, images, options.policies)
            counts = board_count(board, networks, policies)
        if options.out is None:
            sys.stdout.write(count_json(counts))
        else:
            write_count(options.out, counts)
            _print_counts(counts)
        return 0
    if options.policies is not None:
        raise ConfigurationError("--policies is for --instructions")
    with target.connect() as board:
        measured = measure_board(board, options.runs, options.time)
    if options.out is None:
        _print_json({**asdict(measured), "kind": str(measured.kind)})
    else:
        write_profile(options.out, measured)
    return 0


def bundle(options: argparse.Namespace, networks: tuple[IntegerNetwork, ...]) -> int:
    """Write the networks of a board."""
    image = pack_bundle(networks).image
    write_whole(options.out, image)
    names = ", ".join(network.network.name for network in networks)
    sys.stdout.write(f"{options.out}: {names}, {len(image)} bytes\n")
    return 0


def camera_of(options: argparse.Namespace) -> bytes | None:
    """The frames of a recording for an emulated board's camera; None without one."""
    if options.camera is None:
        return None
    frames = [entry.frame for entry in RecordingReader(options.camera)]
    if len(frames) < 2:
        raise ConfigurationError(f"{options.camera} has no two frames to make a camera of")
    span_ns = frames[-1].capture_time_ns - frames[0].capture_time_ns
    period_us = max(1, round(span_ns / (len(frames) - 1) / 1000))
    return camera_file([frame.image for frame in frames], period_us)


def _images(recording: Path | None, frames: int) -> list[Image]:
    if recording is None:
        raise ConfigurationError("--policies needs --recording: choices hang on real frames")
    return [entry.frame.image for entry in islice(RecordingReader(recording), frames)]


def _progress(frames: int) -> Callable[[int], None] | None:
    """A line that tells how far it is, where somebody watches."""
    if not sys.stderr.isatty():
        return None

    def show(sent: int) -> None:
        sys.stderr.write(f"\r{sent}/{frames} frames")
        if sent >= frames:
            sys.stderr.write("\n")

    return show


def _print_counts(counts: BoardCount) -> None:
    for name, network in counts.networks.items():
        sys.stdout.write(
            f"{name:<24} {network.count:>14} {counts.kind} "
            f"({network.agreeing} of {network.runs} runs agree)\n"
        )
    for name, policy in counts.policies.items():
        sys.stdout.write(
            f"{name:<24} {policy.total:>14.0f} per frame, {policy.own:.0f} without networks, "
            f"large on {100 * policy.large_share:.0f} %\n"
        )


def _fields(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def _policy_name(code: int) -> str:
    return POLICIES[code] if code < len(POLICIES) else f"policy {code}"


def _ran(roles: int) -> str:
    return "+".join(role for bit, role in enumerate(NetworkRole) if roles >> bit & 1) or "none"


def _print_json(document: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(document, indent=1) + "\n")
