"""The work behind the API: runs, and the threads, files, containers and vector stores that runs use.

Functions that do I/O are `async def` and use `io.IO` for it; synchronous clients run the same functions. Only `io.py`
uses threads, time or sleep, and no module here imports an HTTP library. Start reading at `io.py`, then `runs/`.
"""
