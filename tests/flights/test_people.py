from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("cv2", reason="synthetic flights need the extra 'sim'")
pytest.importorskip("embreex", reason="synthetic flights need the extra 'sim'")

from gearshift.runtime.errors import MissingExtraError
from gearshift.sim.flights.people.gait import (
    GaitStyle,
    Stride,
    bone_matrices,
    draw_style,
    joint_rotations,
    skin,
)
from gearshift.sim.flights.people.makehuman import data_folder
from gearshift.sim.flights.people.people import bone, build_body, draw_person
from gearshift.sim.flights.people.wardrobe import Figure, draw_outfit, dress

try:
    data_folder()
except MissingExtraError as error:
    pytest.skip(str(error), allow_module_level=True)


def figure(seed: int) -> Figure:
    person = draw_person("person-test-000", seed)
    return dress(build_body(person), person, draw_outfit(person, seed))


@pytest.fixture(scope="module", params=range(4))
def dressed(request: pytest.FixtureRequest) -> Figure:
    return figure(request.param)


def test_a_body_has_its_persons_stature() -> None:
    person = draw_person("person-test-000", 3)
    body = build_body(person)
    heights = body.vertices[: body.eyes.start, 2]
    assert heights.min() == pytest.approx(0.0, abs=1e-9)
    assert heights.max() == pytest.approx(person.stature)
    assert 0.85 * person.stature < body.eye_height < 0.97 * person.stature
    assert body.joints[bone("hand_l"), 1] > 0 > body.joints[bone("hand_r"), 1]  # y is left


def test_a_dressed_figure_is_a_sound_mesh(dressed: Figure) -> None:
    count = len(dressed.vertices)
    assert dressed.faces.min() >= 0
    assert dressed.faces.max() < count
    assert np.isfinite(dressed.vertices).all()
    np.testing.assert_allclose(dressed.weights.sum(axis=1), 1, atol=1e-4)
    lengths = np.linalg.norm(dressed.normals[dressed.drawn], axis=1)
    assert (np.abs(lengths - 1) < 1e-3).mean() > 0.999  # poles of simple shapes may have none
    assert dressed.albedo.min() > 0
    assert dressed.albedo.max() < 0.9


def test_people_and_outfits_vary_and_repeat() -> None:
    people = [draw_person("p", seed) for seed in range(60)]
    assert 10 < sum(p.female for p in people) < 50
    assert np.ptp([p.stature for p in people]) > 0.25
    assert len({p.hair for p in people}) >= 6
    assert draw_person("p", 7) == people[7]
    outfits = [draw_outfit(people[0], seed) for seed in range(60)]
    assert len({o.top for o in outfits}) >= 5
    assert draw_outfit(people[0], 9) == outfits[9]


def test_the_identity_pose_leaves_the_rest_pose(dressed: Figure) -> None:
    matrices = bone_matrices({}, dressed.joints)
    vertices, normals = skin(dressed.vertices, dressed.normals, dressed.weights, matrices)
    np.testing.assert_allclose(vertices, dressed.vertices, atol=1e-5)
    np.testing.assert_allclose(normals, dressed.normals, atol=1e-5)


def test_walking_swings_legs_in_turn_and_keeps_bones_rigid(dressed: Figure) -> None:
    style = GaitStyle(0.3, 0.5, 0.2, 0.2, 0.0, 0.0, -0.03, 0.0, 1.0)
    left_ahead = []
    for phase in np.linspace(0, 1, 9)[:-1]:
        rotations = joint_rotations(style, Stride(float(phase), 1.0, 0.0, 0.0), dressed.joints)
        matrices = bone_matrices(rotations, dressed.joints)
        for matrix in matrices:
            np.testing.assert_allclose(matrix[:, :3] @ matrix[:, :3].T, np.eye(3), atol=1e-9)
        feet = [
            matrices[bone(name)] @ np.array([*dressed.joints[bone(name)], 1.0])
            for name in ("foot_l", "foot_r")
        ]
        left_ahead.append(feet[0][0] - feet[1][0])
    assert max(left_ahead) > 0.3  # m
    assert min(left_ahead) < -0.3
    assert left_ahead[0] == pytest.approx(-left_ahead[4], abs=0.02)


def test_arms_hang_beside_the_body_when_standing(dressed: Figure) -> None:
    style = draw_style(np.random.default_rng(2))
    rotations = joint_rotations(style, Stride(0.0, 0.0, 0.0, 0.0), dressed.joints)
    matrices = bone_matrices(rotations, dressed.joints)
    elbow = matrices[bone("lowerarm_l")] @ np.array([*dressed.joints[bone("lowerarm_l")], 1.0])
    shoulder = matrices[bone("upperarm_l")] @ np.array([*dressed.joints[bone("upperarm_l")], 1.0])
    assert elbow[2] < shoulder[2] - 0.1
    assert elbow[1] > 0.1
