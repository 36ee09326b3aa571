"""Budgets that the processes of many machines share."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from importlib import resources
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from genledger.budgets.leases.lease_protocol import Age, Ask, Counter, Lease, Reply, Standing
from genledger.budgets.stores.base import REDIS_IS_MISSING, StoreDown
from genledger.shared.addresses import without_credentials

T = TypeVar("T")

FORGET_EVERY = 60.0
"""Seconds after which a process looks again for counters that are over."""

FORGOTTEN_AT_ONCE = 500
"""Counters that are forgotten in one request."""

CONNECT_TIMEOUT = 0.5
"""Seconds to wait for a connection."""

ANSWER_TIMEOUT = 1.0
"""Seconds to wait for an answer."""

REPLICA_TIMEOUT_MS = 200
"""Milliseconds to wait for replicas."""


class RedisStore:
    """A store in Redis, or anything that speaks its protocol and runs its scripts.

    Every exchange is one script and one round trip. All keys carry one hash tag, `{<namespace>}`, because rules
    that overlap must be changed together: in a cluster, one namespace is one slot. Windows follow the server's
    clock. Keys do not expire by it, but go when the age of the store says the same; what nobody uses any more
    goes after a year.

    Args:
        client: A client of the `redis` package: `Redis`, `RedisCluster`, or what `Sentinel.master_for` returns.
            It should have time-outs; `from_url` sets them.
        namespace: Begins every key.
        replicas: Replicas that must have a grant before it counts (`WAIT`), so that none is lost in a failover.
            Not with `RedisCluster`.
    """

    def __init__(self, client: Any, *, namespace: str = "genledger", replicas: int = 0) -> None:
        self._client = client
        self._replicas = replicas
        self._prefix = f"{{{namespace}}}:"
        self._index = f"{self._prefix}counters"
        self._owed = f"{self._prefix}owed"
        self._forgetting = f"{self._prefix}forgetting"
        self._books = [self._index, self._forgetting, f"{self._prefix}age"]
        self._age = Age()
        self._forget_at = 0.0

    @classmethod
    def from_url(cls, url: str) -> RedisStore:
        """Connect as a URL says; beside the client's own options it may have `namespace` and `replicas`.

        Raises:
            ModuleNotFoundError: The Redis client is not installed.
            ValueError: The URL is no address, or has an option that the client does not know.
        """
        redis = _redis()
        try:
            scheme, place, path, query, fragment = parts = urlsplit(url)
            _ = parts.port
        except ValueError:  # whose message may quote a part of a password
            raise ValueError(
                f"budget store {without_credentials(url)!r} is not an address; it must be like redis://host:6379/0"
            ) from None
        options = dict(parse_qsl(query))
        namespace = options.pop("namespace", "genledger")
        replicas = int(options.pop("replicas", "0"))
        client = redis.Redis.from_url(
            urlunsplit((scheme, place, path, urlencode(options), fragment)),
            socket_connect_timeout=CONNECT_TIMEOUT,
            socket_timeout=ANSWER_TIMEOUT,
            # A request may safely be sent twice, and the first one after a pause often finds a dead connection.
            retry=redis.retry.Retry(redis.backoff.NoBackoff(), 1),
        )
        pool = client.connection_pool
        try:
            pool.connection_class(**pool.connection_kwargs)
        except TypeError as error:
            raise ValueError(f"budget store {without_credentials(url)!r} has an unknown option: {error}") from None
        return cls(client, namespace=namespace, replicas=replicas)

    def _try(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except (_redis().RedisError, OSError) as error:
            if isinstance(error, _redis().exceptions.ReadOnlyError):
                # A master that has become a replica: only a new connection finds the one in its place.
                pool = getattr(self._client, "connection_pool", None)
                if pool is not None:
                    pool.disconnect()
            raise StoreDown(f"Redis: {error}") from error

    def _run(self, script: _Script, keys: Sequence[str], arguments: Sequence[str]) -> Any:
        no_script = _redis().exceptions.NoScriptError
        try:
            return self._evaluate("EVALSHA", script.sha, keys, arguments)
        except no_script:
            return self._evaluate("EVAL", script.text, keys, arguments)

    def _evaluate(self, command: str, script: str, keys: Sequence[str], arguments: Sequence[str]) -> Any:
        words = (command, script, len(keys), *keys, *arguments)
        if not self._replicas:
            return self._client.execute_command(*words)
        with self._client.pipeline(transaction=False) as pipeline:
            pipeline.execute_command(*words)
            pipeline.execute_command("WAIT", self._replicas, REPLICA_TIMEOUT_MS)
            answer, replicated = pipeline.execute()
        if replicated < self._replicas:
            raise StoreDown(f"Redis: {replicated} of {self._replicas} replicas have confirmed the last request")
        return answer

    def exchange(self, number: int, ttl: float, asks: Sequence[Ask]) -> Reply:
        """See `Store`."""
        keys = [*self._books, *(self._prefix + ask.counter for ask in asks)]
        arguments = [str(number), repr(ttl), repr(self._age.claim())]
        for ask in asks:
            arguments.extend(str(int(part)) if isinstance(part, bool) else str(part) for part in ask[1:])
        answer = [_text(part) for part in self._try(lambda: self._run(_script("exchange"), keys, arguments))]
        standings = tuple(
            Standing(int(settled), int(others), int(held), refused == "1", float(frees_at))
            for settled, others, held, refused, frees_at in zip(*[iter(answer[4:])] * 5, strict=True)
        )
        age = self._age.hear(float(answer[3]))
        if time.monotonic() >= self._forget_at:
            self._forget(age)
        return Reply(float(answer[0]), answer[1] == "1", answer[2] == "1", standings)

    def _forget(self, age: float) -> None:
        self._forget_at = time.monotonic() + FORGET_EVERY
        with suppress(StoreDown):
            over = self._try(
                lambda: self._client.zrangebyscore(self._forgetting, "-inf", age, start=0, num=FORGOTTEN_AT_ONCE)
            )
            keys = [*self._books, *map(_text, over)]
            if over and self._try(lambda: self._run(_script("forget"), keys, ())) == FORGOTTEN_AT_ONCE:
                self._forget_at = 0.0  # there may be more: they go with the next request

    def now(self) -> float:
        """See `Store`."""
        seconds, microseconds = self._try(self._client.time)
        return seconds + microseconds / 1e6

    def counters(self) -> dict[str, Counter]:
        """See `Store`."""

        def read() -> tuple[list[Any], list[Any]]:
            keys = self._client.zrangebyscore(self._index, self.now(), "+inf")
            pipeline = self._client.pipeline(transaction=False)
            for key in keys:
                pipeline.hgetall(key)
            return keys, pipeline.execute()

        keys, hashes = self._try(read)
        return {
            _text(key).removeprefix(self._prefix): _counter(
                {_text(name): _text(value) for name, value in fields.items()}
            )
            for key, fields in zip(keys, hashes, strict=True)
            if fields
        }

    def document(self, name: str = "") -> str:
        """See `Store`."""
        return _text(self._try(lambda: self._client.get(self._document(name))) or "")

    def replace_document(self, old: str, new: str, name: str = "") -> bool:
        """See `Store`."""
        return bool(self._try(lambda: self._run(_REPLACE_SCRIPT, [self._document(name)], [old, new])))

    def _document(self, name: str) -> str:
        return f"{self._prefix}document{':' * bool(name)}{name}"

    def mark(self, key: str, seconds: float, *, again: bool = False) -> bool:
        """See `Store`."""
        name, lasts = self._mark(key, seconds)
        if again and seconds <= 0:
            return bool(self._try(lambda: self._client.delete(name)))
        return bool(self._try(lambda: self._client.set(name, "1", px=lasts, nx=not again)))

    def _mark(self, key: str, seconds: float) -> tuple[str, int]:
        return f"{self._prefix}mark:{key}", max(1, round(seconds * 1000))

    def owe(self, key: str, seconds: float, event: str) -> None:
        """See `Store`."""
        name, lasts = self._mark(key, seconds)
        self._try(lambda: self._run(_OWE_SCRIPT, [name, self._owed], [str(lasts), key, event]))

    def owed(self) -> dict[str, str]:
        """See `Store`."""
        found = self._try(lambda: self._client.hgetall(self._owed))
        return {_text(key): _text(event) for key, event in found.items()}

    def forget_owed(self, key: str) -> None:
        """See `Store`."""
        self._try(lambda: self._client.hdel(self._owed, key))

    def after_fork(self) -> None:
        """See `Store`; the client sees to it itself."""

    def close(self) -> None:
        """See `Store`."""
        self._client.close()


class _Script:
    """A script, and the name under which the server remembers it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


