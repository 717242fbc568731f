"""Labels against what is really drawn: the figure's silhouette, and what hides the head."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("cv2", reason="synthetic flights need the extra 'sim'")
pytest.importorskip("embreex", reason="synthetic flights need the extra 'sim'")
pytest.importorskip("moderngl", reason="synthetic flights need the extra 'sim'")

from gearshift.runtime.errors import MissingExtraError
from gearshift.runtime.types import HeadGrid
from gearshift.sim.flights.drawing.camera_units import NOMINAL
from gearshift.sim.flights.drawing.himax import CAMERA, HEIGHT, SUPERSAMPLING, WIDTH, Himax, project
from gearshift.sim.flights.drawing.rendering import RenderingError
from gearshift.sim.flights.flight import FlightFrame, FlightMaker, FlightPlan, to_camera
from gearshift.sim.flights.people.makehuman import data_folder
from gearshift.sim.flights.places.baking import Tracer
from gearshift.sim.flights.shapes.geometry import rotation_z

pytestmark = pytest.mark.slow


try:
    data_folder()
except MissingExtraError as error:
    pytest.skip(str(error), allow_module_level=True)


@pytest.fixture(scope="module")
def maker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlightMaker]:
    try:
        maker = FlightMaker(tmp_path_factory.mktemp("rooms"))
    except RenderingError as error:
        pytest.skip(str(error))
    yield maker
    maker.close()


Sample = tuple[FlightFrame, np.ndarray]


@pytest.fixture(scope="module")
def samples(maker: FlightMaker) -> list[Sample]:
    """Frames with the figure's supersampled silhouette as the lens shows it."""
    out = []
    for split, index in itertools.product(("val", "train"), range(5)):
        plan = FlightPlan(split, 9000 + index, 6, 2)
        lens = Himax(np.random.default_rng(0), plan.board.camera)
        for item in maker.frames(plan):
            if item.posed is not None:
                attitude = item.state.attitude @ item.board.turn
                drawn = maker.renderer.draw_mask(item.state.drone, attitude, item.posed)
                out.append((item, lens.distort(drawn) > 0.5))
    return out


def borders(mask: np.ndarray) -> dict[str, float]:
    """Outermost edges of a supersampled mask, in pixels of the frame."""
    rows, columns = np.nonzero(mask)
    return {
        "top": rows.min() / SUPERSAMPLING - 0.5,
        "bottom": (rows.max() + 1) / SUPERSAMPLING - 0.5,
        "left": columns.min() / SUPERSAMPLING - 0.5,
        "right": (columns.max() + 1) / SUPERSAMPLING - 0.5,
    }


def test_projected_vertices_bound_the_drawn_silhouette(samples: list[Sample]) -> None:
    checked = {"val": 0, "train": 0}
    for item, mask in samples:
        assert item.posed is not None
        vertices = item.posed.vertices[item.posed.drawn].astype(np.float64)
        pixels = project(to_camera(vertices, item.state, item.board), item.board.camera)
        low, high = np.nanmin(pixels, axis=0), np.nanmax(pixels, axis=0)
        inside = low[0] > 1 and high[0] < WIDTH - 2 and low[1] > 1 and np.isfinite(pixels).all()
        if not inside:
            continue
        within = pixels[pixels[:, 1] < HEIGHT - 0.5]  # legs may be below the picture
        low[0], high[0] = within[:, 0].min(), within[:, 0].max()
        edges = borders(mask)
        # Half a supersampled pixel of rasterisation, and fingers thinner than one.
        assert edges["top"] == pytest.approx(low[1], abs=0.7)
        assert edges["left"] == pytest.approx(low[0], abs=1.2)
        assert edges["right"] == pytest.approx(high[0], abs=1.2)
        if high[1] < HEIGHT - 2:  # soles
            assert edges["bottom"] == pytest.approx(high[1], abs=0.7)
        checked[item.frame.source.split("-")[0]] += 1
    assert min(checked.values()) >= 3


