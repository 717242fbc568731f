"""People: who they are (drawn from a seed) and the shape of their bodies.

A person keeps body, face, skin and hair between flights; clothes are drawn per flight (wardrobe).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gearshift.sim.flights.people.makehuman import (
    BODY,
    BONES,
    LEFT_EYE,
    RIGHT_EYE,
    SKIRT,
    base_mesh,
    detail_targets,
    target_rows,
)
from gearshift.sim.flights.shapes.geometry import Float64, Int32

HAIR_STYLES = (
    "buzz",
    "short",
    "crop",
    "afro",
    "bob",
    "long",
    "ponytail",
    "bun",
    "bald",
    "receding",
)


@dataclass(frozen=True, slots=True)
class Person:
    """What one person keeps from flight to flight.

    stature [m]; skin and hair_albedo in 0..1; blends are MakeHuman's macro parameters in 0..1.
    """

    name: str
    seed: int
    female: bool
    age: float
    muscle: float
    weight: float
    height_blend: float
    stature: float
    races: tuple[float, float, float]
    details: tuple[tuple[str, float], ...]
    skin: float
    hair: str
    hair_albedo: float
    hair_length: float
    beard: float
    glasses: bool


@dataclass(frozen=True, slots=True)
class Body:
    """A body in its rest pose: x forward, y left, z up [m], soles at z = 0.

    vertices: (n, 3): body, eyes and the skirt helper of the base mesh. faces: (m, 3) of body and
    eyes. skirt_faces: (k, 3). weights: (n, bones). joints: (bones, 3). stature [m].
    """

    vertices: Float64
    faces: Int32
    skirt_faces: Int32
    weights: Float64
    joints: Float64
    stature: float
    eyes: slice
    skirt: slice
    eye_height: float


def draw_person(name: str, seed: int) -> Person:
    """Draw a person; the same seed gives the same person."""
    rng = np.random.default_rng([seed, 0x9E50])
    female = bool(rng.random() < 0.42)
    age = float(np.clip(rng.beta(1.3, 2.2), 0, 1))
    races = rng.dirichlet([0.7, 0.7, 0.7])
    mean, spread = (1.655, 0.065) if female else (1.775, 0.075)
    stature = float(np.clip(rng.normal(mean, spread), 1.48, 2.0))
    names = detail_targets()
    details = tuple(
        (names[int(k)], float(rng.uniform(0.15, 0.75)))
        for k in rng.choice(len(names), 14, replace=False)
    )
    darkness = races[0]  # african share first
    skin = float(np.clip(np.exp(rng.normal(np.log(0.25 - 0.17 * darkness), 0.16)), 0.05, 0.36))
    if female:
        hair = rng.choice(HAIR_STYLES, p=[0.02, 0.1, 0.05, 0.06, 0.2, 0.27, 0.17, 0.12, 0.0, 0.01])
    else:
        hair = rng.choice(
            HAIR_STYLES, p=[0.18, 0.33, 0.15, 0.06, 0.02, 0.04, 0.02, 0.02, 0.08, 0.10]
        )
    grey = rng.random() < 0.1 + 0.5 * age**2
    blond = rng.random() < 0.25 * (1 - darkness)
    hair_albedo = rng.uniform(0.1, 0.34) if grey or blond else rng.uniform(0.015, 0.08)
    beard = 0.0 if female or rng.random() < 0.45 else float(rng.uniform(0.2, 1.0))
    return Person(
        name=name,
        seed=seed,
        female=female,
        age=age,
        muscle=float(rng.beta(2, 2.5)),
        weight=float(rng.beta(2, 2.2)),
        height_blend=float(np.clip((stature - mean) / 0.25, -0.5, 0.5)),
        stature=stature,
        races=(float(races[0]), float(races[1]), float(races[2])),
        details=details,
        skin=skin,
        hair=str(hair),
        hair_albedo=float(hair_albedo),
        hair_length=float(rng.uniform(0.6, 1.4)),
        beard=beard,
        glasses=bool(rng.random() < 0.25),
    )


def _blend(value: float, low: str, middle: str, high: str) -> list[tuple[str, float]]:
    """Piecewise-linear weights of three MakeHuman levels for `value` in 0..1."""
    if value < 0.5:
        return [(low, 1 - 2 * value), (middle, 2 * value)]
    return [(middle, 2 - 2 * value), (high, 2 * value - 1)]


def _macro_targets(person: Person) -> dict[str, float]:
    """Weights of the macro targets: race x sex x age, muscle x weight, and height."""
    sex = "female" if person.female else "male"
    ages = [("young", 1 - person.age), ("old", person.age)]
    targets: dict[str, float] = {}
    for age, age_weight in ages:
        for race, share in zip(("african", "asian", "caucasian"), person.races, strict=True):
            targets[f"macrodetails/{race}-{sex}-{age}"] = age_weight * share
        muscles = _blend(person.muscle, "minmuscle", "averagemuscle", "maxmuscle")
        builds = _blend(person.weight, "minweight", "averageweight", "maxweight")
        for muscle, muscle_weight in muscles:
            for build, build_weight in builds:
                share = age_weight * muscle_weight * build_weight
                targets[f"macrodetails/universal-{sex}-{age}-{muscle}-{build}"] = share
                end = "maxheight" if person.height_blend > 0 else "minheight"
                name = f"macrodetails/height/{sex}-{age}-{muscle}-{build}-{end}"
                targets[name] = share * abs(person.height_blend)
    return targets


def build_body(person: Person) -> Body:
    """Shape the base mesh into this person's body, scaled to the person's stature."""
    base = base_mesh()
    vertices = base.vertices.copy()
    for name, weight in (*_macro_targets(person).items(), *person.details):
        if weight > 0.02:
            moved, offsets = target_rows(name)
            vertices[moved] += weight * offsets
    vertices = vertices[:, [2, 0, 1]] * 0.1  # dm, y up, facing +z -> m, x forward, z up
    joints = np.stack([vertices[index].mean(axis=0) for index in base.joint_vertices])
    body = vertices[BODY]
    scale = person.stature / np.ptp(body[:, 2])
    floor = body[:, 2].min()
    keep = np.concatenate([np.arange(s.start, s.stop) for s in (BODY, LEFT_EYE, RIGHT_EYE, SKIRT)])
    new_index = np.full(len(vertices), -1, dtype=np.int32)
    new_index[keep] = np.arange(len(keep))
    n_body, n_eyes = BODY.stop, LEFT_EYE.stop - LEFT_EYE.start + RIGHT_EYE.stop - RIGHT_EYE.start

    def faces_within(*parts: slice) -> Int32:
        inside = np.zeros(len(vertices), dtype=bool)
        for part in parts:
            inside[part] = True
        quads = new_index[base.quads[inside[base.quads].all(axis=1)]]
        return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])

    shift = np.array([0.0, 0.0, floor])
    eyes = slice(n_body, n_body + n_eyes)
    placed = (vertices[keep] - shift) * scale
    return Body(
        vertices=placed,
        faces=faces_within(BODY, LEFT_EYE, RIGHT_EYE),
        skirt_faces=faces_within(SKIRT),
        weights=base.weights[keep],
        joints=(joints - shift) * scale,
        stature=person.stature,
        eyes=eyes,
        skirt=slice(eyes.stop, len(keep)),
        eye_height=float(placed[eyes, 2].mean()),
    )


def bone(name: str) -> int:
    """Index of a bone in `BONES`."""
    return BONES.index(name)
