from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearshift.runtime.decide import policies
from gearshift.runtime.decide.calibration import Calibration
from gearshift.runtime.decide.history import FlightHistory
from gearshift.runtime.decide.policy import (
    Action,
    Policy,
    PolicyOptions,
    Probe,
    weighted_distance,
)
from gearshift.runtime.decide.policy_registry import BUILT_IN, find_policy, policy, policy_names
from gearshift.runtime.errors import ConfigurationError
from gearshift.runtime.scheduling.policy_conformance import PolicyCheck, fly, policy_checks_for
from gearshift.runtime.scheduling.scheduler import Scheduler
from gearshift.runtime.scheduling.scripted import Script, scripted_calibration
from gearshift.runtime.types import FloatArray, NetworkRole

MINE = """
import numpy as np
from gearshift.runtime.decide.policy import weighted_distance
from gearshift.runtime.decide.policy_registry import policy

@policy(probe="small", uses_history=True)
def signal(context, calibration):
    '''Movement, squared.'''
    return np.square(weighted_distance(context.probe, context.accepted, calibration))

@policy(name="coin")
def toss(context, calibration):
    return np.asarray(context.index % 2, dtype=np.float32)

number = 3
"""

CASES = [
    (find_policy(name), check)
    for name in policy_names()
    for check in policy_checks_for(find_policy(name))
]


@pytest.mark.parametrize(
    ("subject", "check"), CASES, ids=lambda x: x.name if isinstance(x, Policy) else x.__name__
)
def test_conformance(subject: Policy, check: PolicyCheck) -> None:
    check(subject)


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    return path


@pytest.mark.parametrize("attribute", ["signal", "toss"])
def test_a_policy_from_a_file_conforms(mine: Path, attribute: str) -> None:
    subject = find_policy(f"{mine}:{attribute}")
    assert subject.name == {"signal": "signal", "toss": "coin"}[attribute]
    for check in policy_checks_for(subject):
        check(subject)


def test_a_plain_function_becomes_a_policy(mine: Path) -> None:
    subject = find_policy(f"{mine}:signal")
    assert (subject.probe, subject.summary) == (Probe.SMALL, "Movement, squared.")
    assert not subject.portable
    with pytest.raises(ConfigurationError, match="there are none, small, aux"):
        policy(probe="medium")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("opp", "did you mean 'op'"),
        ("always-smal", "did you mean 'always-small'"),
        ("xyzzy", "there are op, op-ahead"),
        ("{mine}:nothing", "its policies are: signal, toss"),
        ("{mine}:number", "is no policy but int"),
        ("nowhere.py:signal", "no policy file"),
        ("{broken}:signal", "broken.py cannot be loaded: SyntaxError"),
    ],
)
def test_unknown_policies_are_one_clear_line(mine: Path, name: str, message: str) -> None:
    broken = mine.with_name("broken.py")
    broken.write_text("def :\n")
    with pytest.raises(ConfigurationError, match=message) as error:
        find_policy(name.format(mine=mine, broken=broken))
    assert "\n" not in str(error.value)


def test_a_signal_that_is_not_pure_fails_conformance() -> None:
    calls = [0]

    @policy()
    def impure(context: object, calibration: Calibration) -> FloatArray:
        calls[0] += 1
        return np.asarray(calls[0], dtype=np.float32)

    failed = []
    for check in policy_checks_for(impure):
        try:
            check(impure)
        except AssertionError:
            failed.append(check.__name__)
    assert {"is_deterministic", "resets", "is_the_same_swept"} <= set(failed)


def context_of(
    accepted: list[list[float]], probe: list[float], step_ns: int = 100_000_000
) -> tuple[FlightHistory, FloatArray]:
    history = FlightHistory(4, PolicyOptions())
    for i, values in enumerate(accepted):
        array = np.array(values, dtype=np.float32)
        history.update(
            i * step_ns, values=array, answered_large=i == 0, small=array, both_ran=i == 0
        )
    return history, np.array(probe, dtype=np.float32)


