"""Networks judged on real pictures: what is compared, what is counted, what is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

cv2 = pytest.importorskip("cv2", reason="reads PNG files")

from gearshift.models.evaluating.real_frames import (  # noqa: E402
    Mounting,
    RealFrames,
    apply_mounting,
    fit_mounting,
    read_real_frames,
    score,
)
from gearshift.models.evaluating.real_report import CONSTANT, judge  # noqa: E402
from gearshift.runtime.cameras.camera_file import camera_text  # noqa: E402
from gearshift.runtime.cameras.lens import pixels_of_rays  # noqa: E402
from gearshift.runtime.cli import main  # noqa: E402
from gearshift.runtime.errors import ConfigurationError, RecordingError  # noqa: E402
from gearshift.runtime.types import POSE_COMPONENTS, Camera, Component  # noqa: E402

CAMERA = Camera("lab", 160, 96, 91.9, 91.9, 79.5, 47.5, (-0.0957, 0.0211, 0.0, 0.0, 0.0))


def folder(path: Path, rows: list[str], header: str = "frame,x_m,y_m,z_m,phi_rad,clip") -> Path:
    path.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for row in rows:
        picture = rng.integers(0, 255, (96, 160)).astype(np.uint8)
        if not row.startswith("gone"):
            assert cv2.imwrite(str(path / f"{row.split(',')[0]}.png"), picture)
    (path / "truth.csv").write_text("\n".join([header, *rows]) + "\n")
    return path


def test_rows_become_frames_and_what_is_left_out_is_counted(tmp_path: Path) -> None:
    place = folder(tmp_path / "f", ["a,1,0.5,0.25,,1", "b,2,-0.5,,1.5,2", "gone,1,1,1,1,1"])
    frames = read_real_frames(place, POSE_COMPONENTS)
    assert frames.without == 1
    assert frames.clips.tolist() == ["1", "2"]
    np.testing.assert_array_equal(frames.truth, [[1, 0.5, 0.25, np.nan], [2, -0.5, np.nan, 1.5]])


@pytest.mark.parametrize(
    ("rows", "header", "said"),
    [
        (["a,1"], "picture,x_m", "no frame or file"),
        (["a,one"], "frame,x_m", "line 2: x_m is 'one', not a number"),
        (["gone,1"], "frame,x_m", "names no picture"),
        (["a,1"], "frame,distance", "has no truth of x, y, z, phi"),
    ],
)
def test_truth_that_cannot_be_read(tmp_path: Path, rows: list[str], header: str, said: str) -> None:
    with pytest.raises(RecordingError, match=said):
        read_real_frames(folder(tmp_path / "f", rows, header), POSE_COMPONENTS)


def test_a_picture_outside_of_the_folder_is_never_read(tmp_path: Path) -> None:
    folder(tmp_path / "outside", ["a,1"], "frame,x_m")
    place = folder(tmp_path / "f", ["a,1"], "frame,x_m")
    (place / "truth.csv").write_text("frame,x_m\n../outside/a,1\na,2\n")
    frames = read_real_frames(place, POSE_COMPONENTS)
    assert (len(frames.images), frames.without) == (1, 1)


def test_scores_by_hand() -> None:
    components = (Component("x", "m", False, 1.0), Component("phi", "rad", True, 1.0))
    truth = np.array([[1.0, 3.0], [2.0, math.nan], [4.0, -3.0]])
    said = np.array([[1.5, -3.1], [2.5, 0.0], [5.0, 3.2]])
    found = score(said, truth, components)
    assert found["x"].frames == 3
    assert found["x"].mae == pytest.approx((0.5 + 0.5 + 1) / 3)
    assert found["x"].bias == pytest.approx((0.5 + 0.5 + 1) / 3)
    assert found["x"].ratio == pytest.approx((1.5 + 2 * 2.5 + 4 * 5) / 21)
    assert found["x"].correlation == pytest.approx(np.corrcoef(said[:, 0], truth[:, 0])[0, 1])
    # 3 and -3.1 are 2 pi - 6.1 apart.
    assert found["phi"].frames == 2
    assert found["phi"].mae == pytest.approx((2 * math.pi - 6.1 + 2 * math.pi - 6.2) / 2)
    assert found["phi"].bias == pytest.approx(0.05)
    assert math.isnan(found["phi"].correlation)


@given(yaw=st.floats(-0.2, 0.2), pitch=st.floats(-0.2, 0.2), seed=st.integers(0, 999))
def test_a_mounting_is_found_from_marked_heads_and_undone(
    yaw: float, pitch: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    place = rng.uniform([1.5, -0.4, -0.3], [4.0, 0.4, 0.3], (12, 3))
    seen = np.column_stack([place, rng.uniform(-1, 1, 12)])  # by the turned camera
    heads = pixels_of_rays(CAMERA, np.stack([-place[:, 1], -place[:, 2]], axis=1) / place[:, :1])
    truth = apply_mounting(seen.astype(np.float32), POSE_COMPONENTS, Mounting(yaw, pitch, 0, 0.0))
    # By hand: nose down by the pitch, then to the left by the yaw.
    first = place[0]
    x, z = (
        math.cos(pitch) * first[0] + math.sin(pitch) * first[2],
        math.cos(pitch) * first[2] - math.sin(pitch) * first[0],
    )
    expected = (
        math.cos(yaw) * x - math.sin(yaw) * first[1],
        math.sin(yaw) * x + math.cos(yaw) * first[1],
    )
    np.testing.assert_allclose(truth[0, :3], [*expected, z], atol=1e-5)
    assert truth[0, 3] == pytest.approx(seen[0, 3] + yaw, abs=1e-5)
    frames = RealFrames(
        (np.zeros((96, 160), np.uint8),) * 12,
        POSE_COMPONENTS,
        truth.astype(float),
        np.array(["c"] * 12),
        heads,
        0,
    )
    found = fit_mounting(frames, "c", CAMERA)
    # The two medians leave what a pitch does off the axis, a twentieth of either at most here.
    assert found.yaw == pytest.approx(yaw, abs=0.012)
    assert found.pitch == pytest.approx(pitch, abs=0.012)
    assert found.residual_px < 1.5
    with pytest.raises(ConfigurationError, match="no clip 'd'; there are c"):
        fit_mounting(frames, "d", CAMERA)


def test_the_command_says_what_it_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"p{i},{1 + i / 4},0.1,0.2,,{1 + i % 2},{70 + i},40" for i in range(8)]
    header = "frame,x_m,y_m,z_m,phi_rad,clip,head_u_px,head_v_px"
    place = folder(tmp_path / "f", rows, header)
    assert main(["models", "real", str(place), "--networks", "F1", "F2", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["frames"] == {"all": 8, "1": 4, "2": 4}
    assert set(document["scores"]["all"]) == {"F1", "F2", CONSTANT}
    assert document["scores"]["all"]["F1"]["phi"]["mae"] is None
    constant = document["scores"]["all"][CONSTANT]["x"]
    assert constant["mae"] == pytest.approx(0.5)
    assert constant["bias"] == pytest.approx(0.0, abs=1e-9)
    camera = tmp_path / "camera.toml"
    camera.write_text(camera_text(CAMERA))
    arguments = ["--camera", str(camera), "--mounting", "1", "--beside", "F1"]
    assert main(["models", "real", str(place), *arguments]) == 0
    shown = capsys.readouterr().out
    assert "all frames: 4" in shown
    assert "clip 1, which is left out" in shown
    assert "pictures turned into its camera: F1, F2" in shown
    assert "beside F1, as if it were the truth" in shown


def test_what_the_report_refuses(tmp_path: Path) -> None:
    place = folder(tmp_path / "f", ["a,1,0,0,,1"])
    with pytest.raises(ConfigurationError, match="gives no values"):
        judge(place, ["aux"])
    with pytest.raises(ConfigurationError, match="only be fitted with the pictures' camera"):
        judge(place, ["F1"], mounting_clip="1")
