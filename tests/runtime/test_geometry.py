"""One scene through two lenses: the same picture, and the same pose from a real network."""

from __future__ import annotations

import logging
import sys
import tracemalloc
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
from numpy.typing import NDArray

from gearshift.runtime.cameras.lens import Points, rays_of_pixels
from gearshift.runtime.cameras.rectifier import (
    Rectifier,
    View,
    coverage,
    make_rectifier,
    network_view,
)
from gearshift.runtime.engines.engine_registry import load_engine
from gearshift.runtime.errors import ConfigurationError, FrameError
from gearshift.runtime.scheduling.scripted import scripted_network
from gearshift.runtime.types import POSE_COMPONENTS, Camera, Image

from .lenses import FISHEYE, NETWORK, RATIONAL, WEBCAM, picture, pixel_grid

VIEW = View(160, 96, NETWORK)


def scene(rays: Points) -> NDArray[np.float64]:
    """Smooth waves and a few edges, in every direction."""
    x, y = rays[..., 0], rays[..., 1]
    waves = 128 + 50 * np.sin(9 * x + 2 * y) + 40 * np.cos(11 * y - 3 * x * x)
    edged: NDArray[np.float64] = waves + 30.0 * (np.hypot(x - 0.1, y + 0.05) < 0.2)
    return edged


def stripes(rays: Points) -> NDArray[np.float64]:
    """Finer than the networks' camera can show: a ray's pixel has 130 steps to the unit."""
    fine = ((rays[..., 0] * 400) % 2 < 1).astype(np.float64)
    return 255.0 * fine


@pytest.mark.slow
@pytest.mark.parametrize("camera", [WEBCAM, FISHEYE, RATIONAL], ids=lambda camera: camera.name)
def test_two_lenses_show_the_same_picture(camera: Camera) -> None:
    pytest.importorskip("cv2")
    rectifier = Rectifier(camera, (camera.width, camera.height), VIEW)
    assert rectifier.missing == 0
    assert rectifier.warnings == ()
    seen = rectifier.apply(picture(camera, scene)).astype(int)
    expected = picture(NETWORK, scene, samples=6).astype(int)
    difference = np.abs(seen - expected)
    # Edges are one pixel wide and may fall a tenth of a pixel apart.
    assert difference.mean() < 0.7
    assert np.percentile(difference, 98) <= 3
    without = Rectifier(None, (camera.width, camera.height), VIEW)
    assert np.abs(without.apply(picture(camera, scene)).astype(int) - expected).mean() > 10


@pytest.mark.parametrize("factor", [1, 2, 3, 4])
def test_detail_too_fine_becomes_grey_not_stripes(factor: int) -> None:
    """Sampling one pixel in `factor` would show stripes that are not there."""
    pytest.importorskip("cv2")
    size = (160 * factor, 96 * factor)
    fine = replace(
        NETWORK,
        width=size[0],
        height=size[1],
        fx=NETWORK.fx * factor,
        fy=NETWORK.fy * factor,
        cx=(size[0] - 1) / 2,
        cy=(size[1] - 1) / 2,
        distortion=(),
    )
    seen = Rectifier(fine, size, VIEW).apply(picture(fine, stripes, samples=3))
    direct = picture(NETWORK, stripes, samples=6)
    assert seen[20:-20, 20:-20].std() < direct[20:-20, 20:-20].std() + 4


SLOPE = 2
"""Grey levels per source pixel: half a pixel is one level, and every pixel's value is whole."""
TARGET = Camera("target", 160, 96, 129.0, 129.0, 79.5, 47.5)


def ramp(size: tuple[int, int], axis: int, middle: int, slope: int) -> Image:
    """Brightness that changes along u (axis 0) or v (axis 1) around a pixel, as far as bytes go."""
    along = np.arange(size[axis]) - middle
    values = np.clip(128 + slope * along, 0, 255).astype(np.uint8)
    shape = (size[1], size[0])
    return np.ascontiguousarray(
        np.broadcast_to(values if axis == 0 else values[:, None], shape), dtype=np.uint8
    )


