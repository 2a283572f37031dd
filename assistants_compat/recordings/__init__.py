"""Cassettes as files: reads, scrubs, checks, summarizes and replays VCR.py recordings.

`convert/` turns recordings of the Assistants API into recordings of the Responses API. Nothing here imports pytest;
only the plugin does. Start reading at `vcr_yaml.py`, then `scrub.py`.
"""
