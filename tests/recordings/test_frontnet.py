"""PULP-Frontnet's pickled data frames: every layout reads, nothing in a file ever runs.

`old_pickles` were written by the pandas and Python in their names, each from
`pd.DataFrame({'x': x, 'y': y, 'h': 4, 'w': 6, 'c': 1})` with three rows,
`x = ((np.arange(24) * 7 + i * 13) % 256).astype(np.uint8)` and
`y = np.array([1.0 + i, 0.5 * i, -0.25, 0.1 * i], dtype=np.float32)`.
"""

import builtins
import contextlib
import functools
import io
import json
import os
import pickle
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearshift.runtime.cli import main
from gearshift.runtime.errors import ConfigurationError, GearshiftError, RecordingError
from gearshift.sim.convert.formats.frontnet import open_source
from gearshift.sim.convert.pickles.pandas_pickle import TABLE, read_frame
from gearshift.sim.convert.pickles.pickle_machine import PickleMachine
from gearshift.sim.convert.pickles.pickle_parts import RefusedPickleError
from gearshift.sim.convert.reader import ReaderOptions, SourceFrame

from .conftest import POSES, Run, check, make_images

OLD = sorted((Path(__file__).parent / "old_pickles").glob("*.pickle"))
PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


def read_rows(path: Path) -> list[SourceFrame]:
    return list(open_source(path, ReaderOptions()))


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("path", OLD, ids=lambda path: path.stem)
def test_pickles_of_old_pandas_read(path: Path) -> None:
    rows = read_rows(path)
    assert len(rows) == 3
    for i, row in enumerate(rows):
        np.testing.assert_array_equal(row.image[..., 0].ravel(), (np.arange(24) * 7 + i * 13) % 256)
        assert row.image.shape == (4, 6, 1)
        assert row.label is not None
        np.testing.assert_allclose(row.label.values, [1 + i, 0.5 * i, -0.25, 0.1 * i], atol=1e-6)


def frontnet_frame(images: Any, poses: Any = POSES, **columns: Any) -> Any:
    pandas = pytest.importorskip("pandas")
    n = len(images)
    sizes = {"h": 96, "w": 160, "c": 1}
    return pandas.DataFrame(
        {
            "x": [np.asarray(image).ravel() for image in images],
            "y": [np.asarray(pose) for pose in poses[:n]],
            **{name: np.full(n, value) for name, value in sizes.items()},
            **columns,
        }
    )


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_pickle_converts_and_reads_back_equal(tmp_path: Path, run: Run, protocol: int) -> None:
    images = make_images()
    frontnet_frame(images).to_pickle(tmp_path / "set.pickle", protocol=protocol)
    out = tmp_path / "out.mcap"
    assert run("convert", tmp_path / "set.pickle", out, "--rate", 30, "--camera", "hfov=65") == 0
    entries = check(out, images, POSES, [0, 33333333, 66666667, 100000000])
    camera = entries[0].frame.camera
    assert camera is not None
    assert camera.fx == pytest.approx(80 / np.tan(np.radians(32.5)))
    assert all(entry.truth is not None and entry.truth.visible for entry in entries)