def shift_on_ramps(rectifier: Rectifier, axis: int, where: NDArray[np.float64]) -> float:
    """How far off, in source pixels, a rectifier samples; where: it should, by target pixel.

    An average over a straight ramp is the ramp's value in the middle, so that anti-aliasing changes
    nothing. What rounding adds is the same on rising and falling ramps, a shift is not. Asserts
    that no pixel is off by more than rounding in three steps makes of it.
    """
    shifts = []
    for middle in range(70, rectifier.size[axis] - 70, 60):
        known = np.abs(where - middle) < 50  # the rest is where bytes end
        for slope in (SLOPE, -SLOPE):
            seen = rectifier.apply(ramp(rectifier.size, axis, middle, slope)).astype(float)
            line = seen[seen.shape[0] // 2] if axis == 0 else seen[:, seen.shape[1] // 2]
            off = (line - (128 + slope * (where - middle)))[known]
            assert np.abs(off).max(initial=0) < 1.6
            shifts.append(off / slope)
    shift = np.concatenate(shifts)
    assert shift.size > 60
    return float(shift.mean())


@pytest.mark.parametrize("axis", [0, 1], ids=["along", "down"])
@pytest.mark.parametrize("scale", [1.017, 1.213, 1.317, 2.023, 3.017, 4.023, 5.017, 6.571])
def test_pixels_are_sampled_at_their_centres(scale: float, axis: int) -> None:
    """Against the pinhole's formula, for each way of shrinking.

    No scale is round, so that rounding to whole levels falls to either side equally often.
    """
    pytest.importorskip("cv2")
    # Sizes that no step divides evenly.
    width, height = int(160 * scale) + 41, int(96 * scale) + 83
    cx, cy = (width - 1) / 2 + 3.3, (height - 1) / 2 - 2.6
    source = Camera("source", width, height, 129.0 * scale, 129.0 * scale, cx, cy)
    rectifier = Rectifier(source, (width, height), View(160, 96, TARGET))
    assert rectifier.missing == 0
    u = (np.arange(160) - TARGET.cx) * scale + cx
    v = (np.arange(96) - TARGET.cy) * scale + cy
    assert abs(shift_on_ramps(rectifier, axis, (u, v)[axis].astype(np.float64))) < 0.06


@pytest.mark.parametrize("axis", [0, 1], ids=["along", "down"])
@pytest.mark.parametrize(
    ("size", "taken"),
    [((640, 480), (640, 384)), ((1003, 400), (667, 400)), ((325, 601), (325, 195))],
)
def test_the_middle_of_an_unknown_camera_is_sampled_at_its_pixels_centres(
    size: tuple[int, int], taken: tuple[int, int], axis: int
) -> None:
    pytest.importorskip("cv2")
    rectifier = Rectifier(None, size, VIEW)
    begin, count = (size[axis] - taken[axis]) // 2, (160, 96)[axis]
    where = (np.arange(count) + 0.5) * taken[axis] / count - 0.5 + begin
    assert abs(shift_on_ramps(rectifier, axis, where)) < 0.06


def test_equal_cameras_pass_through_without_opencv() -> None:
    with mock.patch.dict(sys.modules, {"cv2": None}):
        rectifier = Rectifier(replace(NETWORK, name="other"), (160, 96), VIEW)
        image = picture(NETWORK, scene, samples=1)
        assert rectifier.passes_through
        assert rectifier.apply(image) is image
        # The same lens written with more numbers is the same lens.
        more = replace(NETWORK, distortion=(*NETWORK.distortion, 0.0, 0.0, 0.0, 0.0))
        assert Rectifier(more, (160, 96), VIEW).passes_through
    pytest.importorskip("cv2")
    assert not Rectifier(replace(NETWORK, fx=131.0), (160, 96), VIEW).passes_through
    fisheye = replace(NETWORK, distortion=(), fisheye=True)
    assert not Rectifier(fisheye, (160, 96), VIEW).passes_through


def test_a_frame_takes_no_new_memory() -> None:
    pytest.importorskip("cv2")
    image = picture(WEBCAM, scene, samples=1)
    out = np.empty((96, 160), np.uint8)
    for rectifier in (Rectifier(WEBCAM, (640, 480), VIEW), Rectifier(None, (640, 480), VIEW)):
        assert rectifier.apply(image, out) is out
        first = out.copy()
        out[:] = 0
        tracemalloc.start()
        try:
            rectifier.apply(image, out)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 4000
        assert np.array_equal(out, first)


def test_a_narrow_lens_is_filled_with_its_border_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pytest.importorskip("cv2")
    narrow = Camera("tele", 640, 480, 700.0, 700.0, 319.5, 239.5)
    with caplog.at_level(logging.WARNING):
        rectifier = make_rectifier(narrow, (640, 480), VIEW)
    assert "'tele' does not show" in caplog.text
    inside = np.abs(rays_of_pixels(NETWORK, pixel_grid(NETWORK, 1)[:, :, 0])) * 700
    missing = 1 - ((inside[..., 0] < 320) & (inside[..., 1] < 240)).mean()
    assert rectifier.missing == pytest.approx(missing, abs=0.02)
    ramp = np.broadcast_to(np.linspace(40, 200, 640), (480, 640)).astype(np.uint8)
    seen = rectifier.apply(np.ascontiguousarray(ramp))
    assert np.all(np.abs(seen[:, 0].astype(int) - 40) <= 1)
    assert np.all(np.abs(seen[:, -1].astype(int) - 200) <= 1)


def test_a_coarse_camera_says_so() -> None:
    pytest.importorskip("cv2")
    coarse = replace(NETWORK, width=80, height=48, fx=64.5, fy=64.5, cx=39.5, cy=23.5)
    (warning,) = Rectifier(coarse, (80, 48), VIEW).warnings
    assert "0.50 pixels" in warning
    share, scale = coverage(coarse, NETWORK)
    assert share == 1
    assert scale == pytest.approx(0.5, rel=0.01)


def test_unknown_intrinsics_fly_with_a_warning() -> None:
    same = Rectifier(None, (160, 96), VIEW)
    assert same.passes_through
    assert "has no intrinsics: its image is taken for the whole view" in same.warnings[0]
    pytest.importorskip("cv2")
    image = np.zeros((480, 640), np.uint8)
    image[48:432] = 200
    crop = Rectifier(None, (640, 480), VIEW)
    assert "the middle 640x384 is taken" in crop.warnings[0]
    assert np.all(crop.apply(image) == 200)
    unnamed = Rectifier(WEBCAM, (640, 480), View(160, 96, None))
    assert "the networks name no camera" in unnamed.warnings[0]


def test_frames_and_cameras_that_do_not_fit_are_refused() -> None:
    rectifier = Rectifier(NETWORK, (160, 96), VIEW)
    for bad in (np.zeros((96, 161), np.uint8), np.zeros((96, 160), np.uint16)):
        with pytest.raises(FrameError, match="from a camera of 160x96 uint8"):
            rectifier.apply(bad)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="calibrated at 640x480, its images are 320x240"):
        Rectifier(WEBCAM, (320, 240), VIEW)
    pytest.importorskip("cv2")
    sideways = replace(WEBCAM, cx=1e5)
    with pytest.raises(ConfigurationError, match="shows nothing of what"):
        Rectifier(sideways, (640, 480), VIEW)


