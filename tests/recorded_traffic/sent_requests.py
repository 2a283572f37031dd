"""Checks every request that the library sent upstream."""

from __future__ import annotations

from pathlib import Path

from platform_schemas import check_body

from assistants_compat.testing import StandIn

OUTPUTS = "code_interpreter_call.outputs"


def check_requests(upstream: StandIn, spec: Path) -> int:
    """Return how many `POST /responses` were sent; fail for one that the spec forbids or that lacks `include`.

    Without `include` the outputs of a call are null in every recording, so images would be lost.
    """
    # Only a stand-in that has the description checks more than the SDK's types do.
    assert upstream._rules._spec is not None, "the stand-in was started without the spec"
    created = [
        request.json for request in upstream.requests if (request.method, request.path) == ("POST", "/responses")
    ]
    for sent in created:
        check_body(spec, "CreateResponse", sent)
        if any(tool["type"] == "code_interpreter" for tool in sent.get("tools", [])):
            assert OUTPUTS in sent.get("include", []), sent
    return len(created)
