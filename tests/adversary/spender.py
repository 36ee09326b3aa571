"""Processes that spend one tenant's budget in every way a call can end: `python spender.py '{"port": …}'`, see `Plan`.

Each call is recorded in the ledger of its process, with its kind as the feature and its name on the provider's
bill as the session, so that what was settled can be compared with what was billed, call by call. The launcher
forks the processes, so that they start together.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import sys
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import httpx2
import openai
from billing_provider import MODEL, WORDS, Orders

import genledger
from genledger.budgets import BudgetExceeded

IMAGE = {"type": "image_url", "image_url": {"url": "https://images.example/bridge.jpg", "detail": "high"}}


@dataclass
class Plan:
    """What the launcher is told.

    Attributes:
        port: The provider's.
        closed: A port that nobody listens on.
        rules: The rule file.
        store: The store of the budgets.
        ledgers: The directory of the ledgers, one for each process.
        kinds: How often each kind of call is made, in proportion.
        processes: How many.
        threads: In each; every fourth runs an event loop.
        slow: Factor of all times in a call.
        doomed: Processes that do not stop when the budget is used up: they are killed.
        longest: Seconds after which a process stops in any case.
    """

    port: int
    closed: int
    rules: str
    store: str
    ledgers: str
    kinds: dict[str, float] = field(default_factory=dict)
    processes: int = 3
    threads: int = 8
    slow: float = 1.0
    doomed: int = 0
    longest: float = 60.0


def prose(chance: random.Random) -> str:
    return " ".join(chance.choices(WORDS, k=chance.randint(20, 80)))


def table(chance: random.Random) -> str:
    """Numbers, of which there are more tokens in a byte than Genledger expects."""
    return " ".join(str(chance.randint(100, 999)) for _ in range(chance.randint(40, 80)))


class Spender:
    """One thread's, or one task's, calls.

    Each method makes one call; its name says what happens to it.
    """

    def __init__(self, plan: Plan, seed: str, clients: Mapping[str, Any]) -> None:
        self.chance = random.Random(seed)
        self._plan = plan
        self._clients = clients

    def ask(self, kind: str, content: Any = None, *, client: str = "plain", **orders: Any) -> Any:
        """A call that is not yet made: the client's method, its arguments and its attribution."""
        chance = self.chance
        tokens = orders.pop("tokens", None) or chance.randint(15, 60)
        call = uuid.uuid4().hex
        given = {"wait": [self.time(0.02, 0.1)], "pace": self.time(0.004, 0.012)} | orders
        create = self._clients[client].chat.completions.create
        kwargs = {
            "model": MODEL,
            "messages": [{"role": "user", "content": content if content is not None else prose(chance)}],
            "max_tokens": tokens + chance.randint(0, 20),
            "extra_headers": {"x-orders": json.dumps(asdict(Orders(call, tokens, **given)))},
        }
        return create, kwargs, genledger.attribution(tenant="acme", feature=kind, session=call)

    def time(self, least: float, most: float) -> float:
        """Seconds between these, on a machine that is not slow."""
        return self.chance.uniform(least, most) * self._plan.slow

    def late(self) -> float:
        """Seconds that the provider takes to notice that nobody reads on: less than Genledger expects."""
        return self.chance.uniform(0.0, 0.4)

    def streamed(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        return {**kwargs, "stream": True, "stream_options": {"include_usage": True}}


class Threaded(Spender):
    """Synchronous calls."""

    def whole(self) -> None:
        create, kwargs, who = self.ask("whole")
        with who:
            create(**kwargs)

    def stream(self) -> None:
        create, kwargs, who = self.ask("stream")
        with who:
            for _ in create(**self.streamed(kwargs)):
                pass

    def _read(self, stream: Any, chunks: int, pause: float = 0.0) -> None:
        for number, _ in enumerate(stream, 1):
            if number == chunks:
                break
            time.sleep(pause)

    def cut_early(self) -> None:
        self._cut("cut early", 40, self.chance.randint(0, 4))

    def cut_late(self) -> None:
        self._cut("cut late", 60, self.chance.randint(35, 58))

    def _cut(self, kind: str, tokens: int, chunks: int) -> None:
        create, kwargs, who = self.ask(kind, tokens=tokens, late=self.late())
        with who:
            stream = create(**self.streamed(kwargs))
            if chunks:
                self._read(stream, chunks)
            if self.chance.random() < 0.5:
                stream.close()
            del stream

    def read_slowly(self) -> None:
        """Nothing of what the provider generates meanwhile is seen here before the stream is cut."""
        create, kwargs, who = self.ask("read slowly", tokens=60, late=self.late())
        with who:
            stream = create(**self.streamed(kwargs))
            self._read(stream, self.chance.randint(2, 6), self.time(0.05, 0.15))
            stream.close()

    def left_open(self) -> None:
        create, kwargs, who = self.ask("left open", tokens=60, late=self.late())
        with who:
            stream = create(**self.streamed(kwargs))
            self._read(stream, self.chance.randint(1, 10))
            time.sleep(self.time(0.2, 0.8))
            stream.close()

    def broken(self) -> None:
        """The connection is lost in the middle of the answer."""
        create, kwargs, who = self.ask("broken", breaks=self.chance.randint(0, 12), late=self.late())
        with who, contextlib.suppress(openai.APIError, httpx2.TransportError):
            if self.chance.random() < 0.5:
                create(**kwargs)
            else:
                for _ in create(**self.streamed(kwargs)):
                    pass

    def timed_out(self) -> None:
        client = self.chance.choice(["plain", "retrying"])
        waits = [self.time(0.3, 0.5)] + ([self.time(0.0, 0.02)] if self.chance.random() < 0.7 else [])
        create, kwargs, who = self.ask("timed out", client=client, wait=waits)
        if self.chance.random() < 0.3:
            kwargs = self.streamed(kwargs)
        with who, contextlib.suppress(openai.APIError):
            answer = create(**kwargs, timeout=self.time(0.05, 0.2))
            if kwargs.get("stream"):
                for _ in answer:
                    pass

    def failing(self) -> None:
        client = self.chance.choice(["plain", "retrying"])
        statuses = self.chance.choice([[400], [429], [500], [429, 500, 200], [500, 200]])
        create, kwargs, who = self.ask("failing", client=client, status=statuses, wait=[self.time(0.0, 0.03)])
        with who, contextlib.suppress(openai.APIError):
            create(**kwargs)

    def refused_connection(self) -> None:
        create, kwargs, who = self.ask("refused connection", client="nowhere")
        with who, contextlib.suppress(openai.APIConnectionError):
            create(**kwargs)

    def overrun(self) -> None:
        """More input tokens than expected, and an answer."""
        create, kwargs, who = self.ask("overrun", table(self.chance), hidden=self.chance.randint(0, 100))
        with who:
            create(**kwargs)

    def overrun_lost(self) -> None:
        """More input tokens than expected, and no answer."""
        create, kwargs, who = self.ask("overrun, lost", table(self.chance), wait=[self.time(0.3, 0.5)])
        with who, contextlib.suppress(openai.APIError):
            create(**kwargs, timeout=self.time(0.05, 0.2))

    def image(self) -> None:
        create, kwargs, who = self.ask("image", [{"type": "text", "text": "What is this?"}, IMAGE])
        with who:
            create(**kwargs)

    def image_lost(self) -> None:
        content = [{"type": "text", "text": "What is this?"}, IMAGE]
        create, kwargs, who = self.ask("image, lost", content, wait=[self.time(0.3, 0.5)])
        with who, contextlib.suppress(openai.APIError):
            create(**kwargs, timeout=self.time(0.05, 0.2))


class Tasked(Spender):
    """Asynchronous calls, which also end when their task is cancelled."""

    async def whole(self) -> None:
        create, kwargs, who = self.ask("whole")
        with who:
            await create(**kwargs)

    async def cancelled(self) -> None:
        """At any moment: before, while and after the answer comes, between tries, inside a stream."""
        client = self.chance.choice(["plain", "retrying"])
        statuses = self.chance.choice([[200], [200], [500, 200]])
        create, kwargs, who = self.ask("cancelled", client=client, status=statuses, late=self.late())
        if self.chance.random() < 0.5:
            kwargs = self.streamed(kwargs)

        async def call() -> None:
            with who, contextlib.suppress(openai.APIError):
                answer = await create(**kwargs)
                if kwargs.get("stream"):
                    async for _ in answer:
                        pass

        task = asyncio.create_task(call())
        await asyncio.wait([task], timeout=self.time(0.0, 0.4))
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    async def cancelled_while_lost(self) -> None:
        """A try timed out and the next is under way, or about to be."""
        waits = [self.time(0.3, 0.5), self.time(0.0, 0.1)]
        create, kwargs, who = self.ask("cancelled, lost", client="retrying", wait=waits)
        with who:
            task = asyncio.create_task(create(**kwargs, timeout=self.time(0.05, 0.2)))
            await asyncio.wait([task], timeout=self.time(0.05, 0.9))
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, openai.APIError):
                await task

    async def cut_early(self) -> None:
        await self._cut("cut early", 40, self.chance.randint(1, 4))

    async def cut_late(self) -> None:
        await self._cut("cut late", 60, self.chance.randint(35, 58))

    async def _cut(self, kind: str, tokens: int, chunks: int) -> None:
        create, kwargs, who = self.ask(kind, tokens=tokens, late=self.late())
        with who:
            stream = await create(**self.streamed(kwargs))
            number = 0
            async for _ in stream:
                number += 1
                if number == chunks:
                    break
            await stream.close()


