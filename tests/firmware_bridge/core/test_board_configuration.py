"""Configurations of the adaptive loop: round trip; what was damaged or does not fit is refused."""

from __future__ import annotations

import dataclasses
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gearshift.firmware_bridge.board.board_configuration import (
    POLICIES,
    BoardConfiguration,
    BoardNetworks,
    configure_board,
    read_configuration,
)
from gearshift.firmware_bridge.board.network_image import MAX_OUTPUTS
from gearshift.runtime.decide.calibration import Calibration
from gearshift.runtime.decide.combination import Combination
from gearshift.runtime.decide.filters import FILTERS
from gearshift.runtime.decide.policy import PolicyOptions
from gearshift.runtime.decide.policy_registry import find_policy
from gearshift.runtime.errors import ConfigurationError
from gearshift.runtime.scheduling.scripted import GRID, Script, scripted_calibration

PHI = 1 << 3
"""The angular component of scripted networks."""


@st.composite
def configurations(draw: st.DrawFn) -> BoardConfiguration:
    calibration = dataclasses.replace(
        scripted_calibration(),
        parameters={
            "anchor.rate": (draw(st.floats(-9, 9)),),
            "anchor.alpha_small": tuple(range(4 * draw(st.integers(1, 5)))),
            "smooth.gamma": (0.25,),
        },
    )
    return configure_board(
        calibration,
        find_policy(draw(st.sampled_from(POLICIES))),
        BoardNetworks(draw(st.integers(0, 2)), draw(st.integers(0, 2)), draw(st.integers(0, 2))),
        draw(st.floats(allow_nan=False, width=32)),
        PolicyOptions(
            max_gap_s=draw(st.floats(0, width=32)),
            per_second=draw(st.booleans()),
            seed=draw(st.integers(0, 2**32 - 1)),
        ),
        combination=draw(st.sampled_from(tuple(Combination))),
        filter_name=draw(st.sampled_from(FILTERS)),
        deadline_ns=draw(st.none() | st.integers(0, 2**62)),
    )


def status_of(core: Any, content: bytes) -> int:
    """What the core answers to a configuration, for three scripted networks."""
    script = Script.random(1)
    zero = np.zeros(1, np.int64)
    status, _ = core.fly(
        content,
        script.times,
        [script.small, script.large, script.aux],
        [zero.astype(np.uint8)] * 3,
        [zero] * 3,
        angular=PHI,
    )
    return int(status)


def plain(policy: str = "op", **changes: Any) -> BoardConfiguration:
    networks = changes.pop("networks", BoardNetworks(0, 1, 2))
    calibration = changes.pop("calibration", scripted_calibration())
    return configure_board(calibration, find_policy(policy), networks, 0.5, **changes)


def signed(content: bytearray) -> bytes:
    struct.pack_into("<I", content, 8, zlib.crc32(content[12:]))
    return bytes(content)


@given(configurations())
def test_round_trip(configuration: BoardConfiguration) -> None:
    content = configuration.pack()
    again = read_configuration(content, "tables")
    for field in dataclasses.fields(BoardConfiguration):
        ours, theirs = getattr(configuration, field.name), getattr(again, field.name)
        if isinstance(ours, np.ndarray | float):
            assert np.array_equal(ours, theirs, equal_nan=True), field.name
        elif field.name == "gains":
            assert (ours is None) == (theirs is None)
        else:
            assert ours == theirs, field.name
    assert again.pack() == content


@settings(max_examples=200)
@given(data=st.data())
def test_damage_is_refused_by_both(core: Any, data: Any) -> None:
    content = bytearray(data.draw(configurations()).pack())
    if data.draw(st.booleans()):
        bit = data.draw(st.integers(0, 8 * len(content) - 1))
        content[bit // 8] ^= 1 << bit % 8
    else:
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    assert status_of(core, bytes(content)) != 0
    with pytest.raises(ConfigurationError) as error:
        read_configuration(bytes(content), "tables")
    assert "\n" not in str(error.value)


@pytest.mark.slow
@settings(max_examples=500)
@given(data=st.data())
def test_hostile_configurations_do_no_harm(core: Any, data: Any) -> None:
    """A header changed at will, checksum made good: refused, or flown within bounds."""
    content = bytearray(data.draw(configurations()).pack())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(12, 63))] = data.draw(st.integers(0, 255))
    assert core.status_text(status_of(core, signed(content))) != "unknown status"


@pytest.mark.parametrize(
    ("policy", "offset", "layout", "change"),
    [
        ("op", 14, "<B", (len(POLICIES), "outside its range")),
        ("op", 15, "<B", (2, "outside its range")),
        ("op", 16, "<B", (3, "outside its range")),
        ("op", 17, "<B", (3, "no such network")),
        ("aux-sm", 19, "<B", (255, "no such network")),
        ("op", 18, "<B", (2, "do not belong together")),
        ("op", 19, "<B", (0, "do not belong together")),
        ("op", 28, "<I", (0, "do not belong together")),
        ("op", 28, "<I", (1 << 4, "outside its range")),
        ("op", 32, "<f", (np.nan, "outside its range")),
        ("op", 36, "<f", (np.nan, "outside its range")),
        ("anchor", 48, "<f", (np.nan, "outside its range")),
        ("op", 12, "<H", (2, "unknown format version")),
    ],
)
def test_every_refusal_has_its_status(
    core: Any, policy: str, offset: int, layout: str, change: tuple[Any, str]
) -> None:
    content = bytearray(plain(policy).pack())
    assert status_of(core, bytes(content)) == 0
    struct.pack_into(layout, content, offset, change[0])
    assert change[1] in core.status_text(status_of(core, signed(content)))


