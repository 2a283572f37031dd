"""Builds recordings of the old service, shaped like real ones, as legacy test suites hold them.

Sources: recordings.md sections 4 and 5 (objects and events as served in 2025-10), test_new_assistant.yaml (headers).
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import yaml

BASE = "https://api.openai.com/v1"
AT = 1_761_861_900
ANSWER = "There are 3 apples."


class Recording:
    """The exchanges of one conversation, with its own ids."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.exchanges: list[dict[str, Any]] = []
        self.assistant, self.thread, self.message, self.run, self.step, self.answer, self.call = (
            prefix + hashlib.sha256(f"{name}{prefix}{n}".encode()).hexdigest()[:24]
            for n, prefix in enumerate(("asst_", "thread_", "msg_", "run_", "step_", "msg_", "call_"))
        )
        self.tools: list[dict[str, Any]] = []

    def add(self, method: str, path: str, sent: Any, answer: Any, status: int = 200) -> None:
        """Add one exchange; an answer of type str is a stream of events."""
        kind = "text/event-stream; charset=utf-8" if isinstance(answer, str) else "application/json"
        self.exchanges.append(
            {
                "request": {
                    "method": method,
                    "uri": BASE + path,
                    "body": None if sent is None else json.dumps(sent),
                    "headers": {"OpenAI-Beta": ["assistants=v2"], "User-Agent": ["OpenAI/Python 1.99.7"]},
                },
                "response": {
                    "status": {"code": status, "message": "OK" if status == 200 else "Not Found"},
                    "headers": {
                        "Content-Type": [kind],
                        "openai-poll-after-ms": ["10"],
                        "x-request-id": [f"req_{len(self.exchanges):032x}"],
                    },
                    "body": {"string": answer if isinstance(answer, str) else json.dumps(answer, indent=2)},
                },
            }
        )

    def with_conversation(self, question: str = "How many apples?") -> Recording:
        """Add the creation of an assistant, a thread and a message."""
        self.add("POST", "/assistants", self._assistant_sent(), self._assistant())
        self.add("POST", "/threads", {}, self._thread())
        self.add(
            "POST", f"/threads/{self.thread}/messages", {"role": "user", "content": question}, self._question(question)
        )
        return self

    def with_polled_run(self) -> Recording:
        """Add a run that is polled twice."""
        self.add("POST", f"/threads/{self.thread}/runs", {"assistant_id": self.assistant}, self.run_object("queued"))
        self.add("GET", f"/threads/{self.thread}/runs/{self.run}", None, self.run_object("in_progress"))
        self.add("GET", f"/threads/{self.thread}/runs/{self.run}", None, self.run_object("completed"))
        return self

    def with_message_list(self, question: str = "How many apples?") -> Recording:
        """Add a list of the messages, newest first."""
        data = [self._answer_message(), self._question(question)]
        page = {"object": "list", "data": data, "first_id": self.answer, "last_id": self.message, "has_more": False}
        self.add("GET", f"/threads/{self.thread}/messages", None, page)
        return self

    def with_function_run(self) -> Recording:
        """Add a run that asks for a function's output and gets it."""
        required_action = {
            "type": "submit_tool_outputs",
            "submit_tool_outputs": {
                "tool_calls": [
                    {
                        "id": self.call,
                        "type": "function",
                        "function": {"name": "count", "arguments": '{"what":"apples"}'},
                    }
                ]
            },
        }
        path = f"/threads/{self.thread}/runs"
        self.add("POST", path, {"assistant_id": self.assistant}, self.run_object("queued"))
        self.add("GET", f"{path}/{self.run}", None, self.run_object("requires_action", required_action=required_action))
        outputs = {"tool_outputs": [{"tool_call_id": self.call, "output": "3"}]}
        self.add("POST", f"{path}/{self.run}/submit_tool_outputs", outputs, self.run_object("queued"))
        self.add("GET", f"{path}/{self.run}", None, self.run_object("completed"))
        return self

    def with_streamed_run(self) -> Recording:
        """Add a streamed run."""
        in_stream = {"status": "in_progress", "incomplete_details": None, "incomplete_at": None, "completed_at": None}
        message = {**self._answer_message(), **in_stream, "content": []}
        done = {**self._answer_message(), **in_stream, "status": "completed", "completed_at": AT + 3}
        step = self._step("in_progress")
        delta = {
            "id": self.answer,
            "object": "thread.message.delta",
            "delta": {"content": [{"index": 0, "type": "text", "text": {"value": ANSWER, "annotations": []}}]},
        }
        events = [
            ("thread.run.created", self.run_object("queued")),
            ("thread.run.queued", self.run_object("queued")),
            ("thread.run.in_progress", self.run_object("in_progress")),
            ("thread.run.step.created", step),
            ("thread.run.step.in_progress", step),
            ("thread.message.created", message),
            ("thread.message.in_progress", message),
            ("thread.message.delta", delta),
            ("thread.message.completed", done),
            ("thread.run.step.completed", self._step("completed")),
            ("thread.run.completed", self.run_object("completed")),
        ]
        text = "".join(f"event: {name}\ndata: {json.dumps(data)}\n\n" for name, data in events)
        sent = {"assistant_id": self.assistant, "stream": True}
        self.add("POST", f"/threads/{self.thread}/runs", sent, f"{text}event: done\ndata: [DONE]\n\n")
        return self

    def with_missing_thread(self) -> Recording:
        """Add a request for an unknown thread."""
        error = {
            "message": "No thread found with id 'thread_gone'.",
            "type": "invalid_request_error",
            "param": None,
            "code": None,
        }
        self.add("GET", "/threads/thread_gone", None, {"error": error}, 404)
        return self

    def write(self, path: Path) -> None:
        """Write the recording as VCR.py does."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump({"interactions": self.exchanges, "version": 1}), encoding="utf-8")

    # --- objects

    def _assistant_sent(self) -> dict[str, Any]:
        return {"model": "gpt-4o", "name": "Counter", **({"tools": self.tools} if self.tools else {})}

    def _assistant(self) -> dict[str, Any]:
        return {
            "id": self.assistant,
            "object": "assistant",
            "created_at": AT,
            "name": "Counter",
            "description": None,
            "model": "gpt-4o",
            "instructions": None,
            "tools": self.tools,
            "top_p": 1.0,
            "temperature": 1.0,
            "reasoning_effort": None,
            "tool_resources": {},
            "metadata": {},
            "response_format": "auto",
        }

    def _thread(self) -> dict[str, Any]:
        return {"id": self.thread, "object": "thread", "created_at": AT, "metadata": {}, "tool_resources": {}}

    def _question(self, question: str) -> dict[str, Any]:
        return self._message(self.message, "user", question, assistant=None, run=None)

    def _answer_message(self) -> dict[str, Any]:
        return self._message(self.answer, "assistant", ANSWER, assistant=self.assistant, run=self.run)

    def _message(self, id_: str, role: str, text: str, *, assistant: str | None, run: str | None) -> dict[str, Any]:
        return {
            "id": id_,
            "object": "thread.message",
            "created_at": AT + 1,
            "assistant_id": assistant,
            "thread_id": self.thread,
            "run_id": run,
            "role": role,
            "content": [{"type": "text", "text": {"value": text, "annotations": []}}],
            "attachments": [],
            "metadata": {},
        }

    def _step(self, status: str) -> dict[str, Any]:
        return {
            "id": self.step,
            "object": "thread.run.step",
            "created_at": AT + 2,
            "run_id": self.run,
            "assistant_id": self.assistant,
            "thread_id": self.thread,
            "type": "message_creation",
            "status": status,
            "cancelled_at": None,
            "completed_at": AT + 3 if status == "completed" else None,
            "expires_at": AT + 601,
            "failed_at": None,
            "last_error": None,
            "step_details": {"type": "message_creation", "message_creation": {"message_id": self.answer}},
            "usage": _USAGE if status == "completed" else None,
        }

    def run_object(self, status: str, **changes: Any) -> dict[str, Any]:
        """Return the run in this status."""
        ended = status == "completed"
        return {
            "id": self.run,
            "object": "thread.run",
            "created_at": AT + 1,
            "assistant_id": self.assistant,
            "thread_id": self.thread,
            "status": status,
            "started_at": None if status == "queued" else AT + 1,
            "expires_at": None if ended else AT + 601,
            "cancelled_at": None,
            "failed_at": None,
            "completed_at": AT + 3 if ended else None,
            "required_action": None,
            "last_error": None,
            "model": "gpt-4o",
            "instructions": None,
            "tools": self.tools,
            "tool_resources": {},
            "metadata": {},
            "temperature": 1.0,
            "top_p": 1.0,
            "reasoning_effort": None,
            "max_completion_tokens": None,
            "max_prompt_tokens": None,
            "truncation_strategy": {"type": "auto", "last_messages": None},
            "incomplete_details": None,
            "usage": _USAGE if ended else None,
            "response_format": "auto",
            "tool_choice": "auto",
            "parallel_tool_calls": True,
            **changes,
        }


_USAGE = {
    "prompt_tokens": 31,
    "completion_tokens": 6,
    "total_tokens": 37,
    "prompt_token_details": {"cached_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 0},
}