class Persistence:
    """When to give up: after so many refusals in a row that the budget must be used up."""

    def __init__(self, plan: Plan, doomed: bool) -> None:
        self._patience = 10**9 if doomed else 15
        self._deadline = time.monotonic() + plan.longest
        self._refused = 0

    def goes_on(self) -> bool:
        return self._refused < self._patience and time.monotonic() < self._deadline

    def refused(self, error: BudgetExceeded) -> None:
        if "store is down" not in str(error):
            self._refused += 1

    def admitted(self) -> None:
        self._refused = 0


def choose(spender: Spender, plan: Plan) -> Any:
    """A method of the spender, by the proportions of the plan."""
    offered = [(name, share) for name, share in plan.kinds.items() if hasattr(spender, name)]
    names, shares = zip(*offered, strict=True)
    return getattr(spender, spender.chance.choices(names, shares)[0])


def in_a_thread(plan: Plan, index: int, number: int, clients: Mapping[str, Any]) -> None:
    spender = Threaded(plan, f"{index} {number}", clients)
    persistence = Persistence(plan, index < plan.doomed)
    while persistence.goes_on():
        try:
            choose(spender, plan)()
            persistence.admitted()
        except BudgetExceeded as error:
            persistence.refused(error)
            time.sleep(0.03)


