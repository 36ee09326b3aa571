"""Handlers for those who pass a framework its callbacks themselves, instead of having it patched."""

from __future__ import annotations

from typing import Any

from genledger.setup.load_instrumentors import available


def langchain_handler() -> Any:
    """Return a callback handler that records LangChain's and LangGraph's runs: `config={"callbacks": [handler]}`.

    It is for applications in which nothing may be patched: `instrument()` without `langchain` among its libraries, as
    `GENLEDGER_LIBRARIES` and `GENLEDGER_EXCLUDE` choose them. Beside `instrument()`'s own, nothing is recorded twice.
    It does nothing while nothing is recorded. One is enough for all threads and tasks.

    LangChain does not tell other handlers of the start of a model that is not a chat model, and is called
    asynchronously, while a handler like this one is there.

    Raises:
        ImportError: langchain-core is not installed.
    """
    try:
        return available()["langchain"].point.load().handler()
    except ModuleNotFoundError as error:
        raise ImportError(
            "genledger.langchain_handler() needs langchain-core. Install it: pip install langchain-core"
        ) from error
