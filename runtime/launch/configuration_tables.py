"""`flight.toml` as text: an example with every key, and what is in effect."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

EXAMPLE = """\
# A flight: `gearshift run flight.toml`. Every key is here with its default or an example; only
# schema_version and the source's kind are needed. `gearshift config check flight.toml` checks it.
# Relative paths are relative to the working directory.
schema_version = 1

[source]
kind = "recording"         # recording, v4l2, picamera2, aideck, video, images, or a plug-in
path = "flight.mcap"       # this key and the next belong to kind "recording"
pace = "recorded"          # come at the recorded times; "none": every frame, as fast as it goes
# calibration = "camera.toml"  # intrinsics from `gearshift camera calibrate`
max_age_ms = 200.0         # a frame that is older when inference could start is dropped

[ensemble]
name = "D1"                # of the zoo, or a TOML file of your own
# engine = "onnx"          # onnx, litert, integer, board:/dev/ttyACM0?baud=3000000

# [ensemble.engines]       # or one by one
# small = "board:/dev/ttyACM0?baud=3000000"
# large = "onnx"

[policy]
name = "op"                # `gearshift replay --help` names them; or ./mine.py:signal
threshold = "equal-error"  # a number, inf, -inf, or an operating point of the ensemble
# filter = "none"          # none, anchor, smooth; default: the policy's own
combination = "large"      # what is accepted when both ran: "large", or "fusion"
max_gap_s = 0.5            # history older than this counts as none
per_second = false         # distances per second instead of per frame
seed = 0                   # of the policy "random"

# [policy.budget]          # moves the threshold in flight to hold one of the two
# large_share = 0.3        # share of frames on large
# mean_latency_ms = 1.5    # mean time of the networks

[limits]
# rate_hz = 30.0           # frame rate to hold; default: the source's
# deadline_ms = 33.0       # large is skipped where it would miss it; default: one frame; 0: none
max_estimate_age_s = 0.75  # from capture; after that the state is "lost"
stall_ms = 300.0           # a network that has not returned by then is left behind
# profile = "pi.json"      # of this machine, from `gearshift doctor --profile pi.json`

[presence]                 # whether anybody is in view, by the auxiliary network
every = 10                 # look after every so many frames, once they are published; 0: never
appear = 0.6               # somebody is there after `frames` probabilities in a row above this
vanish = 0.4               # and nobody after as many below this
frames = 3

[[sinks]]
kind = "jsonl"             # jsonl, udp, mavlink, rerun, nanocockpit-uart, or a plug-in
path = "-"                 # belongs to kind "jsonl"
required = true            # the flight does not start when it cannot be opened

# [[sinks]]
# kind = "mavlink"
# to = "udp:127.0.0.1:14550"

[recording]                # leave the table out to record nothing
folder = "flights"
split_mb = 200.0
sync_s = 0.5               # how often data is put on the disk
required = true

[log]
level = "warning"          # debug, info, warning, error
status = "auto"            # "line" on a terminal, "log" lines elsewhere, "off"
every_s = 5.0

# [prometheus]             # http://127.0.0.1:9464/metrics
# port = 9464
"""


def as_toml(values: Mapping[str, Any]) -> str:
    """Values as TOML text; what is None is left out."""
    return "\n".join(_table((), values)).strip() + "\n"


def _table(path: tuple[str, ...], values: Mapping[str, Any]) -> Iterator[str]:
    nested: list[tuple[str, Any]] = []
    for key, value in values.items():
        if isinstance(value, Mapping) or _is_tables(value):
            nested.append((key, value))
        elif value is not None:
            yield f"{_key(key)} = {_value(value)}"
    for key, value in nested:
        inner = (*path, key)
        name = ".".join(map(_key, inner))
        if isinstance(value, Mapping):
            lines = list(_table(inner, value))
            if lines:
                yield from ("", f"[{name}]", *lines)
        else:
            for each in value:
                yield from ("", f"[[{name}]]", *_table(inner, each))


def _is_tables(value: object) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], Mapping)


def _key(key: str) -> str:
    bare = key.replace("-", "").replace("_", "").isalnum() and key.isascii()
    return key if bare else _text(key)


def _text(text: str) -> str:
    """JSON's escapes are TOML's, but for one character."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return str(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(each) for each in value) + "]"
    return _text(str(value))
