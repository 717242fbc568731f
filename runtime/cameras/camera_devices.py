"""Which V4L2 cameras are connected, under which lasting names, and what they can send.

Linux only: the kernel's own list under /sys, udev's names under /dev/v4l/by-id, and three ioctl
calls of videodev2.h.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_NODES: Final = Path("/sys/class/video4linux")
_BY_ID: Final = Path("/dev/v4l/by-id")
# _IOR and _IOWR of 'V' with the sizes of the structures of linux/videodev2.h.
_QUERYCAP: Final = 0x80685600
_ENUM_FMT: Final = 0xC0405602
_ENUM_FRAMESIZES: Final = 0xC02C564A
_ENUM_FRAMEINTERVALS: Final = 0xC034564B
_VIDEO_CAPTURE: Final = 1
_CAPTURE_BIT: Final = 0x1
_DEVICE_CAPS_BIT: Final = 0x80000000
_DISCRETE: Final = 1
_MOST: Final = 64


@dataclass(frozen=True, slots=True)
class Mode:
    """One way to send images: format (four letters), width, height, frame rates [Hz].

    A driver that lists a range has its largest size here. rates: empty when it lists none.
    """

    format: str
    width: int
    height: int
    rates: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class VideoDevice:
    """One camera. node: /dev/videoN, which may change; names: those of udev, which do not.

    problem: why it could not be asked, None when it could.
    """

    node: str
    title: str
    names: tuple[str, ...]
    modes: tuple[Mode, ...]
    problem: str | None


def video_devices() -> list[VideoDevice]:
    """Every node that captures video, by number; those that cannot be opened with the reason."""
    if not _NODES.is_dir():
        return []
    nodes = sorted(_NODES.iterdir(), key=lambda node: (len(node.name), node.name))
    devices = [_ask(node) for node in nodes if node.name.startswith("video")]
    return [device for device in devices if device is not None]


def _ask(node: Path) -> VideoDevice | None:
    path = f"/dev/{node.name}"
    try:
        title = (node / "name").read_text().strip()
    except OSError:
        title = ""
    names = tuple(sorted(_names(path)))
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    except OSError as error:
        return VideoDevice(path, title, names, (), error.strerror)
    try:
        if not _captures(descriptor):
            return None
        return VideoDevice(path, title, names, tuple(_modes(descriptor)), None)
    except OSError as error:
        return VideoDevice(path, title, names, (), error.strerror)
    finally:
        os.close(descriptor)


def _names(path: str) -> Iterator[str]:
    if _BY_ID.is_dir():
        for link in _BY_ID.iterdir():
            if str(link.resolve()) == path:
                yield str(link)


def _captures(descriptor: int) -> bool:
    answer = fcntl.ioctl(descriptor, _QUERYCAP, bytes(104))
    capabilities, own = struct.unpack_from("II", answer, 84)
    return bool((own if capabilities & _DEVICE_CAPS_BIT else capabilities) & _CAPTURE_BIT)


def _modes(descriptor: int) -> Iterator[Mode]:
    for answer in _listed(descriptor, _ENUM_FMT, struct.pack("II56x", 0, _VIDEO_CAPTURE)):
        letters = answer[44:48]
        name = letters.decode("ascii", "replace").strip()
        form = struct.unpack("I", letters)[0]
        for size in _listed(descriptor, _ENUM_FRAMESIZES, struct.pack("II36x", 0, form)):
            kind, *numbers = struct.unpack_from("7I", size, 8)
            # Width and height, or a range: least, most and step of width, then of height.
            width, height = numbers[:2] if kind == _DISCRETE else (numbers[1], numbers[4])
            yield Mode(name, width, height, tuple(_rates(descriptor, form, width, height)))


def _rates(descriptor: int, form: int, width: int, height: int) -> Iterator[float]:
    question = struct.pack("IIII36x", 0, form, width, height)
    for answer in _listed(descriptor, _ENUM_FRAMEINTERVALS, question):
        kind, numerator, denominator = struct.unpack_from("3I", answer, 16)
        if kind == _DISCRETE and numerator:
            yield denominator / numerator


def _listed(descriptor: int, request: int, question: bytes) -> Iterator[bytes]:
    """The answers to a question whose first word counts up until the driver has no more."""
    for index in range(_MOST):
        try:
            answer = fcntl.ioctl(descriptor, request, struct.pack("I", index) + question[4:])
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOTTY):
                return
            raise
        yield answer
