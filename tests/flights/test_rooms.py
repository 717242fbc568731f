from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("cv2", reason="synthetic flights need the extra 'sim'")
pytest.importorskip("embreex", reason="synthetic flights need the extra 'sim'")

from gearshift.sim.flights.places.baking import bake, baked
from gearshift.sim.flights.places.rooms import Room, draw_room
from gearshift.sim.flights.shapes.quads import DAYLIGHT
from gearshift.sim.flights.shapes.surfaces import SIZE, Layer, texture_stack


@pytest.fixture(scope="module")
def room() -> Room:
    return draw_room("room-test-000", 4)


@pytest.mark.parametrize("seed", range(16))
def test_rooms_are_sound(seed: int) -> None:
    room = draw_room("room-test", seed)
    mesh = room.mesh
    beyond = 25.0 if room.outdoors else np.array(room.half_size) + 0.6
    assert (np.abs(mesh.vertices[:, :2]) < beyond).all()
    assert mesh.faces.max() < len(mesh.vertices)
    np.testing.assert_allclose(np.linalg.norm(mesh.normals, axis=1), 1, atol=1e-9)
    assert mesh.albedo.min() > 0
    assert mesh.albedo.max() < 0.95
    assert any(light.group != DAYLIGHT for light in room.lights)
    for light in room.lights:
        inward = -light.centre if light.group == DAYLIGHT else np.array([0, 0, -1.0])
        assert light.normal[:2] @ inward[:2] > 0 or light.normal[2] < -0.99
    assert len(mesh.vertices) < 60_000


@pytest.mark.slow
def test_some_places_are_outdoors_and_many_rooms_show_pictures_of_people() -> None:
    rooms = [draw_room("room-test", seed) for seed in range(120)]
    assert 0.08 < np.mean([room.outdoors for room in rooms]) < 0.25
    layers = [set(room.mesh.texture[:, 2].astype(int).tolist()) for room in rooms]
    assert 0.3 < np.mean([bool(x & {Layer.STANDING, Layer.PORTRAIT}) for x in layers]) < 0.8
    for room, used in zip(rooms, layers, strict=True):
        assert (Layer.CLOUDS in used) == room.outdoors
        if room.outdoors:  # nobody walks or flies into what stands around
            solid = room.mesh.vertices[room.mesh.texture[:, 2] != Layer.FLOOR]
            solid = solid[(solid[:, 2] > 0.1) & (solid[:, 2] < room.height)]
            assert (np.abs(solid[:, :2]) > np.array(room.free)).any(axis=1).all()


@pytest.mark.slow
def test_pictures_of_people_show_people() -> None:
    pytest.importorskip("moderngl", reason="synthetic flights need the extra 'sim'")
    from gearshift.runtime.errors import MissingExtraError
    from gearshift.sim.flights.people.portraits import portraits

    try:
        pictures = portraits(5)
    except MissingExtraError as error:
        pytest.skip(str(error))
    assert set(pictures) == {Layer.STANDING, Layer.PORTRAIT}
    stack = texture_stack(1, 2, pictures)
    for layer, picture in pictures.items():
        assert picture.shape == (SIZE, SIZE)
        assert np.isfinite(picture).all()
        assert stack[layer].std() > 5  # a figure before its backdrop
        assert (stack[layer] != texture_stack(1, 2)[layer]).any()
    assert (portraits(5)[Layer.STANDING] != portraits(6)[Layer.STANDING]).any()


def test_the_shell_faces_the_room(room: Room) -> None:
    mesh = room.mesh
    shell = np.isin(mesh.texture[:, 2], [Layer.FLOOR, Layer.CEILING, Layer.WALL])
    middle = np.array([0, 0, room.height / 2])
    towards = middle - mesh.vertices[shell]
    assert ((towards * mesh.normals[shell]).sum(axis=1) > 0).all()


@pytest.mark.slow
def test_baked_light_is_sane_and_cached(room: Room, tmp_path: Path) -> None:
    light = bake(room)
    assert np.isfinite(light.direct).all()
    assert (light.direct >= 0).all()
    assert (light.indirect >= 0).all()
    used = sorted({x.group for x in room.lights})
    unused = [g for g in range(4) if g not in used]
    assert (light.direct[:, used].sum(axis=0) > 0).all()
    assert not light.direct[:, unused].any()
    stored = baked(room, tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    again = baked(room, tmp_path)
    np.testing.assert_array_equal(stored.direct, light.direct)
    np.testing.assert_array_equal(again.probes, light.probes)


def test_textures_are_reproducible_and_vary() -> None:
    stack = texture_stack(1, 2)
    assert stack.shape == (len(Layer), SIZE, SIZE)
    np.testing.assert_array_equal(stack, texture_stack(1, 2))
    other = texture_stack(3, 4)
    assert (stack[Layer.FLOOR] != other[Layer.FLOOR]).any()
    assert (stack[Layer.STRIPES] != other[Layer.STRIPES]).any()
    means = stack.mean(axis=(1, 2))
    assert (means[[Layer.PLAIN, Layer.WALL, Layer.FABRIC, Layer.SKIN]] > 100).all()
