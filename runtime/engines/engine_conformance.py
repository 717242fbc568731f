"""What every engine has to pass, ours and plugged-in ones alike.

for check in engine_checks():
    check(lambda: MyEngine(...))  # raises AssertionError, saying what is wrong
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gearshift.runtime.engines.engine import Engine
from gearshift.runtime.errors import EngineError, FrameError
from gearshift.runtime.types import Image

MakeEngine = Callable[[], Engine]
EngineCheck = Callable[[MakeEngine], None]


def _image(engine: Engine, seed: int) -> Image:
    shape = (engine.network.height, engine.network.width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def _require(condition: object, message: str) -> None:
    if not condition:
        raise AssertionError(message)


def gives_its_outputs(make: MakeEngine) -> None:
    """One float32 vector of the length its network declares, finite for any image."""
    engine = make()
    for image in (_image(engine, 0), np.zeros_like(_image(engine, 0))):
        output = engine.run(image)
        _require(output.dtype == np.float32, f"outputs are {output.dtype}")
        _require(output.shape == (engine.network.output_size,), f"outputs have {output.shape}")
        _require(np.isfinite(output).all(), "outputs are not finite")
    engine.close()


def is_deterministic(make: MakeEngine) -> None:
    """The same image gives the same bits, whatever was run before and in a second engine."""
    engine, other = make(), make()
    image = _image(engine, 1)
    first = engine.run(image).tobytes()
    engine.run(_image(engine, 2))
    _require(engine.run(image).tobytes() == first, "the second run differs from the first")
    _require(other.run(image).tobytes() == first, "a second engine differs from the first")
    engine.close()
    other.close()


def keeps_its_outputs(make: MakeEngine) -> None:
    """Outputs stay as they are until the next run, even when the image's memory is reused."""
    engine = make()
    image = _image(engine, 3)
    output = engine.run(image)
    before = output.tobytes()
    image.fill(255)
    _require(output.tobytes() == before, "outputs change without a run")
    engine.close()


def takes_any_memory_layout(make: MakeEngine) -> None:
    """A view into a larger picture gives what a copy of it gives, and is not written to."""
    engine = make()
    image = _image(engine, 4)
    expected = engine.run(image).tobytes()
    padded = np.pad(image, 3)
    before = padded.copy()
    _require(engine.run(padded[3:-3, 3:-3]).tobytes() == expected, "a view gives other outputs")
    _require(np.array_equal(padded, before), "the image was written to")
    image.flags.writeable = False
    _require(engine.run(image).tobytes() == expected, "a read-only image gives other outputs")
    engine.close()


def refuses_wrong_frames(make: MakeEngine) -> None:
    """A frame of another size or type is a FrameError in one line; the engine goes on working."""
    engine = make()
    image = _image(engine, 5)
    expected = engine.run(image).tobytes()
    wrong: tuple[Image, ...] = (
        image[:-1],
        image[:, :-1],
        image.T.copy(),
        image[None],
        image.reshape(-1),
        image.astype(np.float32),  # type: ignore[arg-type,unused-ignore]
        image.astype(np.int8),  # type: ignore[arg-type,unused-ignore]
    )
    for bad in wrong:
        if bad.shape == image.shape and bad.dtype == image.dtype:
            continue  # a square image transposed
        try:
            engine.run(bad)
        except FrameError as error:
            _require("\n" not in str(error), "the error is longer than a line")
        else:
            raise AssertionError(f"a frame of {bad.shape} {bad.dtype} was accepted")
    _require(engine.run(image).tobytes() == expected, "a refused frame changed the engine")
    engine.close()


def closes(make: MakeEngine) -> None:
    """Closing twice is harmless; running afterwards raises EngineError."""
    engine = make()
    image = _image(engine, 6)
    engine.run(image)
    engine.close()
    engine.close()
    try:
        engine.run(image)
    except EngineError:
        return
    raise AssertionError("a closed engine ran")


def engine_checks() -> tuple[EngineCheck, ...]:
    """Every check an engine passes."""
    return (
        gives_its_outputs,
        is_deterministic,
        keeps_its_outputs,
        takes_any_memory_layout,
        refuses_wrong_frames,
        closes,
    )
