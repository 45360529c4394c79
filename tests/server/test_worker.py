"""One thread for all models: texts side by side, other work in between, and nothing crosses."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from monosema.core import InputError
from monosema.models import GenerationConfig, LanguageModel, Transformer, random_model
from monosema.server.desk import Request, Writing
from monosema.server.errors import BusyError
from monosema.server.worker import Limits, Source, Worker
from monosema.steering import Add, Direction, Edit, Steering, Where


@pytest.fixture(scope="module")
def model() -> Transformer:
    return random_model(seed=5)


@pytest.fixture
def source() -> Source:
    """The worker's own model, the same as `model`."""
    return Source("tiny", lambda: random_model(seed=5))


@pytest.fixture
def worker() -> Iterator[Worker]:
    worker = Worker(Limits(grace=60.0))
    yield worker
    worker.close()


def asked(prompt: str = "abc", steerings: tuple[Steering | None, ...] = (None,), likely: int = 0, **config: Any) -> Any:
    return Request(prompt, GenerationConfig(**{"max_new_tokens": 8, **config}), steerings, likely)


def events_of(writing: Writing, after: int = 0) -> list[tuple[int, str, dict[str, Any]]]:
    """All events of a writing, read to its end."""

    async def read() -> bytes:
        return b"".join([piece async for piece in writing.stream.read(after)])

    blocks = asyncio.run(read()).decode().strip().split("\n\n")
    fields = [dict(line.split(": ", 1) for line in block.splitlines()) for block in blocks if block]
    return [(int(one["id"]), one["event"], json.loads(one["data"])) for one in fields]


def texts_of(events: list[tuple[int, str, dict[str, Any]]]) -> dict[int, str]:
    texts: dict[int, str] = {}
    for _, kind, data in events:
        if kind == "delta":
            texts[data["row"]] = texts.get(data["row"], "") + data["text"]
    return texts


def push(model: Transformer, amount: float, **where: Any) -> Steering:
    vector = torch.randn(model.d_model, generator=torch.Generator().manual_seed(0))
    return Steering([Edit(Direction("0.resid_post", vector, "push"), Add(amount), Where(**where))])


def test_many_users_get_what_each_would_get_alone(model: Transformer, source: Source, worker: Worker) -> None:
    settings = [
        {"prompt": prompt, "temperature": temperature, "seed": seed, "max_new_tokens": 4 + seed}
        for seed, (prompt, temperature) in enumerate(
            [("abc", 0.0), ("abc", 1.2), ("a longer prompt", 0.9), ("x", 1.0), ("abc", 1.2), ("the end", 0.0)]
        )
    ]
    got: dict[int, str] = {}

    def use(number: int) -> None:
        writing = worker.write(source, asked(**settings[number])).result()
        got[number] = texts_of(events_of(writing))[0]

    users = [threading.Thread(target=use, args=(number,)) for number in range(len(settings))]
    for user in users:
        user.start()
    for user in users:
        user.join()
    for number, setting in enumerate(settings):
        assert got[number] == model.generate(setting.pop("prompt"), **setting).text


def test_rows_of_a_request_draw_the_same_noise_and_differ_by_their_steering_only(
    model: Transformer, source: Source, worker: Worker
) -> None:
    strong = push(model, 6.0)
    config = {"temperature": 1.0, "seed": 4}
    writing = worker.write(source, asked(steerings=(None, push(model, 0.0), strong, None), **config)).result()
    texts = texts_of(events_of(writing))
    unsteered = model.generate("abc", max_new_tokens=8, **config).text
    assert texts[0] == texts[1] == texts[3] == unsteered
    assert texts[2] != unsteered
    vector = torch.randn(model.d_model, generator=torch.Generator().manual_seed(0))
    edit = lambda x: torch.cat((x[:, :1], x[:, 1:] + 6 * vector), 1) if x.shape[1] > 1 else x + 6 * vector  # noqa: E731
    with model.edit("0.resid_post", edit):  # all but the BOS
        assert texts[2] == model.generate("abc", max_new_tokens=8, **config).text


