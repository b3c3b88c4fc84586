// SPDX-License-Identifier: Apache-2.0
// A CSV parser, JSON with revivers, and a summary table.
function* csv(text: string): Generator<string[]> {
  let row: string[] = [], cell = "", quoted = false;
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (quoted) {
      if (c === '"' && text[i + 1] === '"') { cell += '"'; i++; }
      else if (c === '"') quoted = false;
      else cell += c;
    } else if (c === '"') quoted = true;
    else if (c === ",") { row.push(cell); cell = ""; }
    else if (c === "\n") { row.push(cell); yield row; row = []; cell = ""; }
    else cell += c;
  }
  if (cell || row.length) yield [...row, cell];
  if (quoted) throw new SyntaxError("unterminated quote");
}
const [head, ...body] = csv(await new Response(Deno.stdin.readable).text());
const rows = body.map((r) => Object.fromEntries(r.map((v, i) => [head[i], v])));
console.log(rows);
console.table(rows.map(({ name, qty }) => ({ name, qty: +qty })));
const total = rows.reduce((n, r) => n + +r.qty * +r.price, 0);
console.log(total.toFixed(2), JSON.stringify({ rows: rows.slice(0, 1), when: new Date(86400000), u: undefined, nan: NaN, nested: { a: [1, , 3] } }, null, 1));
console.log(JSON.parse('{"d":"1970-01-02T00:00:00.000Z","n":{"d":5}}', (k, v) => k === "d" && typeof v === "string" ? new Date(v) : v));
console.log(JSON.stringify({ toJSON: () => "custom" }), JSON.stringify("\u2028\u0007é🙂"), JSON.stringify({ b: 1, a: 2, c: 3 }, ["a", "b"]));
for (const bad of ["{", "[1,]", "nul", '{"a":1}}', ""]) {
  try { JSON.parse(bad); } catch (e) { console.log((e as Error).message); }
}
const loop: Record<string, unknown> = { name: "loop", list: [1, { deep: { deeper: { deepest: {} } } }] };
loop.self = loop;
console.log(loop, new Map([[{ k: 1 }, new Set(["v"])]]), [1.0, -0, , null, undefined], new Error("shown").message);
try { JSON.stringify(loop); } catch (e) { console.log((e as Error).message.split("\n")[0]); }
