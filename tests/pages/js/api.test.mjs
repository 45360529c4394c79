import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { ApiError, events, follow, get, path, post, stream } from "../../../src/monosema/pages/static/app/api.js";

globalThis.document = { documentElement: { lang: "ko" } };

async function* pieces(...texts) {
  yield* texts;
}

async function all(from) {
  const found = [];
  for await (const one of from) found.push(one);
  return found;
}

test("events are read however they are cut", async () => {
  const text = ": ping\r\n\r\nid: 1\r\nevent: delta\r\ndata: {\"token\": 5,\r\ndata: \"text\": \"한\"}\r\n\r\ndata: plain\n\nid: 3\n\ndata:\n\ndata: cut off";
  const wanted = [
    { id: "1", event: "delta", data: { token: 5, text: "한" } },
    { id: "1", event: "message", data: "plain" },
    { id: "3", event: "message", data: "" },
  ];
  for (let size = 1; size < 12; size++) {
    const cut = Array.from({ length: Math.ceil(text.length / size) }, (_, i) => text.slice(i * size, (i + 1) * size));
    assert.deepEqual(await all(events(pieces(...cut))), wanted, `pieces of ${size}`);
  }
});

test("names of any characters make one part of a path", () => {
  assert.equal(path("runs", "a/b ?", "features", 17), "/api/runs/a%2Fb%20%3F/features/17");
});

let [server, base, seen] = [null, "", []];
before(async () => {
  let begun = 0;
  server = createServer(async (request, response) => {
    seen.push({ url: request.url, method: request.method, headers: request.headers });
    const told = (text) => response.writeHead(200, { "content-type": "text/event-stream" }).end(text);
    if (request.url === "/json") return response.writeHead(200, { "content-type": "application/json" }).end('{"a": 1}');
    if (request.url === "/refused") return response.writeHead(404, { "content-type": "application/json" }).end('{"error": {"message": "no such run", "what_to_do": "choose one"}}');
    if (request.url === "/broken") return response.writeHead(500).end("<html>");
    if (request.url === "/wrong") return told('id: 1\ndata: 1\n\nevent: error\ndata: {"message": "no memory"}\n\n');
    if (request.url === "/endless") return response.writeHead(200).write("data: 1\n\n");
    if (request.url === "/job") return [() => told("id: 1\ndata: 1\n\nid: 2\ndata: 2\n\n"), () => request.socket.destroy(), () => told("id: 3\ndata: 3\n\n"), () => response.writeHead(204).end()][begun++]();
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  base = `http://127.0.0.1:${server.address().port}`;
});
after(() => (server.closeAllConnections(), server.close()));

test("an answer is asked for in the page's language", async () => {
  assert.deepEqual(await get(base + "/json"), { a: 1 });
  assert.equal(seen.at(-1).headers["accept-language"], "ko");
  await post(base + "/json", { text: "x" });
  assert.deepEqual([seen.at(-1).method, seen.at(-1).headers["content-type"]], ["POST", "application/json"]);
});

test("errors say what was wrong and what to do", async () => {
  await assert.rejects(get(base + "/refused"), { name: "ApiError", message: "no such run", status: 404, whatToDo: "choose one" });
  await assert.rejects(get(base + "/broken"), { message: "The server could not do this (500).", status: 500 });
  await assert.rejects(get("http://127.0.0.1:1/"), { message: "The server does not answer.", status: 0 });
  await assert.rejects(all(stream(base + "/wrong", {})), { message: "no memory" });
});

test("a stream ends when it is aborted", async () => {
  const control = new AbortController();
  const found = [];
  await assert.rejects(async () => {
    for await (const one of stream(base + "/endless", {}, { signal: control.signal })) {
      found.push(one.data);
      control.abort();
    }
  }, { name: "AbortError" });
  assert.deepEqual(found, [1]);
});

test("what goes on is followed from the last event seen until there is no more", async () => {
  const found = await all(follow(base + "/job", { wait: 1 }));
  assert.deepEqual(found.map(({ data }) => data), [1, 2, 3]);
  const asked = seen.filter(({ url }) => url === "/job").map(({ headers }) => headers["last-event-id"]);
  assert.deepEqual(asked, [undefined, "2", "2", "3"]);
  await assert.rejects(all(follow(base + "/refused", { wait: 1 })), ApiError);
});
