"""One file a noun: `async def` functions from a call to a reply, over IO.  They never import each other."""
