"""The proxies on OpenAI clients: they intercept a program's Assistants calls and return the responses.

Only this package imports an HTTP library, and only `sdk_internals.py` knows the SDK's internals. No module here
knows an endpoint: every intercepted call goes to `api.app`. Start reading at `wrap.py`, then `transport.py`.
"""
