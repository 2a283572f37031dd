"""Cassettes as files: VCR.py recordings are read, scrubbed, checked, shown and replayed here.

`convert/` plays recordings of the Assistants API through the library to make recordings of the Responses API.  Nothing
here imports pytest; the plugin does that.  Start reading at `vcr_yaml.py`, then `scrub.py`.
"""