def test_op_is_the_weighted_distance_to_the_last_accepted_output() -> None:
    calibration = dataclasses.replace(
        scripted_calibration(), weights=np.array([1, 2, 4, 0.5], dtype=np.float32)
    )
    history, probe = context_of([[9, 9, 9, 9], [1, 1, 1, 3]], [1.5, 1, 0.5, -3])
    context = history.look(200_000_000, probe)
    wrapped = 2 * np.pi - 6
    expected = 0.5 + 0 + 2 + 0.5 * wrapped
    op = policies.op_signal(calibration, PolicyOptions())
    assert float(op(context)) == pytest.approx(expected, rel=1e-6)
    assert op(context) == weighted_distance(context.probe, context.accepted, calibration)
    fast = policies.op_signal(calibration, PolicyOptions(per_second=True))
    assert float(fast(context)) == pytest.approx(expected / 0.1, rel=1e-6)


def test_op_ahead_compares_the_last_two_accepted_outputs() -> None:
    history, probe = context_of([[9, 9, 9, 9], [1, 1, 1, 1], [1, 3, 1, 1]], [7, 7, 7, 7])
    context = history.look(250_000_000, probe)
    ahead = policies.op_ahead_signal(scripted_calibration(), PolicyOptions())
    assert float(ahead(context)) == pytest.approx(2)
    fast = policies.op_ahead_signal(scripted_calibration(), PolicyOptions(per_second=True))
    assert float(fast(context)) == pytest.approx(20)


def test_anchor_measures_how_stale_the_bias_is() -> None:
    calibration = dataclasses.replace(scripted_calibration(), parameters={"anchor.rate": (2.0,)})
    history, probe = context_of([[1, 1, 1, 1], [5, 5, 5, 5]], [1, 1, 1.5, 1])
    context = history.look(200_000_000, probe)
    signal = policies.anchor_signal(calibration, PolicyOptions())
    assert float(signal(context)) == pytest.approx(0.5 + 2 * 0.2)


def test_the_head_cell_picks_the_table_entry() -> None:
    calibration = scripted_calibration()
    history, probe = context_of([[0, 0, 0, 0]], [0.0] * 49)
    probe[[17, 30]] = 5.0
    signal = policies.aux_hlc_signal(calibration, PolicyOptions())
    assert signal(history.look(0, probe)) == calibration.head_cell_gain[17]
    with pytest.raises(ConfigurationError, match="head_cell_gain"):
        policies.aux_hlc_signal(
            dataclasses.replace(calibration, head_cell_gain=np.zeros(0, dtype=np.float32)),
            PolicyOptions(),
        )


@pytest.mark.parametrize("name", ["every", "hold"])
@given(n=st.integers(1, 7))
def test_counters_run_large_on_every_nth_frame(name: str, n: int) -> None:
    script = Script.random(30)
    estimates = fly(Scheduler(script.ensemble(), find_policy(name), n - 1), script)
    large = [i for i, e in enumerate(estimates) if e.answered is NetworkRole.LARGE]
    assert large == list(range(0, 30, n))


def test_chance_runs_small_on_the_share_that_the_threshold_says() -> None:
    script = Script.random(3000)
    for seed in (0, 1):
        scheduler = Scheduler(script.ensemble(), policies.RANDOM, 0.3, PolicyOptions(seed=seed))
        small = [e.answered is NetworkRole.SMALL for e in fly(scheduler, script)]
        assert np.mean(small) == pytest.approx(0.3, abs=0.03)


def test_the_built_in_table_is_true_to_the_names() -> None:
    for name in BUILT_IN:
        assert find_policy(name).name == name
    assert set(BUILT_IN) <= set(policy_names())


def test_the_margin_of_the_two_best_cells_is_turned_round() -> None:
    history, probe = context_of([[0, 0, 0, 0]], [0.0] * 49)
    probe[:] = -40
    probe[[5, 7]] = math.log(3), 0.0
    signal = policies.aux_sm_signal(scripted_calibration(), PolicyOptions())
    # Probabilities of 3/4 and 1/4.
    assert float(signal(history.look(0, probe))) == pytest.approx(0.5, rel=1e-5)


