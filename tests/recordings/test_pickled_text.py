"""Column names as pandas 3 pickles them where pyarrow is installed; read without it."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearshift.sim.convert.pickles.pickle_parts import RefusedPickleError
from gearshift.sim.convert.pickles.pickled_text import (
    MOST_BYTES,
    ArrowArray,
    ArrowBuffer,
    ArrowChunks,
    ArrowType,
)

NAMES = ["x", "yaw", "", "größe"]


def layout(texts: list[str], kind: str = "large_string", offset: int = 0) -> list[Any]:
    """Arrow's layout of texts, by its format's definition; the first `offset` are skipped."""
    content = [text.encode() for text in texts]
    ends = np.cumsum([0, *map(len, content)]).astype("<i8" if kind == "large_string" else "<i4")
    buffers = [None, ArrowBuffer(ends.tobytes()), ArrowBuffer(b"".join(content))]
    return [ArrowType(kind), len(texts) - offset, 0, offset, buffers, [], None]


@given(st.lists(st.text(max_size=8), max_size=12), st.sampled_from(["string", "large_string"]))
def test_any_text_reads_back(texts: list[str], kind: str) -> None:
    for offset in {0, len(texts) // 2}:
        array = ArrowArray(tuple(layout(texts, kind, offset)))
        assert array.texts() == texts[offset:]
        assert ArrowChunks([array, array]).texts() == 2 * texts[offset:]


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (0, ArrowType("int64"), "no text"),
        (0, "string", "no text"),
        (1, 5, "cut short"),
        (1, -1, "wrong length"),
        (1, 1 << 62, "wrong length"),
        (1, True, "wrong length"),
        (3, 2, "cut short"),
        (4, None, "unknown layout"),
        (4, [None], "no text"),
        (4, [None, None, None], "without its buffers"),
        (4, [None, ArrowBuffer(b""), ArrowBuffer(b"")], "cut short"),
    ],
)
def test_what_is_no_text_is_refused(place: int, value: object, said: str) -> None:
    data = layout(NAMES)
    data[place] = value
    with pytest.raises(RefusedPickleError, match=said):
        ArrowArray(tuple(data)).texts()


@pytest.mark.parametrize(
    ("ends", "content", "said"),
    [
        ([0, 9, 4, 5, 6], b"abcdefghi", "cut short|in no order"),
        ([0, 3, 1, 5, 6], b"abcdefghi", "in no order"),
        ([-4, 0, 1, 2, 3], b"abcdefghi", "cut short"),
        ([0, 1, 2, 3, 99], b"abcdefghi", "cut short"),
        ([0, 1, 2, 3, 4], b"\xff\xfe\xfd\xfc", "not UTF-8"),
        ([0, 1, 2, 3, 4], b"a" * (MOST_BYTES + 1), "bytes of column names"),
    ],
)
def test_offsets_that_lead_elsewhere_are_refused(
    ends: list[int], content: bytes, said: str
) -> None:
    data = layout(NAMES)
    data[4] = [None, ArrowBuffer(np.array(ends, "<i8").tobytes()), ArrowBuffer(content)]
    with pytest.raises(RefusedPickleError, match=said):
        ArrowArray(tuple(data)).texts()


@given(st.binary(max_size=80), st.binary(max_size=40), st.integers(0, 9), st.integers(0, 9))
def test_any_buffers_give_text_or_a_refusal(
    ends: bytes, content: bytes, length: int, offset: int
) -> None:
    buffers = [None, ArrowBuffer(ends), ArrowBuffer(content)]
    array = ArrowArray((ArrowType("large_string"), length, 0, offset, buffers))
    try:
        assert len(array.texts()) == length
    except RefusedPickleError as error:
        assert str(error).startswith("an Arrow array")  # noqa: PT017


def test_other_parts_are_refused() -> None:
    for wrong in (lambda: ArrowType(3), lambda: ArrowBuffer("text")):
        with pytest.raises(RefusedPickleError):
            wrong()
    with pytest.raises(RefusedPickleError, match="no arrays"):
        ArrowChunks([1]).texts()
