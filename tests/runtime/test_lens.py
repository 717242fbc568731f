"""The models of distortion, with OpenCV as the independent peer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearshift.runtime.cameras.lens import (
    check_camera,
    distort,
    fields_of_view,
    pixels_of_rays,
    rays_of_pixels,
    undistort,
    widest_radius,
    within,
)
from gearshift.runtime.errors import ConfigurationError
from gearshift.runtime.types import Camera

from .lenses import LENSES, NETWORK

small = st.floats(-0.3, 0.3)
tiny = st.floats(-0.01, 0.01)
PINHOLES = st.builds(
    lambda k1, k2, p1, p2, k3, rest: Camera(
        "any", 640, 480, 500.0, 500.0, 319.5, 239.5, (k1, k2, p1, p2, k3, *rest)
    ),
    small,
    small,
    tiny,
    tiny,
    small,
    st.sampled_from([(), (0.2, -0.1, 0.05), (0.2, -0.1, 0.05, 0.01, -0.01, 0.005, 0.002)]),
)
FISHEYES = st.builds(
    lambda k1, k2, k3, k4: Camera(
        "any", 640, 480, 300.0, 300.0, 319.5, 239.5, (k1, k2, k3, k4), fisheye=True
    ),
    st.floats(-0.05, 0.05),
    tiny,
    tiny,
    tiny,
)
POINTS = np.random.default_rng(0).uniform(-1.0, 1.0, (200, 2))


@given(PINHOLES)
def test_pinhole_lenses_distort_as_opencv_does(camera: Camera) -> None:
    cv2 = pytest.importorskip("cv2")
    rays = np.column_stack([POINTS, np.ones(len(POINTS))])
    matrix = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])
    expected, _ = cv2.projectPoints(
        rays, np.zeros(3), np.zeros(3), matrix, np.array(camera.distortion)
    )
    assert np.allclose(pixels_of_rays(camera, POINTS), expected[:, 0], atol=1e-6)


@given(FISHEYES)
def test_fisheye_lenses_distort_as_opencv_does(camera: Camera) -> None:
    cv2 = pytest.importorskip("cv2")
    matrix = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])
    expected = cv2.fisheye.distortPoints(POINTS[:, None], matrix, np.array(camera.distortion))
    assert np.allclose(pixels_of_rays(camera, POINTS), expected[:, 0], atol=1e-6)


@given(st.one_of(PINHOLES, FISHEYES))
def test_undistorting_is_the_inverse_as_far_as_the_lens_does_not_fold(camera: Camera) -> None:
    points = within(POINTS, 0.7 * widest_radius(camera))
    assert np.abs(undistort(camera, distort(camera, points)) - points).max() < 1e-6


@pytest.mark.parametrize("camera", LENSES, ids=lambda camera: camera.name)
def test_every_pixel_of_a_real_lens_has_its_ray(camera: Camera) -> None:
    u, v = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    pixels = np.stack([u, v], axis=-1).astype(np.float64)
    assert np.abs(pixels_of_rays(camera, rays_of_pixels(camera, pixels)) - pixels).max() < 1e-6


def test_a_lens_that_folds_ends_where_it_folds() -> None:
    camera = replace(NETWORK, distortion=(-0.3,))
    # r (1 - 0.3 r^2) is largest where 1 = 0.9 r^2.
    assert widest_radius(camera) == pytest.approx((1 / 0.9) ** 0.5, rel=2e-3)
    assert widest_radius(replace(NETWORK, distortion=())) > 10


def test_the_middle_of_the_image_is_where_opencv_has_it() -> None:
    """Pixel centres at integers: a 65 degree lens of 160 pixels has its edges at -0.5, 159.5."""
    plain = Camera("plain", 160, 96, 80 / np.tan(np.radians(32.5)), 125.0, 79.5, 47.5)
    horizontal, _ = fields_of_view(plain)
    assert np.degrees(horizontal) == pytest.approx(65.0)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"fx": 0.0}, "fx and fy must be above 0"),
        ({"cx": float("nan")}, "all numbers finite"),
        ({"width": 0}, "0x96 pixels"),
        ({"distortion": (0.1,) * 6}, "6 numbers of distortion; OpenCV's order"),
        ({"distortion": (0.1,) * 5, "fisheye": True}, "a fisheye lens has k1 k2 k3 k4"),
    ],
)
def test_what_is_no_camera_is_refused(change: dict[str, object], problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        check_camera(replace(NETWORK, **change))  # type: ignore[arg-type]
