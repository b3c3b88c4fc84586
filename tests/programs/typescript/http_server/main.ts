// SPDX-License-Identifier: Apache-2.0
// Deno.serve and fetch over loopback: methods, headers, streams, errors, web sockets.
const abort = new AbortController();
const server = Deno.serve({ port: 0, hostname: "127.0.0.1", signal: abort.signal, onListen() {}, onError: (e) => new Response(`caught ${e}`, { status: 500 }) }, async (req) => {
  const url = new URL(req.url);
  switch (`${req.method} ${url.pathname}`) {
    case "GET /json":
      return Response.json({ query: Object.fromEntries(url.searchParams), agent: req.headers.get("x-agent") });
    case "POST /sum": {
      const form = await req.formData();
      return new Response(String([...form.values()].reduce((n, v) => n + Number(v), 0)), { status: 201 });
    }
    case "GET /stream":
      return new Response(ReadableStream.from((async function* () {
        for (const w of ["one ", "two ", "trois"]) { await null; yield new TextEncoder().encode(w); }
      })()));
    case "GET /throw":
      throw new Error("handler failed");
    case "GET /ws": {
      const { socket, response } = Deno.upgradeWebSocket(req);
      socket.onmessage = (m) => { socket.send(String(m.data).toUpperCase()); if (m.data === "bye") socket.close(1000, "finished"); };
      return response;
    }
    default:
      return new Response("no such page", { status: 404 });
  }
});
const base = `http://127.0.0.1:${server.addr.port}`;
console.log(await (await fetch(`${base}/json?a=1&b=%C3%BC`, { headers: { "x-agent": "tester" } })).json());
const body = new FormData();
for (const n of [1, 20, 300]) body.append("n", String(n));
const posted = await fetch(`${base}/sum`, { method: "POST", body });
console.log(posted.status, await posted.text());
console.log(await (await fetch(`${base}/stream`)).text());
for (const path of ["/throw", "/missing"]) {
  const r = await fetch(base + path);
  console.log(r.status, r.ok, await r.text());
}
const ws = new WebSocket(base.replace("http", "ws") + "/ws");
const got: string[] = [];
await new Promise<void>((done) => {
  ws.onopen = () => { ws.send("hello ß"); ws.send("bye"); };
  ws.onmessage = (m) => got.push(m.data);
  ws.onclose = (c) => { console.log(got, c.code, c.reason); done(); };
});
console.log((await Promise.all([1, 2, 3, 4].map((n) => fetch(`${base}/json?n=${n}`).then((r) => r.json())))).map((j) => j.query.n));
abort.abort();
await server.finished;
try {
  await fetch(base);
} catch (e) {
  console.log((e as Error).name);
}
