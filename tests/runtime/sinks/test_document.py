"""The JSON document: every field is explained, and its snippet in the docs runs."""

from __future__ import annotations

import re
import select
import socket
import subprocess
import sys
from pathlib import Path

from gearshift.runtime.sinks.document import ReportDocument
from gearshift.runtime.sinks.sink_conformance import INFO, report
from gearshift.runtime.sinks.sink_registry import find_sink
from gearshift.runtime.sinks.udp import Udp, UdpOptions

DOCS = Path(__file__).parents[3] / "docs" / "sinks.md"


def test_the_docs_explain_every_field_and_no_other() -> None:
    rows = re.findall(r"^\| (`.*?) \|", DOCS.read_text(), re.MULTILINE)
    explained = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    options = {name for kind in ("mavlink",) for name in find_sink(kind).options.__struct_fields__}
    assert set(ReportDocument.__struct_fields__) <= explained
    assert explained <= set(ReportDocument.__struct_fields__) | options


def test_the_consumer_in_the_docs_understands_a_flight() -> None:
    snippet = next(
        block
        for block in re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
        if "listener" in block
    )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-u", "-c", snippet.replace("14660", str(port))]
    sink = Udp(UdpOptions(port=port))
    sink.open(INFO)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as consumer:
        assert consumer.stdout is not None
        # Datagrams before it listens are lost, as in life.
        while not select.select([consumer.stdout], [], [], 0.05)[0] and consumer.poll() is None:
            sink.write(report(0))
        assert consumer.stdout.readline() == "2.0 2.0\n"
        consumer.kill()
    sink.close()
