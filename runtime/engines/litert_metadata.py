"""What a TFLite file of ours says about itself, read without TFLite's schema code, which no runtime
ships.

A TFLite file is a flatbuffer with a list of named buffers. Ours has `gearshift`, the document of
`Network.to_json`, and `gearshift.sha256`, the digest of the file with those 32 bytes zero: TFLite's
own checks miss damage (tflite-runtime 2.14 hangs on a file that was cut short). Field numbers:
tensorflow/compiler/mlir/lite/schema/schema.fbs.
"""

from __future__ import annotations

import hashlib
import struct

from flatbuffers import encode, number_types
from flatbuffers.table import Table

from gearshift.runtime.engines.network import METADATA_KEY
from gearshift.runtime.errors import NetworkError

FILE_IDENTIFIER = b"TFL3"
DIGEST_KEY = f"{METADATA_KEY}.sha256"
DIGEST_SIZE = hashlib.sha256().digest_size
_IDENTIFIER = slice(4, 8)
_MODEL_BUFFERS, _MODEL_METADATA = 4, 6
_METADATA_NAME, _METADATA_BUFFER = 0, 1
_BUFFER_DATA = 0
_REFERENCE_SIZE = 4


def read_document(content: bytes, where: str) -> str:
    """The metadata document of a TFLite file; `where` names it in errors.

    Raises NetworkError when it is no TFLite file, has no metadata of ours, or is damaged anywhere.
    """
    if content[_IDENTIFIER] != FILE_IDENTIFIER:
        raise NetworkError(f"{where}: not a TFLite file")
    try:
        places = _metadata(content)
    except (struct.error, IndexError, ValueError, TypeError) as error:
        raise NetworkError(f"{where}: the TFLite file is damaged or cut short") from error
    if METADATA_KEY not in places or DIGEST_KEY not in places:
        raise NetworkError(
            f"{where}: no {METADATA_KEY!r} metadata; write it with gearshift models export tflite"
        )
    promised = content[places[DIGEST_KEY]]
    if promised != _digest(content, places[DIGEST_KEY]):
        raise NetworkError(
            f"{where}: not what was exported (its own sha256 differs); copy or export it again"
        )
    return content[places[METADATA_KEY]].decode(errors="replace")


def stamped(content: bytes) -> bytes:
    """A TFLite file with its digest written into it; raises KeyError without room for one."""
    place = _metadata(content)[DIGEST_KEY]
    return content[: place.start] + _digest(content, place) + content[place.stop :]


def _digest(content: bytes, place: slice) -> bytes:
    digest = hashlib.sha256(content[: place.start])
    digest.update(bytes(DIGEST_SIZE))
    digest.update(content[place.stop :])
    return digest.digest()


def _metadata(content: bytes) -> dict[str, slice]:
    """Where the named buffers lie; raises struct.error, ValueError, ... for a damaged file."""
    root = encode.Get(number_types.UOffsetTFlags.packer_type, content, 0)
    model = Table(content, root)
    buffers = _tables(model, _MODEL_BUFFERS)
    found = {}
    for entry in _tables(model, _MODEL_METADATA):
        name = content[_vector(entry, _METADATA_NAME)].decode()
        found[name] = _vector(buffers[_index(entry)], _BUFFER_DATA)
    return found


def _index(entry: Table) -> int:
    place = _field(entry, _METADATA_BUFFER)
    return int(entry.Get(number_types.Uint32Flags, entry.Pos + place)) if place else 0


def _field(table: Table, number: int) -> int:
    """Offset of a field in its table; 0 when it is absent."""
    return int(table.Offset(4 + 2 * number))


def _vector(table: Table, number: int) -> slice:
    """Where a vector of bytes or a string lies."""
    place = _field(table, number)
    if not place:
        return slice(0, 0)
    start, size = table.Vector(place), table.VectorLen(place)
    if start + size > len(table.Bytes):
        raise ValueError("a vector reaches past the end")
    return slice(start, start + size)


def _tables(table: Table, number: int) -> list[Table]:
    """The tables of a vector of tables."""
    place = _field(table, number)
    if not place:
        return []
    start, size = table.Vector(place), table.VectorLen(place)
    if start + _REFERENCE_SIZE * size > len(table.Bytes):
        raise ValueError("a vector reaches past the end")
    items = range(start, start + _REFERENCE_SIZE * size, _REFERENCE_SIZE)
    return [Table(table.Bytes, table.Indirect(item)) for item in items]
