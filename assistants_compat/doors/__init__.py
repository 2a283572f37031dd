"""How a program's calls get in and its answers get out: the proxy on an OpenAI client.

The only room, with `engine.io`, that knows an HTTP library, and the only one that knows the SDK's internals
(`sdk_internals.py`).  It knows no endpoint: everything it accepts goes to `api.app`.  Start reading at `wrap.py`, then
`transport.py`.
"""