def test_a_converted_pickle_replays_with_errors(
    tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    frontnet_frame(make_images()).to_pickle(tmp_path / "set.pickle")
    out = tmp_path / "out.mcap"
    run("convert", tmp_path / "set.pickle", out, "--rate", 30, "--camera", "hfov=65")
    capsys.readouterr()
    arguments = ["--ensemble", "D1", "--policy", "op", "--threshold", "0.4", "--json", "-"]
    assert main(["replay", str(out), *arguments]) == 0
    summary = json.loads(capsys.readouterr().out)["summary"]
    assert summary["scored"] == 4
    assert set(summary["error"]) >= {"x", "y", "z", "phi"}


@pytest.mark.parametrize(
    "dtype", ["uint8", "int64", "float32", "float64", ">i4", "list", "tuple", "rows", "fortran"]
)
def test_images_of_every_type_read(tmp_path: Path, dtype: str) -> None:
    images = make_images(2)
    cells: list[Any] = list(images.reshape(2, -1))
    if dtype == "list":
        cells = [cell.tolist() for cell in cells]
    elif dtype == "tuple":
        cells = [tuple(cell.tolist()) for cell in cells]
    elif dtype == "rows":
        cells = [image.tolist() for image in images]
    elif dtype == "fortran":
        cells = [np.asfortranarray(image) for image in images]
    else:
        cells = [cell.astype(dtype) for cell in cells]
    frame = frontnet_frame(images)
    frame["x"] = cells
    frame["y"] = [pose.tolist() for pose in POSES[:2]]
    frame.to_pickle(tmp_path / "a.pickle")
    rows = read_rows(tmp_path / "a.pickle")
    for row, image in zip(rows, images, strict=True):
        np.testing.assert_array_equal(row.image[..., 0], image)


def test_a_frame_that_was_cut_and_shuffled_reads(tmp_path: Path) -> None:
    images = make_images()
    frame = frontnet_frame(images, place="lab").iloc[[2, 0]][["c", "y", "place", "x", "w", "h"]]
    frame.to_pickle(tmp_path / "a.pickle")
    rows = read_rows(tmp_path / "a.pickle")
    np.testing.assert_array_equal(rows[0].image[..., 0], images[2])
    np.testing.assert_array_equal(rows[1].image[..., 0], images[0])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"w": [160, 159, 160, 160]}, "row 1: x has 15360 values, h\\*w\\*c = 96\\*159\\*1"),
        ({"h": [96, 96, -96, 96]}, "row 2: h = -96"),
        ({"h": [96.0, np.nan, 96, 96]}, "row 1: h = nan"),
        ({"c": [[1]] * 4}, "row 0: c is a list"),
        ({"y": [[1.0, 2.0, 3.0]] * 4}, "row 0: y has 3 values"),
        ({"y": [[1.0, 2.0, np.nan, 0.0]] * 4}, "row 0: y = .* is no pose"),
        ({"y": [["front"]] * 4}, "row 0: y is damaged"),
        ({"x": [["front"]] * 4}, "row 0: x is damaged"),
    ],
)
def test_a_row_that_does_not_fit_is_named(
    tmp_path: Path, run: Run, change: dict[str, Any], said: str
) -> None:
    frame = frontnet_frame(make_images())
    for name, values in change.items():
        frame[name] = values
    frame.to_pickle(tmp_path / "a.pickle")
    with pytest.raises(RecordingError, match=said):
        run("convert", tmp_path / "a.pickle", tmp_path / "out.mcap", "--rate", 30)
    assert [p.name for p in tmp_path.iterdir()] == ["a.pickle"]


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    frontnet_frame(make_images()).drop(columns="h").to_pickle(tmp_path / "a.pickle")
    with pytest.raises(RecordingError, match="has no column h; it has x, y, w, c"):
        read_rows(tmp_path / "a.pickle")


def test_pixels_stay_in_the_file(tmp_path: Path) -> None:
    # 400 images of 15 kB are 6 MB; the rows alone must take a small part of it.
    frontnet_frame(make_images(400), np.tile(POSES, (100, 1))).to_pickle(tmp_path / "a.pickle")
    open_source(tmp_path / "a.pickle", ReaderOptions())  # imports and caches
    tracemalloc.start()
    for row in open_source(tmp_path / "a.pickle", ReaderOptions()):
        assert row.image.nbytes == 15360
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2e6


def test_rows_beyond_the_memory_are_refused_politely(tmp_path: Path, run: Run) -> None:
    frame = frontnet_frame(make_images())
    frame["x"] = [cell.tolist() for cell in frame["x"]]
    frame.to_pickle(tmp_path / "a.pickle")
    out = tmp_path / "o.mcap"
    with pytest.raises(ConfigurationError, match=r"more than 0\.0001 GB .*--memory"):
        run("convert", tmp_path / "a.pickle", out, "--rate", 30, "--memory", 0.0001)
    assert not out.exists()
    assert run("convert", tmp_path / "a.pickle", out, "--rate", 30, "--memory", 1) == 0


def test_a_compressed_pickle_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="unpack it first"):
        read_rows(write(tmp_path / "a.pickle.gz", b"\x1f\x8b\x08" + bytes(20)))


# Hostile pickles.