# Where the new document is in place already, the client has sent its request a second time.
_REPLACE_SCRIPT = _Script(
    "local now = redis.call('GET', KEYS[1]) or '' "
    "if now == ARGV[2] then return 1 end "
    "if now ~= ARGV[1] then return 0 end "
    "redis.call('SET', KEYS[1], ARGV[2]) "
    "return 1"
)


_OWE_SCRIPT = _Script(
    "if redis.call('SET', KEYS[1], '1', 'PX', ARGV[1], 'NX') then redis.call('HSET', KEYS[2], ARGV[2], ARGV[3]) end "
    "return 1"
)


@cache
def _script(name: str) -> _Script:
    return _Script(resources.files(__package__).joinpath(f"{name}.lua").read_text(encoding="utf-8"))


@cache
def _redis() -> Any:
    try:
        import redis
        import redis.backoff
        import redis.retry
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(REDIS_IS_MISSING, name=error.name) from error
    return redis


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _counter(fields: dict[str, str]) -> Counter:
    counter = Counter(meta=fields.pop("meta", ""))
    for name, value in fields.items():
        kind, rest = name[:2], name[2:]
        if kind == "s:":
            counter.spent[int(rest)] = int(value)
        else:
            number, total, held, expires, charge, *forget_at = value.split()
            counter.leases[rest] = Lease(
                int(number), int(total), int(held), float(expires), charge == "1", *map(float, forget_at)
            )
    return counter
