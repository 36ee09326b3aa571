"""Oracle's asynchronous client, which newer versions have, and which does not stream."""

from __future__ import annotations

from dataclasses import replace

from tests.contract.rows.oci import ROW as SYNCHRONOUS
from tests.contract.rows.oci import ask_async

ROW = replace(
    SYNCHRONOUS,
    module="oci.async_base_client",
    call=ask_async,
    synchronous=False,
    asynchronous=True,
    streams=False,
)
