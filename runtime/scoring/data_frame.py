"""Results as a table of pandas', for those who have it; nothing else needs it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from gearshift.runtime.errors import MissingExtraError

if TYPE_CHECKING:
    from pandas import DataFrame


def data_frame(columns: Mapping[str, NDArray[Any]]) -> DataFrame:
    """Columns (N,) by name as a DataFrame; raises MissingExtraError where pandas is missing."""
    try:
        from pandas import DataFrame
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "a DataFrame needs the package 'pandas': pip install pandas; columns() gives the same "
            "as plain arrays"
        ) from error
    return DataFrame(dict(columns))
