from __future__ import annotations

import pytest

from gearshift.runtime.engines import blas_threads
from gearshift.runtime.engines.blas_threads import OneBlasThread


def test_the_setting_is_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = [4]
    seen = []
    switch = (lambda: threads[0], lambda count: threads.__setitem__(0, count))
    monkeypatch.setattr(blas_threads, "_switch", lambda: switch)
    one = OneBlasThread()
    with one:
        seen.append(threads[0])
    assert (seen, threads) == ([1], [4])
    with pytest.raises(ValueError, match="inside"), one:
        raise ValueError("inside")
    assert threads == [4]


def test_without_openblas_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blas_threads, "_switch", lambda: None)
    with OneBlasThread():
        pass


def test_the_loaded_library_answers() -> None:
    switch = blas_threads._switch()
    if switch is None:
        pytest.skip("numpy does not use OpenBLAS here")
    get, put = switch
    before = get()
    put(2)
    with OneBlasThread():
        assert get() == 1
    assert get() == 2
    put(before)
