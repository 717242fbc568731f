from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearshift.runtime.errors import ConfigurationError

pytest.importorskip("moderngl", reason="synthetic flights need the extra 'sim'")
pytest.importorskip("embreex", reason="synthetic flights need the extra 'sim'")
pytest.importorskip("cv2", reason="synthetic flights need the extra 'sim'")

from gearshift.sim.flights.flight import POOL_PEOPLE, POOL_ROOMS, SPLITS, FlightPlan


def plans(split: str, count: int) -> list[FlightPlan]:
    return [FlightPlan(split, index, 50, 6) for index in range(count)]


def test_unseen_shares_no_room_and_no_person_with_training() -> None:
    seen = plans("train", 400) + plans("val", 104) + plans("known", 104)
    unseen = plans("unseen", 104)
    assert not {p.room_name for p in seen} & {p.room_name for p in unseen}
    assert not {p.person_name for p in seen} & {p.person_name for p in unseen}
    rooms = {p.identity_seed(p.room_name) for p in seen}
    people = {p.identity_seed(p.person_name) for p in seen}
    others = {p.identity_seed(p.room_name) for p in unseen} | {
        p.identity_seed(p.person_name) for p in unseen
    }
    assert not (rooms | people) & others
    assert not rooms & people


@pytest.mark.parametrize("split", SPLITS)
def test_pools_are_large_enough(split: str) -> None:
    pool = FlightPlan(split, 0, 1, 30).pool
    assert POOL_ROOMS[pool] >= (40 if pool == "train" else 24)
    assert POOL_PEOPLE[pool] >= (50 if pool == "train" else 24)


@pytest.mark.parametrize("split", SPLITS)
def test_every_block_of_flights_visits_every_room_and_person_once(split: str) -> None:
    pool = FlightPlan(split, 0, 1, 30).pool
    rooms, people = POOL_ROOMS[pool], POOL_PEOPLE[pool]
    assert len({p.room_name for p in plans(split, rooms)}) == rooms
    assert len({p.person_name for p in plans(split, people)}) == people


def test_names_say_what_they_are() -> None:
    plan = FlightPlan("known", 17, 64, 15)
    assert plan.file_name == "known-00017.mcap"
    assert plan.room_name.startswith("room-train-")
    assert plan.person_name.startswith("person-train-")
    assert FlightPlan("unseen", 3, 1, 30).room_name.startswith("room-unseen-")


@given(st.integers(0, 10_000), st.sampled_from(SPLITS), st.integers(0, 5))
def test_flights_differ_and_stay_the_same(index: int, split: str, seed: int) -> None:
    plan = FlightPlan(split, index, 10, 30, seed)
    assert plan.room_name == FlightPlan(split, index, 99, 6, seed).room_name
    assert plan.flight_seed != FlightPlan(split, index + 1, 10, 30, seed).flight_seed


@pytest.mark.parametrize(
    ("split", "index", "frames", "rate"),
    [("test", 0, 1, 30), ("train", 0, 1, 7), ("train", 0, 0, 30), ("train", -1, 1, 30)],
)
def test_impossible_plans_are_refused(split: str, index: int, frames: int, rate: int) -> None:
    with pytest.raises(ConfigurationError):
        FlightPlan(split, index, frames, rate)
