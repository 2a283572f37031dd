"""What later versions bring says so: a 400 with the code `not_supported`, and nothing happens."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from assistants_compat import Settings
from assistants_compat.testing import StandIn
from doors import Door
from legacy import dump, make_assistant, make_thread, start_run


@pytest.mark.parametrize(
    ("feature", "words"),
    [
        ("file_search", "file_search"),
        ("file_search of the assistant", "file_search"),
    ],
)
def test_a_run_with_a_later_feature_is_refused(
    door: Door, client: Any, upstream: StandIn, settings: Settings, feature: str, words: str
) -> None:
    """The refusal names the feature and leaves the store and the upstream as they were."""
    search = [{"type": "file_search"}]
    tools = search if feature == "file_search of the assistant" else []
    assistant, thread = make_assistant(door, client, tools=tools), make_thread(door, client)
    runs = client.beta.threads.runs
    calls = {
        "file_search": lambda: runs.create(thread.id, assistant_id=assistant.id, tools=search),
        "file_search of the assistant": lambda: runs.create(thread.id, assistant_id=assistant.id),
    }
    before = dump(settings)
    with pytest.raises(openai.BadRequestError) as caught:
        door(calls[feature]())
    body: Any = caught.value.body
    assert (body["code"], body["type"], body["param"]) == ("not_supported", "invalid_request_error", None)
    assert words in body["message"]
    assert dump(settings) == before
    assert upstream.requests == []


def test_the_plain_truncation_strategy_is_no_later_feature(door: Door, client: Any) -> None:
    """`auto`, the default that was always echoed, may be given back."""
    run = start_run(door, client, truncation_strategy={"type": "auto"})
    assert run.truncation_strategy.to_dict() == {"type": "auto", "last_messages": None}
