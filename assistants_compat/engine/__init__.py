"""What happens behind the API: runs, and the threads, files, containers and vector stores that runs use.

All functions are `async def` over `io.IO`, which is the only I/O there is; the blocking client steps the same
functions by hand.  No HTTP library, clock or thread is imported here outside `io.py`.  Start reading at `io.py`, then
`runs/`.
"""
