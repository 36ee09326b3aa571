"""Refuse calls before they cost money: `python examples/budget.py`.

The rule is in `budget.toml`. The demo's provider answers, so the example needs no key and costs nothing.
"""

from pathlib import Path

import openai
from demo.provider import DemoProvider

import genledger
from genledger.budgets import BudgetExceeded

genledger.instrument(budgets=Path(__file__).with_name("budget.toml"))

with DemoProvider() as provider, openai.OpenAI(base_url=provider.openai_url, api_key="demo") as client:
    for tenant in ("acme", "globex"):
        with genledger.attribution(tenant=tenant, feature="chat"):
            for number in range(1, 10):
                try:
                    client.responses.create(model="gpt-5-mini", input="Hello", max_output_tokens=200)
                except BudgetExceeded as refused:
                    print(f"{tenant}: call {number} was refused: {refused}")
                    break
                print(f"{tenant}: call {number}, ${genledger.spend().usd:.6f} so far")
    print(f"The provider was asked {len(provider.requests)} times.")
