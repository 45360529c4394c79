"""A provider on this machine that speaks both protocols, counts what reaches it, and fails as it is told."""

from __future__ import annotations

import email.parser
import email.policy
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlparse

from fake_wire import Answer, anthropic_events, anthropic_message, openai_completion, openai_events


@dataclass
class Fault:
    """What goes wrong instead."""

    status: int = 500
    headers: dict[str, str] = field(default_factory=dict)
    message: str = "it went wrong"
    seconds: float = 0.0
    truncated: bool = False
    broken_stream: bool = False
    echo_key: bool = False


@dataclass
class Hold:
    """A place where the server waits until it is let go."""

    point: str
    reached: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)


def echo(prompt: str, times: int) -> Answer:
    """What the model says when nothing else is planned."""
    return Answer(json.dumps({"label": prompt}))


class FakeProvider:
    """The server's state. ``plan(prompt, times)`` says what comes back for a prompt that is asked for the nth time."""

    def __init__(self) -> None:
        self.plan: Callable[[str, int], Answer | Fault] = echo
        self.calls: Counter[str] = Counter()
        self.asked: Counter[str] = Counter()
        self.batched: Counter[str] = Counter()
        self.bodies: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        self.times: list[float] = []
        self.faults: dict[str, list[Fault]] = {}
        self.files: dict[str, dict[str, Any]] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.hold_at: Hold | None = None
        self.lock = threading.Lock()
        self.under_way = self.most_under_way = 0
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"world": self}))
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        if self.hold_at is not None:
            self.hold_at.released.set()
        self.server.shutdown()
        self.server.server_close()

    @contextmanager
    def hold(self, point: str) -> Iterator[Hold]:
        """Stop the handler that comes to a point, until the block ends."""
        self.hold_at = Hold(point)
        try:
            yield self.hold_at
        finally:
            self.hold_at.released.set()
            self.hold_at = None

    def at(self, point: str) -> None:
        hold = self.hold_at
        if hold is not None and hold.point == point:
            hold.reached.set()
            hold.released.wait(30)

    def add_batch(self, lines: list[dict[str, Any]], **more: Any) -> str:
        """A batch with the requests in the lines."""
        with self.lock:
            id = f"batch-{len(self.batches)}"
            self.batched.update(line["custom_id"] for line in lines)
            self.batches[id] = {"id": id, "lines": lines, "status": "in_progress", "created": time.time(), **more}
        return id

    def end(
        self,
        status: str = "completed",
        *,
        lost: int = 0,
        errors: int = 0,
        twice: bool = False,
        foreign: bool = False,
    ) -> None:
        """End all batches: the last `lost` requests unanswered, the first `errors` in error, the order reversed.

        With `twice`, every request has a second result, which says something else.
        """
        for batch in self.batches.values():
            if batch["status"] == "in_progress":
                lines = batch["lines"]
                answered = lines[: len(lines) - lost]
                results = [(line, self.plan(prompt_of(line.get("body") or line["params"]), 1)) for line in answered]
                results = [(line, Fault(400) if n < errors else answer) for n, (line, answer) in enumerate(results)]
                results.reverse()
                again = [(line, Answer('{"label": "a second delivery"}')) for line, _ in results] if twice else []
                batch |= {"status": status, "results": results + again, "lost": lines[len(answered) :]}
                batch["foreign"] = foreign