def test_what_was_edited_is_told(model: Transformer, source: Source, worker: Worker) -> None:
    steering = push(model, 1.0, prompt="last", generated=(1, 3))
    events = events_of(worker.write(source, asked(steerings=(None, steering), max_new_tokens=5)).result())
    deltas = [data for _, kind, data in events if kind == "delta" and data["row"] == 1]
    assert deltas[0]["prompt_edited"] == [3]
    # The first token is drawn where the prompt's last was edited, those after 1 and 2 where these were.
    assert [delta["edited"] for delta in deltas] == [True, False, True, True, False]
    assert [number for number, _, _ in events] == list(range(1, len(events) + 1))
    ended = events[-1][2]["rows"][1]
    assert ended["edited"] == {"prompt": [3], "generated": [1, 2]}
    assert ended["unmatched"] == []


def test_the_untouched_model_reads_a_steered_text_along(model: Transformer, source: Source, worker: Worker) -> None:
    steering = push(model, 3.0)
    writing = worker.write(source, asked(steerings=(None, steering), likely=3, max_new_tokens=3)).result()
    deltas = [data for _, kind, data in events_of(writing) if kind == "delta"]
    plain = [delta for delta in deltas if delta["row"] == 0]
    touched = [delta for delta in deltas if delta["row"] == 1]
    assert all("kl" not in delta for delta in plain)
    ids = model.tokenizer.encode("abc")
    for delta in touched:
        untouched = model(torch.tensor([ids]))[0, -1].log_softmax(-1)
        with model.edit("0.resid_post", lambda x: x + 3.0 * _vector(model) * (torch.arange(x.shape[1]) > 0)[:, None]):
            steered = model(torch.tensor([ids]))[0, -1].log_softmax(-1)
        assert delta["kl"] == pytest.approx(float((steered.exp() * (steered - untouched)).sum()), rel=1e-3)
        best = int(untouched.argmax())
        assert delta["untouched"][0] == [model.tokenizer.token(best), pytest.approx(float(untouched[best].exp()))]
        ids.append(delta["token"])


def _vector(model: Transformer) -> torch.Tensor:
    return torch.randn(model.d_model, generator=torch.Generator().manual_seed(0))


def test_a_cancelled_text_gets_no_token_more(source: Source, worker: Worker) -> None:
    writing = worker.write(source, asked(max_new_tokens=100)).result()
    other = worker.write(source, asked(max_new_tokens=20)).result()
    _wait(lambda: len(writing.stream) > 4)
    writing.cancel()
    had = worker.call(source, lambda _: len(writing.lines[0].row.written))
    events = events_of(writing)
    assert len(writing.lines[0].row.written) <= had + 1
    assert events[-1][1:] == ("end", {"state": "cancelled", "rows": [{"row": 0, "finish": None}]})
    assert events_of(other)[-1][2]["state"] == "done"


def test_a_text_that_nobody_reads_is_given_up(source: Source) -> None:
    worker = Worker(Limits(grace=0.05))
    writing = worker.write(source, asked(max_new_tokens=120, prompt="a")).result()
    _wait(lambda: writing.stream.closed)
    assert writing.lines[0].row.finish is None
    worker.close()


def test_a_reader_that_comes_back_goes_on_where_it_stopped(source: Source, worker: Worker) -> None:
    writing = worker.write(source, asked()).result()
    whole = events_of(writing)
    assert events_of(writing, after=4) == whole[4:]
    assert worker.find(writing.id) is writing


def test_the_queue_tells_places_and_has_an_end(model: Transformer, source: Source) -> None:
    worker = Worker(Limits(rows=2, waiting=3, grace=60.0))
    held, go = threading.Event(), threading.Event()
    with pytest.raises(InputError, match="no room"):
        worker.write(source, asked("x" * 200)).result()
    first = worker.write(source, asked(max_new_tokens=60, steerings=(None, None))).result()
    waiting = [worker.write(source, asked(seed=number)).result() for number in range(3)]
    worker.submit(source, lambda _: (held.set(), go.wait()))
    held.wait()
    if not first.stream.closed:
        with pytest.raises(BusyError, match="3 requests are waiting"):
            worker.write(source, asked())
    waiting[0].cancel()
    go.set()
    places = [[data["place"] for _, kind, data in events_of(one) if kind == "place"] for one in waiting]
    assert places == [[1], [2, 1], [3, 2]]
    assert [events_of(one)[-1][2]["state"] for one in waiting] == ["cancelled", "done", "done"]
    worker.close()