def test_networks_agree_on_a_view() -> None:
    def network(name: str, camera: Camera | None):  # type: ignore[no-untyped-def]
        return replace(scripted_network(name, POSE_COMPONENTS, None, (96, 160)), camera=camera)

    same = [network("a", NETWORK), network("b", replace(NETWORK, name="renamed"))]
    assert network_view(same) == VIEW
    with pytest.raises(ConfigurationError, match="a and b want images of different"):
        network_view([network("a", NETWORK), network("b", WEBCAM)])


RENDERED = Camera("render", 800, 560, 300.0, 300.0, 399.5, 279.5)
"""A pinhole picture wide enough for every lens below, drawn once a frame."""


def through(camera: Camera, radiance: NDArray[np.float32]) -> NDArray[np.float32]:
    """A rendered picture as another lens shows it."""
    cv2 = pytest.importorskip("cv2")
    rays = rays_of_pixels(camera, pixel_grid(camera, 2))
    where = (rays * RENDERED.fx + [RENDERED.cx, RENDERED.cy]).astype(np.float32)
    planes = [
        cv2.remap(radiance, where[:, :, i, 0], where[:, :, i, 1], cv2.INTER_LINEAR)
        for i in range(4)
    ]
    mean: NDArray[np.float32] = np.mean(planes, axis=0)
    return mean


def developed(light: NDArray[np.float32], exposure: float) -> Image:
    shown: Image = np.clip((light * exposure) ** 0.9 * 250, 0, 255).astype(np.uint8)
    return shown


@pytest.mark.slow
def test_the_same_pose_through_two_lenses(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A rendered person, seen by the networks' camera, a webcam and a fisheye from one place.

    Stated tolerance: 0.1 m per frame in x, y and z. Without geometry distances are off by more
    than 0.2 m.
    """
    for package in ("cv2", "moderngl", "embreex"):
        pytest.importorskip(package, reason="synthetic flights need the extra 'sim'")
    from gearshift.runtime.errors import MissingExtraError
    from gearshift.sim.flights.drawing import rendering
    from gearshift.sim.flights.flight import FlightMaker, FlightPlan
    from gearshift.sim.flights.people.makehuman import data_folder

    with mock.patch.multiple(
        rendering,
        RENDER_FOCAL=RENDERED.fx,
        RENDER_WIDTH=RENDERED.width,
        RENDER_HEIGHT=RENDERED.height,
    ):
        try:
            data_folder()
            maker = FlightMaker(tmp_path_factory.mktemp("rooms"))
        except (MissingExtraError, rendering.RenderingError) as error:
            pytest.skip(str(error))
        drawn = [
            (f, maker.renderer.draw(f.state.drone, f.state.attitude, f.posed))
            for f in maker.frames(FlightPlan("val", 9012, 2, 2))
        ]
        maker.close()
    engine = load_engine("M1.0")
    network = engine.network
    assert network.camera is not None
    view = network_view([network])
    for frame, radiance in drawn:
        assert frame.truth.visible
        light = through(network.camera, radiance)
        exposure = 0.46 / float(light.mean())
        expected = engine.run(developed(light, exposure)).copy()
        for camera in (WEBCAM, FISHEYE):
            image = developed(through(camera, radiance), exposure)
            shape = (camera.width, camera.height)
            pose = engine.run(Rectifier(camera, shape, view).apply(image)).copy()
            assert np.abs(pose - expected)[:3].max() < 0.1
            naive = engine.run(Rectifier(None, shape, view).apply(image)).copy()
            assert abs(naive[0] - expected[0]) > 0.2
    engine.close()