def test_signals_of_an_auxiliary_network_are_taken_row_by_row() -> None:
    calibration = scripted_calibration()
    history, probe = context_of([[0, 0, 0, 0]], [0.0] * 49)
    rows = np.stack([probe, probe])
    rows[0, 17] = rows[1, 30] = 5.0
    cells = policies.aux_hlc_signal(calibration, PolicyOptions())(history.look(0, rows))
    assert cells.tolist() == calibration.head_cell_gain[[17, 30]].tolist()
    margins = policies.aux_sm_signal(calibration, PolicyOptions())(history.look(0, rows))
    assert margins.shape == (2,)


def test_the_rate_of_anchor_is_one_per_second_unless_calibrated() -> None:
    history, probe = context_of([[1, 1, 1, 1], [5, 5, 5, 5]], [1, 1, 1.5, 1])
    context = history.look(200_000_000, probe)
    calibration = dataclasses.replace(scripted_calibration(), parameters={})
    signal = policies.anchor_signal(calibration, PolicyOptions())
    assert float(signal(context)) == pytest.approx(0.5 + 0.2)
    for wrong in ((), (1.0, 2.0), (math.nan,), (math.inf,), (math.inf, 1.0)):
        calibration = dataclasses.replace(calibration, parameters={"anchor.rate": wrong})
        with pytest.raises(
            ConfigurationError, match=r"^parameter anchor\.rate needs one finite value$"
        ):
            policies.anchor_signal(calibration, PolicyOptions())


def test_a_table_without_cells_is_refused_in_words() -> None:
    calibration = dataclasses.replace(
        scripted_calibration(), head_cell_gain=np.zeros(0, dtype=np.float32)
    )
    message = r"^policy aux-hlc needs a calibration with head_cell_gain$"
    with pytest.raises(ConfigurationError, match=message):
        policies.aux_hlc_signal(calibration, PolicyOptions())


def test_two_frames_at_one_time_are_a_microsecond_apart() -> None:
    history, probe = context_of([[1, 1, 1, 1], [1, 2, 1, 1]], [1, 2, 1.5, 1], step_ns=0)
    context = history.look(0, probe)
    assert (float(context.age), float(context.interval)) == (0, 0)
    options = PolicyOptions(per_second=True)
    calibration = scripted_calibration()
    assert float(policies.op_signal(calibration, options)(context)) == pytest.approx(0.5e6)
    assert float(policies.op_ahead_signal(calibration, options)(context)) == pytest.approx(1e6)


@pytest.mark.parametrize(
    ("name", "probe", "when_easy", "uses_history", "filter_name"),
    [
        ("op", Probe.SMALL, Action.SMALL, True, "none"),
        ("op-ahead", Probe.NONE, Action.SMALL, True, "none"),
        ("aux-sm", Probe.AUX, Action.SMALL, False, "none"),
        ("aux-hlc", Probe.AUX, Action.SMALL, False, "none"),
        ("random", Probe.NONE, Action.SMALL, False, "none"),
        ("every", Probe.NONE, Action.SMALL, False, "none"),
        ("hold", Probe.NONE, Action.HOLD, False, "none"),
        ("always-small", Probe.NONE, Action.SMALL, False, "none"),
        ("always-large", Probe.NONE, Action.LARGE, False, "none"),
        ("anchor", Probe.SMALL, Action.SMALL, True, "anchor"),
    ],
)
def test_what_a_policy_is_made_of(
    name: str, probe: Probe, when_easy: Action, uses_history: bool, filter_name: str
) -> None:
    found = find_policy(name)
    assert (found.probe, found.when_easy, found.uses_history) == (probe, when_easy, uses_history)
    assert found.filter_name == filter_name
    assert found.portable
    assert not found.replay_only
    assert (found.signal is None) == name.startswith("always")


def test_options_have_their_documented_defaults() -> None:
    assert PolicyOptions() == PolicyOptions(max_gap_s=0.5, per_second=False, seed=0)
