// SPDX-License-Identifier: Apache-2.0
// Streams, async iteration, back-pressure and explicit resource management.
async function* numbers(n: number): AsyncGenerator<number, string, string | undefined> {
  for (let i = 0; i < n; i++) {
    const said = yield i;
    if (said) console.log("told:", said);
    await null;
  }
  return "done";
}

const g = numbers(3);
console.log(await g.next(), await g.next("hello"), await g.next(), await g.next(), await g.next());
const source = new ReadableStream<number>({
  start(c) { for (let i = 1; i <= 10; i++) c.enqueue(i); c.close(); },
});
const squares = source.pipeThrough(new TransformStream<number, string>({
  transform(n, c) { if (n % 2) c.enqueue(`${n * n}`); },
  flush(c) { c.enqueue("flush"); },
}));
console.log(await Array.fromAsync(squares));
const text = new Blob(["line one\nline", " two\nüñï"]).stream().pipeThrough(new TextDecoderStream());
let all = "";
for await (const part of text) all += part;
console.log(all.split("\n"));
const zipped = new Blob(["compress me ".repeat(500)]).stream().pipeThrough(new CompressionStream("gzip"));
const back = await new Response(zipped.pipeThrough(new DecompressionStream("gzip"))).text();
console.log(back.length, back.slice(0, 11));
const [a, b] = new Blob(["tee"]).stream().tee();
console.log(await new Response(a).text(), await new Response(b).text());

class Handle implements Disposable, AsyncDisposable {
  constructor(readonly name: string) { console.log("open", name); }
  [Symbol.dispose]() { console.log("dispose", this.name); }
  async [Symbol.asyncDispose]() { await null; console.log("async dispose", this.name); }
}
{
  using one = new Handle("one");
  await using two = new Handle("two");
  console.log("in block", one.name, two.name);
}
try {
  using _ = new Handle("three");
  throw new Error("inside");
} catch (e) {
  console.log((e as Error).message);
}