def prompt_of(body: dict[str, Any]) -> str:
    return str(body["messages"][-1]["content"])


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    world: FakeProvider

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.serve("GET")

    def do_POST(self) -> None:
        self.serve("POST")

    def serve(self, method: str) -> None:
        url = urlparse(self.path)
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.query = parse_qs(url.query)
        with self.world.lock:
            self.world.keys |= {self.headers.get("Authorization") or "", self.headers.get("x-api-key") or ""}
            self.world.times.append(time.monotonic())
        path = url.path.removeprefix("/v1")
        with suppress(BrokenPipeError, ConnectionResetError):
            self.route(method, path, raw)

    def route(self, method: str, path: str, raw: bytes) -> None:
        name, handler = {
            ("POST", "/chat/completions"): ("ask", self.chat),
            ("POST", "/messages"): ("ask", self.chat),
            ("POST", "/files"): ("upload", self.upload),
            ("GET", "/files"): ("list files", self.list_files),
            ("POST", "/batches"): ("create", self.create),
            ("POST", "/messages/batches"): ("create", self.create),
            ("GET", "/batches"): ("list batches", self.list_batches),
            ("GET", "/messages/batches"): ("list batches", self.list_batches),
        }.get((method, path), ("", self.one))
        if not name:
            name = "results" if path.endswith(("/content", "/results")) else "poll"
        with self.world.lock:
            self.world.calls[name] += 1
            planned = self.world.faults.get(name)
            fault = planned.pop(0) if planned else None
        if fault is not None:
            return self.fail(fault)
        self.world.at(f"{name} before")
        return handler(path, raw)

    def chat(self, path: str, raw: bytes) -> None:
        body, world = json.loads(raw), self.world
        prompt = prompt_of(body)
        with world.lock:
            world.asked[prompt] += 1
            world.bodies.append(body)
            world.under_way += 1
            world.most_under_way = max(world.most_under_way, world.under_way)
            times = world.asked[prompt]
        try:
            answer = world.plan(prompt, times)
            if prompt.startswith("slow"):
                world.at("slow ask")
            if isinstance(answer, Fault):
                return self.fail(answer, body)
            anthropic = path == "/messages"
            if body.get("stream"):
                return self.stream(body, answer, anthropic)
            return self.send((anthropic_message if anthropic else openai_completion)(body, answer))
        finally:
            with world.lock:
                world.under_way -= 1

    def fail(self, fault: Fault, body: dict[str, Any] | None = None) -> None:
        time.sleep(fault.seconds)
        if fault.truncated:
            return self.send_raw(b'{"id": "c", "choi', 200)
        if fault.broken_stream:
            return self.stream(body or {}, Answer("half of an answ"), self.path.endswith("/messages"), whole=False)
        message = fault.message
        if fault.echo_key:
            message += f" {self.headers.get('Authorization')}"
        said = {"type": "error", "error": {"type": "api_error", "message": message, "code": None}}
        return self.send(said, fault.status, fault.headers)

    def send(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send_raw(json.dumps(value).encode(), status, headers or {})

    def send_raw(self, raw: bytes, status: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def stream(self, body: dict[str, Any], answer: Answer, anthropic: bool, whole: bool = True) -> None:
        events = list((anthropic_events if anthropic else openai_events)(body, answer))
        raw = b"".join(event.encode() for event in (events if whole else events[: len(events) // 2]))
        self.send_raw(raw, 200, {"Content-Type": "text/event-stream"})

    def upload(self, path: str, raw: bytes) -> None:
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        parts = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + raw)
        (part,) = [part for part in parts.iter_parts() if part.get_filename()]
        text = part.get_payload(decode=True).decode()
        with self.world.lock:
            id = f"file-{len(self.world.files)}"
            lines = [json.loads(line) for line in text.splitlines()]
            self.world.files[id] = {"name": part.get_filename(), "lines": lines, "created": int(time.time())}
        self.world.at("upload after")
        self.send(self.file(id))

    def file(self, id: str) -> dict[str, Any]:
        file = self.world.files[id]
        return {
            "id": id,
            "object": "file",
            "bytes": 1,
            "created_at": file["created"],
            "filename": file["name"],
            "purpose": "batch",
            "status": "processed",
        }

    def list_files(self, path: str, raw: bytes) -> None:
        self.send({"object": "list", "data": [self.file(id) for id in reversed(self.world.files)], "has_more": False})

    def create(self, path: str, raw: bytes) -> None:
        body = json.loads(raw)
        if path == "/batches":
            lines, more = self.world.files[body["input_file_id"]]["lines"], {"metadata": body.get("metadata")}
        else:
            lines, more = body["requests"], {}
        id = self.world.add_batch(lines, **more)
        self.world.at("create after")
        self.send(self.batch(id, path == "/messages/batches"))

    def list_batches(self, path: str, raw: bytes) -> None:
        """Two a page, the newest first."""
        ids = list(reversed(self.world.batches))
        after = (self.query.get("after") or self.query.get("after_id") or [None])[0]
        start = 0 if after is None else ids.index(after) + 1
        page = ids[start : start + 2]
        data = [self.batch(id, path.startswith("/messages")) for id in page]
        ends = {"first_id": page[0] if page else None, "last_id": page[-1] if page else None}
        self.send({"object": "list", "data": data, "has_more": start + 2 < len(ids), **ends})

    def batch(self, id: str, anthropic: bool) -> dict[str, Any]:
        batch = self.world.batches[id]
        total, ended = len(batch["lines"]), batch["status"] != "in_progress"
        wrong = sum(isinstance(answer, Fault) for _, answer in batch.get("results", ()))
        lost = len(batch.get("lost", ()))
        done = (total - lost) if ended else 0
        if anthropic:
            stamp = datetime.fromtimestamp(batch["created"], UTC).isoformat()
            counts = {"succeeded": done - wrong, "errored": wrong, "expired": lost, "canceled": 0}
            return {
                "id": id,
                "type": "message_batch",
                "processing_status": "ended" if ended else "in_progress",
                "request_counts": {"processing": 0 if ended else total, **counts},
                "created_at": stamp,
                "expires_at": stamp,
                "ended_at": stamp if ended else None,
                "results_url": f"{self.world.url}/v1/messages/batches/{id}/results" if ended else None,
            }
        return {
            "id": id,
            "object": "batch",
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
            "created_at": int(batch["created"]),
            "input_file_id": "file-0",
            "status": batch["status"],
            "metadata": batch.get("metadata"),
            "output_file_id": f"{id}-output" if ended and batch["status"] != "failed" else None,
            "error_file_id": f"{id}-errors" if ended and wrong else None,
            "errors": {"data": [{"message": "a bad line"}]} if batch["status"] == "failed" else None,
            "request_counts": {"total": total, "completed": done - wrong, "failed": wrong},
        }

    def one(self, path: str, raw: bytes) -> None:
        anthropic, parts = path.startswith("/messages"), path.strip("/").split("/")
        id = parts[2] if anthropic else parts[1]
        if not path.endswith(("/content", "/results")):
            if id not in self.world.batches:
                return self.send({"error": {"message": "no such batch"}}, 404)
            return self.send(self.batch(id, anthropic))
        batch_id, _, kind = id.rpartition("-") if not anthropic else (id, "", "")
        lines = list(self.result_lines(batch_id, kind, anthropic))
        raw = "".join(json.dumps(line) + "\n" for line in lines).encode()
        if self.world.hold_at is not None and self.world.hold_at.point == "results half":
            self.send_response(200)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw[: len(raw) // 2])
            self.wfile.flush()
            self.world.at("results half")
            return None
        return self.send_raw(raw, 200, {"Content-Type": "application/binary"})

    def result_lines(self, id: str, kind: str, anthropic: bool) -> Iterator[dict[str, Any]]:
        batch = self.world.batches[id]
        for line, answer in batch["results"]:
            custom_id, wrong = line["custom_id"], isinstance(answer, Fault)
            if anthropic:
                said = {"type": "error", "error": {"type": "invalid_request_error", "message": "a bad request"}}
                good = {"type": "succeeded", "message": None if wrong else anthropic_message(line["params"], answer)}
                yield {"custom_id": custom_id, "result": {"type": "errored", "error": said} if wrong else good}
            elif wrong == (kind == "errors"):
                body = {"error": {"message": "a bad request"}} if wrong else openai_completion(line["body"], answer)
                yield {
                    "id": "r",
                    "custom_id": custom_id,
                    "response": {"status_code": 400 if wrong else 200, "request_id": "q", "body": body},
                    "error": None,
                }
        if anthropic:
            for line in batch["lost"]:
                yield {"custom_id": line["custom_id"], "result": {"type": "expired"}}
        if batch["foreign"] and kind != "errors":
            line, answer = batch["results"][0]
            message = (anthropic_message if anthropic else openai_completion)({"model": "m"}, Answer("not ours"))
            result = (
                {"result": {"type": "succeeded", "message": message}}
                if anthropic
                else {"response": {"status_code": 200, "body": message}}
            )
            yield {"custom_id": "somebody-elses", **result}
