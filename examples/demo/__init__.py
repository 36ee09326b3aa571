"""The demo: a small multi-tenant RAG service, and the provider's end of its calls on loopback.

`python -m examples.demo` runs it. `examples.demo.provider.DemoProvider` stands alone: it speaks the OpenAI
and Anthropic wire formats to the real client libraries, without a key.
"""
