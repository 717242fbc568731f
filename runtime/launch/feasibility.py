"""Whether a flight can hold its frame rate and its links, by arithmetic, before it begins."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gearshift.runtime.decide.policy import Action, Policy, Probe
from gearshift.runtime.ensembles.ensemble_records import read_ensemble
from gearshift.runtime.ensembles.loading import is_ensemble_file, load_ensemble
from gearshift.runtime.ensembles.profile import Profile, find_profile, read_profile
from gearshift.runtime.errors import ConfigurationError, TraceError
from gearshift.runtime.launch.configuration import FlightConfig
from gearshift.runtime.launch.setup import engine_key, flown_policy, flown_source
from gearshift.runtime.types import NetworkRole

BITS_PER_BYTE = 10
"""On a serial line: start bit, eight of data, stop bit."""
FRAME_BYTES = 160 * 96
"""What goes to a board for one run of one network, without framing."""

Roles = tuple[NetworkRole, ...]


def check_flight(config: FlightConfig) -> list[str]:
    """What may go wrong, one line each.

    Raises ConfigurationError for a policy or source that cannot fly and, with the arithmetic, for
    what cannot work: networks that take longer than a frame even when every frame is easy, a link
    that cannot carry the frames.
    """
    policy = flown_policy(config)
    flown_source(config)
    return [*_over_links(config, policy), *_by_profile(config, policy)]


def networks_per_frame(policy: Policy) -> tuple[Roles, Roles]:
    """The networks that run on an easy and on a hard frame."""
    probe: Roles = () if policy.probe is Probe.NONE else (NetworkRole(policy.probe.value),)
    answer = {
        Action.SMALL: (NetworkRole.SMALL,),
        Action.LARGE: (NetworkRole.LARGE,),
        Action.HOLD: (),
    }[policy.when_easy]
    easy = _once((*probe, *answer))
    hard = easy if policy.signal is None else _once((*probe, NetworkRole.LARGE))
    return easy, hard


def network_names(config: FlightConfig) -> dict[NetworkRole, str]:
    """The ensemble's networks; raises ConfigurationError and NetworkError."""
    name = config.sections.ensemble.name
    if is_ensemble_file(name):
        ensemble = load_ensemble(name)
        references = ensemble.networks
        ensemble.close()
    else:
        references = read_ensemble(name).networks
    return {role: reference.name for role, reference in references.items()}


def _over_links(config: FlightConfig, policy: Policy) -> Iterator[str]:
    """Networks behind a serial line, whose speed is part of the engine's argument."""
    ensemble = config.sections.ensemble
    bauds: dict[NetworkRole, int] = {}
    for role in NetworkRole:
        found = re.search(r"\bbaud=(\d+)", ensemble.engine_of(role) or "")
        if found is not None and int(found[1]) > 0:
            bauds[role] = int(found[1])
    rate_hz = _rate(config)
    easy, hard = networks_per_frame(policy)
    for roles, frames in ((easy, "every frame"), (hard, "hard frames")):
        on_board = [role for role in roles if role in bauds]
        if not on_board:
            continue
        seconds = sum(FRAME_BYTES * BITS_PER_BYTE / bauds[role] for role in on_board)
        names = " and ".join(on_board)
        baud = min(bauds[role] for role in on_board)
        sum_up = (
            f"{len(on_board)} x {FRAME_BYTES} bytes x {BITS_PER_BYTE} bits / {baud} baud = "
            f"{seconds * 1e3:.0f} ms on {frames} for {names}"
        )
        if rate_hz is None:
            yield f"the line allows at most {1 / seconds:.1f} Hz: {sum_up}"
        elif seconds <= 1 / rate_hz:
            continue
        elif roles is easy:
            needed = len(on_board) * FRAME_BYTES * BITS_PER_BYTE * rate_hz
            raise config.document.error(
                engine_key(config, on_board[0]),
                f"the line cannot carry {rate_hz:g} Hz, {1e3 / rate_hz:.1f} ms a frame: {sum_up}; "
                f"it needs {needed / 1e6:.1f} Mbaud, a lower limits.rate_hz, "
                "or another engine",
            )
        else:
            yield f"frames will be missed at {rate_hz:g} Hz: {sum_up}"


def _by_profile(config: FlightConfig, policy: Policy) -> Iterator[str]:
    """Networks whose time on this device is known."""
    limits = config.sections.limits
    if limits.profile is None:
        return
    try:
        profile = read_profile(find_profile(limits.profile))
        names = network_names(config)
        times = {role: profile.latency_ms(name) for role, name in names.items()}
    except (ConfigurationError, TraceError) as error:
        raise config.document.error(("limits", "profile"), str(error)) from error
    easy, hard = (
        sum(times[role] for role in roles if role in times) for roles in networks_per_frame(policy)
    )
    easy_text, hard_text = (
        _sum(profile, names, times, roles) for roles in networks_per_frame(policy)
    )
    rate_hz = _rate(config)
    if rate_hz is not None:
        period = 1e3 / rate_hz
        if easy > period:
            raise config.document.error(
                ("limits", "rate_hz"),
                f"{rate_hz:g} Hz leaves {period:.1f} ms a frame, but even easy ones take "
                f"{easy_text}; {1e3 / easy:.1f} Hz is the most",
            )
        if hard > period:
            yield (
                f"{rate_hz:g} Hz leaves {period:.1f} ms a frame, hard ones take {hard_text}: "
                "frames will be missed while it is hard"
            )
    deadline = limits.deadline_ms or None
    if deadline is not None and easy > deadline:
        raise config.document.error(
            ("limits", "deadline_ms"),
            f"the deadline is {deadline:g} ms, but even easy frames take {easy_text}",
        )
    if deadline is not None and hard > deadline:
        yield (
            f"the deadline is {deadline:g} ms, hard frames take {hard_text}: "
            "large will be skipped most of the time"
        )
    budget = config.budget
    if budget is not None and budget.mean_latency_ms is not None:
        wanted = budget.mean_latency_ms
        if not easy <= wanted <= hard:
            yield (
                f"a mean of {wanted:g} ms is out of reach: easy frames take {easy_text}, "
                f"hard ones {hard_text}"
            )


def _rate(config: FlightConfig) -> float | None:
    """The frame rate that has to be held, where it is known before the source is opened."""
    rate = config.sections.limits.rate_hz or getattr(config.source.options, "rate_hz", None)
    return rate if isinstance(rate, int | float) else None


def _sum(
    profile: Profile,
    names: dict[NetworkRole, str],
    times: dict[NetworkRole, float],
    roles: Roles,
) -> str:
    """`2.1 ms (F1) + 40.2 ms (M1.0) = 42.3 ms, measured on Raspberry Pi 4`."""
    terms = [f"{times[role]:.2f} ms ({names[role]})" for role in roles if role in times]
    total = sum(times[role] for role in roles if role in times)
    text = " + ".join(terms) + (f" = {total:.2f} ms" if len(terms) > 1 else "")
    return f"{text or 'nothing'}, {profile.kind} on {profile.device}"


def _once(roles: Roles) -> Roles:
    return tuple(dict.fromkeys(roles))