class Calls:
    """Pickles as a call of anything."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


HOSTILE: dict[str, Callable[[Path], object]] = {
    "os.system": lambda mark: Calls(os.system, f"touch {mark}"),
    "eval": lambda mark: Calls(builtins.eval, f"open({str(mark)!r}, 'w')"),
    "exec": lambda mark: Calls(builtins.exec, f"open({str(mark)!r}, 'w')"),
    "getattr": lambda mark: Calls(getattr, Calls(builtins.__import__, "os"), "system"),
    "import": lambda mark: Calls(builtins.__import__, "antigravity"),
    "open": lambda mark: Calls(io.open, str(mark), "w"),
    "partial": lambda mark: functools.partial(os.system, f"touch {mark}"),
    "loads": lambda mark: Calls(pickle.loads, b"."),
    "numpy.load": lambda mark: Calls(np.load, str(mark)),
    "nested": lambda mark: [{"a": (1, [Calls(os.system, f"touch {mark}")])}],
    "argument": lambda mark: Calls(np.dtype, Calls(os.system, f"touch {mark}")),
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", HOSTILE)
def test_a_pickle_that_calls_code_is_refused_by_name(
    tmp_path: Path, name: str, protocol: int
) -> None:
    mark = tmp_path / "mark"
    data = pickle.dumps(HOSTILE[name](mark), protocol)
    with pytest.raises(RecordingError, match=r"is refused: .*it asks for '[\w.]+'"):
        read_rows(write(tmp_path / "a.pickle", data))
    assert not mark.exists()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_code_inside_a_good_frame_is_refused(tmp_path: Path, protocol: int) -> None:
    mark = tmp_path / "mark"
    frame = frontnet_frame(make_images())
    frame["y"] = [Calls(os.system, f"touch {mark}")] * 4
    frame.to_pickle(tmp_path / "a.pickle", protocol=protocol)
    with pytest.raises(RecordingError, match=r"'(posix|nt)\.system', which no data frame needs"):
        read_rows(tmp_path / "a.pickle")
    assert not mark.exists()


def short(text: str) -> bytes:
    return b"\x8c" + bytes([len(text)]) + text.encode()


def stack_global(module: str, name: str) -> bytes:
    return short(module) + short(name) + b"\x93"


ENCODE = stack_global("_codecs", "encode")
FRAME = stack_global("pandas", "DataFrame")
DTYPE = stack_global("numpy", "dtype")
RECONSTRUCT = stack_global("numpy.core.multiarray", "_reconstruct")
PARTIAL = stack_global("functools", "partial")
NEW_INDEX = stack_global("pandas.core.indexes.base", "_new_Index")
WRONG = {
    "dotted": (stack_global("numpy", "core.multiarray.os.system"), "asks for"),
    "dunder": (stack_global("pandas.DataFrame", "__init__.__globals__"), "asks for"),
    "not text": (b"K\x01K\x02\x93", "global without a name"),
    "calls a list": (b"])R", "calls a list"),
    "calls an instance": (FRAME + b")R)R", "calls a DataFrame"),
    "no tuple": (ENCODE + b"NR", "without a tuple"),
    "other codec": (ENCODE + short("a") + short("rot13") + b"\x86R", "Latin-1"),
    "encodes a number": (ENCODE + b"K\x01\x85R", "no text"),
    "too many": (ENCODE + b"K\x01K\x01K\x01\x87R", "called wrongly"),
    "structured": (DTYPE + short("O,O") + b"\x85R", "neither numbers"),
    "dates": (DTYPE + short("M8[ns]") + b"\x85R", "neither numbers"),
    "no kind": (DTYPE + FRAME + b"\x85R", "neither numbers"),
    "no such float": (DTYPE + short("f3") + b"\x85R", "called wrongly"),
    "partial of encode": (PARTIAL + ENCODE + b"\x85R", "of anything but a block"),
    "state of a name": (ENCODE + b"}b", "sets the state of a Global"),
    "state of a list": (b"]}b", "sets the state of a list"),
    "array state": (RECONSTRUCT + b"N\x85RNb", "damaged state"),
    "keyword": (FRAME + b")}" + short("a") + b"K\x01s\x92", "calls with keywords"),
    "instance": (b"(ios\nsystem\n", "asks for 'os.system'"),
    "instance of a name": (b"(K\x01ipandas\nDataFrame\n", "holds no data frame|unknown layout"),
    "object": (b"(" + FRAME + b"o", "old-style"),
    "persistent": (b"Pabc\n", "persistent ids"),
    "extension": (b"\x82\x01", "extension registry"),
    "set": (b"\x8f", "sets"),
    "out of band": (b"\x97", "buffers outside"),
    "unknown": (b"\xff", "no pickle opcode"),
    "newer": (b"\x80\x63", "newer than"),
    "no mark": (b"t", "no mark"),
    "empty": (b"0", "runs empty"),
    "mark as value": (b"(R", "runs empty"),
    "memo": (b"h\x07", "never written"),
    "append": (b")K\x01a", "appends to a tuple"),
    "key": (b"}K\x01K\x02s", "key is a int"),
    "deep key": (b"}" + b")" + b"\x85" * 5000 + b"K\x02s", "key is a tuple"),
    "odd": (b"}(" + short("a") + b"u", "sets items"),
    "huge": (b"\x8e" + struct.pack("<Q", 1 << 60), "cut short"),
    "huge array": (b"\x96" + struct.pack("<Q", 1 << 40), "cut short"),
    "negative": (b"T" + struct.pack("<i", -5), "cut short"),
    "number": (b"I1e\n", "INT before"),
    "digits": (b"I" + b"9" * 9000 + b"\n", "INT before"),
    "string": (b"Sabc\n", "without quotes"),
    "no frame": (b"N", "holds no data frame"),
    "bare frame": (FRAME + b")R", "unknown layout"),
    "type": (stack_global("builtins", "object") + b")R", "is a type and not called"),
    "index": (NEW_INDEX + b")R", "called wrongly"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_no_frame_needs_is_refused(tmp_path: Path, name: str) -> None:
    data, said = WRONG[name]
    with pytest.raises(RecordingError, match=said) as caught:
        read_rows(write(tmp_path / "a.pickle", b"\x80\x04" + data + b"."))
    assert "\n" not in str(caught.value)


def test_memo_bombs_cost_nothing(tmp_path: Path) -> None:
    # CPython's own unpickler would allocate 32 GB for this index.
    data = b"\x80\x04Nr" + struct.pack("<I", 0xFFFFFFF0) + b"."
    with pytest.raises(RecordingError, match="no data frame"):
        read_rows(write(tmp_path / "a.pickle", data))


def test_lists_that_hold_one_list_a_million_times_are_refused(tmp_path: Path) -> None:
    inner = [0] * 10000
    frame = frontnet_frame(make_images(1))
    frame["x"] = [[[inner] * 10000] * 10000]
    frame.to_pickle(tmp_path / "a.pickle")
    with pytest.raises(RecordingError, match="too many values"):
        read_rows(tmp_path / "a.pickle")


def test_the_table_holds_nothing_but_our_own() -> None:
    for name, make in TABLE.items():
        assert make.__module__.startswith("gearshift.sim.convert."), name


def test_every_truncation_is_named(tmp_path: Path) -> None:
    data = OLD[0].read_bytes()
    for length in range(0, len(data), 7):
        with pytest.raises(RecordingError, match="is refused"):
            read_rows(write(tmp_path / "a.pickle", data[:length]))


@given(st.sampled_from(OLD), st.lists(st.tuples(st.integers(0, 1200), st.binary(max_size=3))))
def test_damaged_bytes_never_crash(
    tmp_path_factory: pytest.TempPathFactory, path: Path, edits: list[tuple[int, bytes]]
) -> None:
    data = bytearray(path.read_bytes())
    for place, new in edits:
        data[place : place + len(new)] = new
    target = tmp_path_factory.getbasetemp() / "damaged.pickle"
    try:
        rows = read_rows(write(target, bytes(data)))
    except GearshiftError as error:
        said = str(error)
    else:
        said = ""
        assert all(row.image.ndim == 3 for row in rows)
    assert "\n" not in said


@given(st.binary(max_size=64))
def test_any_bytes_give_a_value_or_a_refusal(data: bytes) -> None:
    machine = PickleMachine(Path("none"), io.BytesIO(data), TABLE, 100_000)
    with contextlib.suppress(RefusedPickleError):
        machine.load()


def test_a_frame_without_rows_reads(tmp_path: Path) -> None:
    frontnet_frame(make_images(0)).to_pickle(tmp_path / "empty.pickle")
    assert read_frame(tmp_path / "empty.pickle", 10**6).rows == 0