def in_a_loop(plan: Plan, index: int, number: int) -> None:
    async def main() -> None:
        spender = Tasked(plan, f"{index} {number}", clients_of(plan, openai.AsyncOpenAI))
        persistence = Persistence(plan, index < plan.doomed)

        async def work() -> None:
            while persistence.goes_on():
                try:
                    await choose(spender, plan)()
                    persistence.admitted()
                except BudgetExceeded as error:
                    persistence.refused(error)
                    await asyncio.sleep(0.03)

        await asyncio.gather(work(), work())

    asyncio.run(main())


def clients_of(plan: Plan, kind: Any) -> dict[str, Any]:
    plain = kind(api_key="k", base_url=f"http://127.0.0.1:{plan.port}/v1", max_retries=0)
    return {
        "plain": plain,
        "retrying": plain.with_options(max_retries=2),
        "nowhere": plain.with_options(base_url=f"http://127.0.0.1:{plan.closed}/v1"),
    }


def work(plan: Plan, index: int) -> None:
    os.environ["GENLEDGER_LEDGER"] = f"{plan.ledgers}/{index}.db"
    genledger.instrument(destinations=["ledger"], libraries=["openai"], budgets=plan.rules, budget_store=plan.store)
    clients = clients_of(plan, openai.OpenAI)
    threads = [
        threading.Thread(target=in_a_loop, args=(plan, index, number))
        if number % 4 == 3
        else threading.Thread(target=in_a_thread, args=(plan, index, number, clients))
        for number in range(plan.threads)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    genledger.flush(10)
    genledger.shutdown(10)


def main() -> None:
    plan = Plan(**json.loads(sys.argv[1]))
    children = []
    for index in range(plan.processes):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                work(plan, index)
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    print(*children, flush=True)
    statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    sys.exit(any(status > 0 for status in statuses))


if __name__ == "__main__":
    main()
