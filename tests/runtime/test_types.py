"""What flows through the runtime says what it is: the order of cells, and what is a pose."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearshift.runtime.types import HeadGrid


@pytest.mark.parametrize(
    ("pixel", "cell"),
    [
        # Row by row from the upper left; a cell of the 160x96 image is 20x16 pixels.
        ((0, 0), 0),
        ((19.49, 0), 0),
        ((19.5, 0), 1),
        ((159, 0), 7),
        ((0, 15.49), 0),
        ((0, 15.5), 8),
        ((159, 15.5), 15),
        ((0, 95), 40),
        ((159, 95), 47),
        ((159.49, 95.49), 47),
        ((-0.5, -0.5), 0),
        # Beyond any edge there is no head.
        ((-0.51, 0), 48),
        ((0, -0.51), 48),
        ((159.5, 0), 48),
        ((0, 95.5), 48),
    ],
)
def test_the_cells_of_the_grid(pixel: tuple[float, float], cell: int) -> None:
    grid = HeadGrid()
    assert (grid.classes, grid.no_head) == (49, 48)
    assert grid.cell(*pixel, 160, 96) == cell


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 40), st.integers(1, 40))
def test_any_grid_counts_its_cells_row_by_row(
    columns: int, rows: int, cell_width: int, cell_height: int
) -> None:
    grid = HeadGrid(columns, rows)
    width, height = columns * cell_width, rows * cell_height
    centres = [
        ((column + 0.5) * cell_width - 0.5, (row + 0.5) * cell_height - 0.5)
        for row in range(rows)
        for column in range(columns)
    ]
    assert [grid.cell(u, v, width, height) for u, v in centres] == list(range(grid.no_head))
    assert grid.classes == len(centres) + 1