def test_only_training_meets_other_boards(samples: list[Sample]) -> None:
    boards = {item.frame.source: item.board for item, _ in samples}
    for source, board in boards.items():
        assert (board == NOMINAL) == source.startswith("val")
    assert len(set(boards.values())) > 2
    assert all(item.frame.camera == item.board.camera for item, _ in samples)


def test_somebody_without_a_head_in_view_is_told_from_nobody(maker: FlightMaker) -> None:
    """Values without a visible head: part of a person is in the picture. NaN: nobody is."""
    seen = {"head": 0, "part": 0, "nobody": 0}
    for index in range(9000, 9040):
        plan = FlightPlan("val", index, 2, 1)
        lens = Himax(np.random.default_rng(0))
        for item in maker.frames(plan):
            if item.posed is None:
                assert math.isnan(item.truth.values[0])
                seen["nobody"] += 1
                continue
            drawn = maker.renderer.draw_mask(item.state.drone, item.state.attitude, item.posed)
            area = int((lens.distort(drawn) > 0.5).sum())
            if item.truth.visible:
                seen["head"] += 1
            elif math.isnan(item.truth.values[0]):
                assert area == 0
                seen["nobody"] += 1
            else:
                assert area > 0
                seen["part"] += 1
    assert min(seen.values()) >= 2
    assert seen["head"] > 40


def test_the_head_pixel_lies_on_the_silhouettes_head(samples: list[Sample]) -> None:
    visible = 0
    for item, mask in samples:
        truth = item.truth
        if truth.head_pixel is None:
            continue
        u, v = truth.head_pixel
        row, column = (int((c + 0.5) * SUPERSAMPLING) for c in (v, u))
        assert mask[row, column]
        # The crown is 0.12 m x stature / 1.72 above: nothing of the body may be much higher there.
        reach = 0.2 / max(truth.values[0], 0.3) * CAMERA.fx
        above = mask[: max(0, int((v - reach) * SUPERSAMPLING)), column]
        assert not above.any()
        assert truth.head_cell == HeadGrid().cell(u, v, WIDTH, HEIGHT)
        visible += 1
    assert visible >= 8


def test_truth_follows_the_conventions(samples: list[Sample]) -> None:
    for item, mask in samples:
        truth, state = item.truth, item.state
        if math.isnan(truth.values[0]):
            assert not mask.any()
            assert not truth.visible
            assert truth.head_cell == 48
            continue
        assert truth.visible == (truth.head_pixel is not None) == (truth.head_cell < 48)
        x, y, z, phi = truth.values
        head = state.drone + rotation_z(state.yaw) @ np.array([x, y, z])
        assert 1.2 < head[2] < 2.0  # somebody's head, standing on the floor
        assert np.linalg.norm(head[:2] - state.person) < 0.35
        assert phi == pytest.approx(
            math.remainder(state.heading - state.yaw + math.pi, 2 * math.pi), abs=1e-9
        )


def test_soles_stand_on_the_floor(samples: list[Sample]) -> None:
    for item, _ in samples:
        assert item.posed is not None
        assert item.posed.vertices[:, 2].min() == pytest.approx(0.0, abs=0.02)


def test_pictures_have_content(samples: list[Sample]) -> None:
    images = np.array([i.frame.image for i, _ in samples if i.board == NOMINAL])
    assert 80 < images.mean() < 150
    assert (images.std(axis=(1, 2)) > 8).all()


def test_a_wall_hides_what_is_behind_it() -> None:
    wall = np.array([[1.0, -1, 0], [1, 1, 0], [1, 1, 2], [1, -1, 2]])
    tracer = Tracer(wall, np.array([[0, 1, 2], [0, 2, 3]]))
    eye = np.tile([0.0, 0, 1], (3, 1))
    targets = np.array([[2.0, 0, 1], [0.8, 0, 1], [2, 0, 4]])
    assert tracer.blocked(eye, targets).tolist() == [True, False, False]


def test_drawing_before_loading_is_refused(maker: FlightMaker, tmp_path: Path) -> None:
    fresh = FlightMaker(tmp_path)
    with pytest.raises(RenderingError, match="load a scene"):
        fresh.renderer.draw(np.zeros(3), np.eye(3), None)
    fresh.close()
