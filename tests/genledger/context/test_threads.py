"""A call belongs to who submitted it, in pools of threads as well."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.pool import ThreadPool
from typing import Any

import pytest
from opentelemetry import baggage

import genledger


@pytest.fixture(autouse=True)
def instrumented() -> Iterator[None]:
    """Genledger, with nowhere to send anything."""
    genledger.instrument(libraries=[], destinations=[])
    yield
    genledger.uninstrument()


def tenant(_: Any = None) -> object:
    return baggage.get_baggage("genledger.tenant.id")


def wait() -> None:
    time.sleep(0.01)


def fail() -> None:
    raise ValueError


def heard(add: Callable[[Callable[[Any], None]], object]) -> object:
    """The tenant that a callback belongs to."""
    found: queue.SimpleQueue[object] = queue.SimpleQueue()
    add(lambda _: found.put(tenant()))
    return found.get(timeout=600)


def later(work: Callable[[], None]) -> None:
    threading.Timer(0, work).start()


WAYS: dict[str, Callable[[Any], object]] = {
    "submit": lambda pool: pool.submit(tenant).result(),
    "apply": lambda pool: pool.apply(tenant),
    "apply_async": lambda pool: pool.apply_async(func=tenant).get(),
    "map": lambda pool: pool.map(tenant, [1])[0],
    "starmap": lambda pool: pool.starmap(tenant, [(1,)])[0],
    "imap": lambda pool: next(pool.imap(tenant, [1])),
    "imap_unordered": lambda pool: next(pool.imap_unordered(tenant, [1])),
    "submit, its callback": lambda pool: heard(pool.submit(wait).add_done_callback),
    "apply_async, its callback": lambda pool: heard(lambda told: pool.apply_async(tenant, callback=told)),
    "apply_async, its error_callback": lambda pool: heard(lambda told: pool.apply_async(fail, error_callback=told)),
    "Timer": lambda pool: heard(lambda told: later(lambda: told(None))),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_pool_made_by_the_first_request_works_for_each_in_its_own_name(way: str) -> None:
    found, pool = [], None
    for name in ("acme", "globex", "initech"):
        with genledger.attribution(tenant=name):
            pool = pool or (ThreadPoolExecutor(1) if "submit" in way else ThreadPool(1))
            found.append(WAYS[way](pool))
    found.append(WAYS[way](pool))
    assert found == ["acme", "globex", "initech", None]
