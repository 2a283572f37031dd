"""The same download for legacy REST code (POST /threads, GET /files/{id}/content), which is not possible yet.

Programs that do not use the openai SDK for Python need an HTTP server that answers Assistants requests.
assistants_compat does not have one yet. Until then this script prints a message and exits with 2.
"""

from __future__ import annotations

import sys

NOT_YET = """\
Legacy REST needs the HTTP server of assistants_compat, which does not exist yet. Until then
legacy-sdk-codeinterpreter-file-download.py runs legacy code with the openai SDK, and
rest-codeinterpreter-file-download.py does the same job as plain REST without the Assistants API."""

if __name__ == "__main__":
    print(NOT_YET, file=sys.stderr)
    sys.exit(2)