def test_a_request_that_breaks_ends_alone(model: Transformer, source: Source, worker: Worker) -> None:
    wrong = Steering([Edit(Direction("0.resid_post", torch.ones(7), "too short"), Add(1.0))])
    bad = worker.write(source, asked(steerings=(wrong,), max_new_tokens=60))
    good = worker.write(source, asked(max_new_tokens=30)).result()
    with pytest.raises(InputError, match="There is no"):
        worker.write(source, asked(steerings=(push_at("9.resid_post"),))).result()
    events = events_of(bad.result())
    assert [kind for _, kind, _ in events][-2:] == ["error", "end"]
    assert texts_of(events_of(good))[0] == model.generate("abc", max_new_tokens=30).text
    assert worker.call(source, lambda model: len(model.hooks)) == 0  # type: ignore[attr-defined]


def push_at(site: str) -> Steering:
    return Steering([Edit(Direction(site, torch.ones(32), "push"), Add(1.0))])


def test_other_work_comes_between_tokens_untouched_by_steering(
    model: Transformer, source: Source, worker: Worker
) -> None:
    writing = worker.write(source, asked(steerings=(push(model, 5.0),), max_new_tokens=100)).result()
    ids = torch.tensor([model.tokenizer.encode("abc")])
    wanted = model(ids)

    def work(model: LanguageModel) -> Iterator[torch.Tensor]:
        for _ in range(5):
            yield model(ids)

    for logits in worker.iterate(source, work):
        torch.testing.assert_close(logits, wanted)
    assert not writing.stream.closed, "the text went on meanwhile"
    assert events_of(writing)[-1][2]["state"] == "done"
    with pytest.raises(ZeroDivisionError):
        worker.call(source, lambda _: 1 // 0)


def test_a_dropped_iterator_is_closed_in_the_worker_even_where_that_frees_it(source: Source) -> None:
    worker, closed_in = Worker(), []

    def work(_: LanguageModel) -> Iterator[int]:
        try:
            yield from range(5)
        finally:
            closed_in.append(threading.current_thread().name)

    def half_read() -> None:
        pieces = worker.iterate(source, work)
        assert next(pieces) == 0
        ring: list[Any] = [pieces]
        ring.append(ring)  # only a collection frees it

    gc.disable()
    try:
        half_read()
        worker.submit(source, lambda _: gc.collect()).result(timeout=30)
    finally:
        gc.enable()
    worker.call(source, lambda _: None)
    assert closed_in == ["worker"]
    worker.close()


def test_closing_a_dropped_iterator_loads_no_model(worker: Worker) -> None:
    loaded: list[str] = []

    def source(name: str) -> Source:
        return Source(name, lambda: loaded.append(name) or random_model(seed=0))  # type: ignore[func-returns-value]

    pieces = worker.iterate(source("a"), lambda _: (number for number in range(5)))
    next(pieces)
    for name in ("b", "c"):
        worker.call(source(name), lambda _: None)
    del pieces
    worker.call(source("c"), lambda _: None)
    assert loaded == ["a", "b", "c"]


def test_models_that_are_not_used_make_room(worker: Worker) -> None:
    loaded = []

    def source(number: int) -> Source:
        return Source(str(number), lambda: loaded.append(number) or random_model(seed=number))

    for number in (0, 1, 0, 2, 0, 1):
        worker.call(source(number), lambda model: model.name)
    assert loaded == [0, 1, 2, 1]


def test_memory_does_not_grow_with_requests(model: Transformer, source: Source, worker: Worker) -> None:
    import psutil

    def ask(n: int) -> None:
        for number in range(n):
            steerings = (None, push(model, 1.0))
            events_of(worker.write(source, asked(steerings=steerings, max_new_tokens=2, seed=number)).result())

    ask(30)
    before = psutil.Process().memory_info().rss
    ask(170)
    assert psutil.Process().memory_info().rss - before < 8 * 2**20
    assert len(worker._known) <= worker.limits.kept + 1
    desk = worker.call(source, lambda _: worker._desks[source.name])
    assert (desk.writings, desk.rows, desk._places.steered, desk._places.writing) == ([], [], {}, {})


def _wait(true: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not true():
        assert time.monotonic() < until
        time.sleep(0.002)