REGRESSION, LOCALISER = 0, 1
HEIGHT, WIDTH, OUTPUTS, ANGULAR, KIND = range(5)


@pytest.mark.parametrize("role", [0, 1, 2])
@pytest.mark.parametrize(
    ("what", "value"),
    [(HEIGHT, 7), (HEIGHT, 9), (WIDTH, 7), (OUTPUTS, 1), (OUTPUTS, 3), (OUTPUTS, 5), (KIND, None)],
)
def test_engines_that_do_not_fit_are_refused(
    core: Any, role: int, what: int, value: int | None
) -> None:
    """Each in one respect, whichever of the three it is."""
    outputs = len(scripted_calibration().components)
    pose = (8, 8, outputs, PHI, REGRESSION)
    engines = [list(pose), list(pose), [8, 8, GRID.classes, 0, LOCALISER]]
    content = plain("aux-hlc").pack()
    assert core.configure(content, engines) == "ok"
    engines[role][what] = 1 - engines[role][KIND] if value is None else value
    assert "do not belong together" in core.configure(content, engines)


def test_angles_are_those_of_both_networks(core: Any) -> None:
    outputs = len(scripted_calibration().components)
    aux = [8, 8, GRID.classes, 0, LOCALISER]
    for role in (0, 1):
        engines = [*([8, 8, outputs, PHI, REGRESSION] for _ in range(2)), aux]
        assert core.configure(plain().pack(), engines) == "ok"
        engines[role][ANGULAR] = PHI >> 1
        assert "do not belong together" in core.configure(plain().pack(), engines)


def test_a_localisers_outputs_are_two_or_more_as_many_as_a_table_names_or_any(core: Any) -> None:
    """`plain("op")` has no table for a localiser's outputs."""
    outputs = len(scripted_calibration().components)
    pose = (8, 8, outputs, PHI, REGRESSION)
    bare = dataclasses.replace(scripted_calibration(), head_cell_gain=np.zeros(0, np.float32))
    content = plain("op", calibration=bare).pack()
    said = [
        core.configure(content, [pose, pose, (8, 8, classes, 0, LOCALISER)])
        for classes in (0, 1, 2, 64, MAX_OUTPUTS, MAX_OUTPUTS + 1)
    ]
    mismatch = "parts that do not belong together"
    assert said == [mismatch, mismatch, "ok", "ok", "ok", mismatch]


def test_a_network_that_is_not_there_is_no_network(core: Any) -> None:
    outputs = len(scripted_calibration().components)
    pose = (8, 8, outputs, PHI, REGRESSION)
    aux = (8, 8, GRID.classes, 0, LOCALISER)
    for numbers, there, answer in (
        (BoardNetworks(0, 1), [pose, pose], "ok"),
        (BoardNetworks(0, 1), [pose], "no such network"),
        (BoardNetworks(1, 0), [pose], "no such network"),
        (BoardNetworks(0, 1, 2), [pose, pose], "no such network"),
        (BoardNetworks(0, 1, 2), [pose, pose, aux], "ok"),
        (BoardNetworks(0, 0), [pose], "ok"),
    ):
        assert core.configure(plain(networks=numbers).pack(), there) == answer


def test_what_a_board_cannot_do_is_one_clear_line() -> None:
    calibration = scripted_calibration()
    bare = dataclasses.replace(calibration, head_cell_gain=np.zeros(0, np.float32))
    mine = dataclasses.replace(find_policy("op"), name="mine")
    wide = dataclasses.replace(
        calibration, parameters={"smooth.alpha_large": tuple(np.ones(4 * 300).tolist())}
    )
    refused: tuple[tuple[str, Callable[[], object]], ...] = (
        (
            "mine is not known to a board",
            lambda: configure_board(calibration, mine, BoardNetworks(0, 1)),
        ),
        ("oracle is not known", lambda: plain("oracle")),
        (
            "needs a threshold",
            lambda: configure_board(calibration, find_policy("op"), BoardNetworks(0, 1)),
        ),
        ("needs an auxiliary network", lambda: plain("aux-sm", networks=BoardNetworks(0, 1))),
        ("needs a calibration with head_cell_gain", lambda: plain("aux-hlc", calibration=bare)),
        ("0 seconds or more", lambda: plain(options=PolicyOptions(max_gap_s=np.nan))),
        ("unknown filter 'kalman'", lambda: plain(filter_name="kalman")),
        ("a board takes 4096", lambda: plain(calibration=wide, filter_name="smooth")),
        ("passed before it starts", lambda: plain(deadline_ns=-1)),
    )
    for message, make in refused:
        with pytest.raises(ConfigurationError, match=message) as error:
            make()
        assert "\n" not in str(error.value)


def test_an_uncalibrated_ensemble_flies_without_deviations(core: Any) -> None:
    components = scripted_calibration().components
    configuration = plain(calibration=Calibration.from_components(components))
    assert np.isnan(configuration.deviation_small).all()
    assert GRID.classes > 0
    assert status_of(core, configuration.pack()) == 0
    with pytest.raises(ConfigurationError, match="calibrate the ensemble"):
        plain(calibration=Calibration.from_components(components), combination=Combination.FUSION)


def test_a_refused_configuration_changes_nothing(core: Any) -> None:
    good, bad = plain("op").pack(), bytearray(plain("every").pack())
    struct.pack_into("<B", bad, 17, 9)
    statuses, held = core.misuse(good, signed(bad))
    assert statuses == [
        "not configured",
        "not configured",
        "ok",
        "a value outside its range",
        "no such network",
    ]
    assert held
    assert core.misuse(good, good) == ([*statuses[:4], "ok"], False)
