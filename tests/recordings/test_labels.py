"""The CSV parser: what is written is read, everything else is named by line."""

import csv
import io
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearshift.runtime.errors import RecordingError
from gearshift.sim.convert.labels import parse_row, read_labels
from gearshift.sim.convert.reader import Label

finite = st.floats(-1e6, 1e6)
poses = st.tuples(finite, finite, finite, st.floats(-math.pi, math.pi))
labels = st.one_of(
    st.none(),
    st.builds(
        Label,
        poses,
        st.sampled_from([None, True, False]),
        st.none() | st.tuples(st.floats(0, 159), st.floats(0, 95)),
    ),
)
COLUMNS = ["file", "frame", "time_ns", "x", "y", "z", "phi", "visible", "head_u", "head_v"]


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@given(st.lists(st.tuples(st.text(min_size=1), st.integers(0, 10**18), labels), max_size=5))
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, int, Label | None]]
) -> None:
    rows = [
        (name.strip() or "a", time_ns, label)
        for name, time_ns, label in rows
        if not {"\0", "\ufeff"} & set(name) and name.encode("utf-8", "ignore").decode() == name
    ]
    stream = io.StringIO(newline="")
    writer = csv.writer(stream)
    writer.writerow(COLUMNS)
    for frame, (name, time_ns, label) in enumerate(rows):
        pose = ("",) * 4 if label is None else label.values
        visible = "" if label is None or label.visible is None else int(label.visible)
        pixel = ("", "") if label is None or label.head_pixel is None else label.head_pixel
        writer.writerow([name, frame, time_ns, *pose, visible, *pixel])
    path = tmp_path_factory.getbasetemp() / "labels.csv"
    path.write_bytes(stream.getvalue().encode())
    found = list(read_labels(path, "file"))
    assert [(row.file, row.time_ns, row.label) for row in found] == rows
    assert [row.frame for row in found] == list(range(len(rows)))


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(data)
    try:
        rows = list(read_labels(path, "file"))
    except RecordingError as error:
        said = str(error)
    else:
        said, _ = "", [row.where for row in rows]
    assert "\n" not in said


@given(st.dictionaries(st.sampled_from(COLUMNS), st.text(max_size=12)))
def test_any_cells_are_parsed_or_refused(record: dict[str, str]) -> None:
    try:
        row = parse_row(record, "a.csv, line 2")
    except RecordingError as error:
        said = str(error)
    else:
        said = "a.csv, line 2"
        if row.label is not None and row.label.visible is not False:
            assert all(map(math.isfinite, row.label.values))
    assert said.startswith("a.csv, line 2")
    assert "\n" not in said


def test_nobody_and_nothing_known_are_told_apart(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "file,x,y,z,phi,visible\na,,,,,0\nb,,,,,\nc,1,2,3,0.5,false\n")
    nobody, unknown, hidden = (row.label for row in read_labels(path, "file"))
    assert nobody is not None
    assert nobody.visible is False
    assert all(map(math.isnan, nobody.values))
    assert unknown is None
    assert hidden == Label((1.0, 2.0, 3.0, 0.5), visible=False)


def test_seconds_become_nanoseconds(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "\ufefffile, time_s, note\na, 1.5, first\n\nb,2.25,\n")
    assert [row.time_ns for row in read_labels(path, "file")] == [1_500_000_000, 2_250_000_000]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no column file; its header is none"),
        ("name,x\n", "has no column file; its header is name, x"),
        ("file,x,x\n", "names a column twice"),
        ("file,x,y,z,phi\na,1,2,3\n", "line 2: 4 cells for 5 columns"),
        ("file,x,y,z,phi\na,1,2,3,\n", "line 2: x, y, z and phi must be all there"),
        ("file,x,y,z,phi\na,1,2,3,nan\n", "line 2: phi is 'nan', not a number"),
        ("file,x,y,z,phi\na,1,2,three,0\n", "line 2: z is 'three'"),
        ("file,time_ns\na,1\nb,1e9\n", "line 3: time_ns is '1e9', not a whole number"),
        ("file,time_s\na,-1\n", "line 2: time_s is -1"),
        ("file,visible\na,maybe\n", "line 2: visible is 'maybe'"),
        ("file,x,y,z,phi,head_u,head_v\na,1,2,3,0,5,\n", "head_u and head_v must be both"),
        ('file,x\n"a\n', "is no CSV file"),
    ],
)
def test_a_bad_cell_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(RecordingError, match=said):
        list(read_labels(write(tmp_path / "a.csv", text), "file"))


def test_a_file_of_other_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"file,x\n\xff\xfe,1\n")
    with pytest.raises(RecordingError, match="is no CSV file"):
        list(read_labels(tmp_path / "a.csv", "file"))
    with pytest.raises(RecordingError, match="cannot read"):
        list(read_labels(tmp_path / "none.csv", "file"))
