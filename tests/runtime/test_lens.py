"""The models of distortion, with OpenCV as the independent peer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearshift.runtime.cameras.lens import (
    check_camera,
    check_size,
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


def test_both_fields_of_view_reach_from_edge_to_edge() -> None:
    camera = Camera("off", 160, 96, 100.0, 50.0, 70.0, 40.0)
    horizontal, vertical = fields_of_view(camera)
    assert horizontal == pytest.approx(np.arctan(0.705) + np.arctan(0.895))
    assert vertical == pytest.approx(np.arctan(0.81) + np.arctan(1.11))


def test_what_no_ray_reaches_shows_the_widest_one() -> None:
    """At radius 0.8 and 3, where the lens ends at 0.703 of the image's plane."""
    camera = replace(NETWORK, distortion=(-0.3,))
    directions = np.array([[1.0, 0.0], [0.0, -1.0], [0.6, 0.8]])
    for radius in (0.8, 3.0):
        rays = undistort(camera, radius * directions)
        assert rays == pytest.approx(widest_radius(camera) * directions, abs=1e-9)
    fisheye = replace(NETWORK, distortion=(), fisheye=True)
    widest = undistort(fisheye, 2.0 * directions)  # it shows 85 degrees at radius 1.48
    assert widest == pytest.approx(np.tan(np.radians(85)) * directions, rel=1e-9)
    assert undistort(camera, np.empty((0, 2))).shape == (0, 2)


def test_a_plane_has_no_room_beyond_85_degrees() -> None:
    limit = np.tan(np.radians(85))
    assert widest_radius(replace(NETWORK, distortion=())) == pytest.approx(limit, rel=1e-9)


def test_a_lens_that_folds_is_known_to_the_step_of_its_table() -> None:
    radii = np.tan(np.linspace(0, np.radians(85), 4001))
    folded = radii[np.argmax(radii - 0.3 * radii**3)]
    camera = replace(NETWORK, distortion=(-0.3,))
    assert widest_radius(camera) == pytest.approx(folded, rel=1e-12)


@pytest.mark.parametrize("place", [5, 6, 7])
def test_a_rational_lens_ends_before_its_pole(place: int) -> None:
    """1 - (r / 2)^2, ^4 or ^6 below the line: from r = 2 on such a lens shows nothing."""
    distortion = [0.0] * 8
    distortion[place] = -(0.5 ** (2 * (place - 4)))
    camera = replace(NETWORK, distortion=tuple(distortion))
    assert 1.997 < widest_radius(camera) < 2


def test_points_within_a_limit_stay_and_others_are_pulled_in() -> None:
    points = np.array([[0.3, 0.4], [0.0, 0.0], [0.48, 0.64], [3.0, -4.0]])
    pulled = within(points, 0.5)
    assert pulled == pytest.approx(np.array([[0.3, 0.4], [0, 0], [0.3, 0.4], [0.3, -0.4]]))
    assert within(points, 10.0) == pytest.approx(points)


@pytest.mark.parametrize(
    "change",
    [
        {"fx": 0.5, "fy": 0.5, "width": 1, "height": 1},
        *({"distortion": (0.1,) * count} for count in (0, 1, 2, 3, 4, 5, 8, 12)),
        *({"distortion": (0.1,) * count, "fisheye": True} for count in (0, 4)),
    ],
)
def test_what_is_a_camera_is_taken(change: dict[str, object]) -> None:
    check_camera(replace(NETWORK, **change))  # type: ignore[arg-type]


def test_a_camera_of_another_size_is_named() -> None:
    check_size(NETWORK, 160, 96, "camera.json")
    said = "^camera.json is a camera of 160x96, the images are 160x120$"
    with pytest.raises(ConfigurationError, match=said):
        check_size(NETWORK, 160, 120, "camera.json")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"fy": 0.0}, "^fx and fy must be above 0, and all numbers finite$"),
        ({"fy": -1.0}, "fx and fy must be above 0"),
        ({"distortion": (float("inf"),)}, "all numbers finite"),
        ({"height": 0}, "160x0 pixels"),
        ({"distortion": (0.1,), "fisheye": True}, "a fisheye lens has k1 k2 k3 k4"),
        ({"distortion": (0.1,) * 13}, r"13 numbers of .* \(8\), s1 s2 s3 s4 \(12\)$"),
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
