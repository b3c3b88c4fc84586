// SPDX-License-Identifier: Apache-2.0
// Web workers as threads: messages, transfer, shared memory, errors, termination.
const start = (name: string) => new Worker(new URL("./worker.ts", import.meta.url).href, { type: "module", name });
const ask = (w: Worker, data: unknown, transfer: Transferable[] = []) =>
  new Promise<unknown>((r) => { w.onmessage = (m) => r(m.data); w.postMessage(data, transfer); });

const one = start("one"), two = start("two");
console.log(await Promise.all([ask(one, { op: "primes", below: 60 }), ask(two, { op: "primes", below: 30 })]));
const block = new Uint8Array(1000).fill(3).buffer;
console.log(await ask(one, { op: "sum", block }, [block]), block.byteLength);
const shared = new Int32Array(new SharedArrayBuffer(8));
await Promise.all([one, two].map((w) => ask(w, { op: "add", shared, times: 500 })));
console.log("shared:", Atomics.load(shared, 0));
console.log(await ask(two, { op: "clone", value: new Map<string, unknown>([["d", new Date(0)], ["s", new Set([1n])]]) }));
console.log(await ask(two, { op: "fail", value: "{" }), await ask(one, { op: "scope" }));
one.terminate();
two.terminate();
