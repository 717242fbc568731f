"""Sizes as they are written on the command line: 160x96."""

from __future__ import annotations

import re

from gearshift.runtime.errors import ConfigurationError


def parse_size(text: str, option: str, example: str = "160x96") -> tuple[int, int]:
    """Two whole numbers from 1, such as (160, 96) of "160x96"; raises ConfigurationError."""
    match = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", text, re.ASCII)
    if match is None:
        raise ConfigurationError(f"{option} {text!r}: write two whole numbers, such as {example}")
    return int(match[1]), int(match[2])
