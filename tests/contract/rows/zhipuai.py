"""The client of Zhipu: what that of Z.ai was made of."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.contract.rows.zai import ROW as ZAI


def make(url: str, asynchronous: bool, retries: int) -> Any:
    """Make a client; there are only synchronous ones."""
    import zhipuai

    return zhipuai.ZhipuAI(base_url=url, api_key="k", max_retries=retries, timeout=20)


COST = 1000 * 0.276e-6 + 500 * 1.103e-6
"""https://open.bigmodel.cn/pricing, in USD as the price table converts it."""

ROW = replace(ZAI, library="zhipuai", module="zhipuai", client=make, provider="zhipuai", cost=COST)
