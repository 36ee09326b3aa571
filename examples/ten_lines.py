"""An application that knows nothing of Genledger: `opentelemetry-instrument python examples/ten_lines.py`.

It talks to OpenAI with `OPENAI_API_KEY` (and `OPENAI_BASE_URL`), or, without a key, to the demo's provider.
"""

import os

import openai
from demo.provider import DemoProvider

if "OPENAI_API_KEY" not in os.environ:
    os.environ |= {"OPENAI_API_KEY": "demo", "OPENAI_BASE_URL": DemoProvider().start().openai_url}

client = openai.OpenAI()
hello = "Say hello to a ledger."
answer = client.chat.completions.create(model="gpt-4.1-mini", messages=[{"role": "user", "content": hello}])
print(answer.choices[0].message.content)
print(client.embeddings.create(model="text-embedding-3-small", input=hello).usage)
with client.responses.stream(model="gpt-5-mini", input="Say goodbye to it.") as stream:
    print(stream.get_final_response().output_text)
