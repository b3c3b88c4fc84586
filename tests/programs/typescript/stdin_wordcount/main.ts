// SPDX-License-Identifier: Apache-2.0
// Counts words of stdin, streaming, with ties broken by the alphabet.
interface Entry { word: string; count: number; first: number }

const table = new Map<string, Entry>();
let lines = 0, bytes = 0;
const decoder = new TextDecoder();
let rest = "";
function feed(text: string): void {
  const parts = (rest + text).split("\n");
  rest = parts.pop()!;
  for (const line of parts) {
    lines++;
    for (const m of line.toLowerCase().matchAll(/\p{L}[\p{L}\p{M}']*/gu)) {
      const entry = table.get(m[0]) ?? { word: m[0], count: 0, first: lines };
      entry.count++;
      table.set(m[0], entry);
    }
  }
}
for await (const chunk of Deno.stdin.readable) {
  bytes += chunk.length;
  feed(decoder.decode(chunk, { stream: true }));
}
feed("\n");
const sorted = [...table.values()].sort((a, b) => b.count - a.count || (a.word < b.word ? -1 : 1));
for (const { word, count, first } of sorted.slice(0, 8)) {
  console.log(`${word.padEnd(10)}${String(count).padStart(3)}  first on line ${first}`);
}
console.log({ lines, bytes, distinct: table.size });
