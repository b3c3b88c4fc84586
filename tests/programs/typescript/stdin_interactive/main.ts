// SPDX-License-Identifier: Apache-2.0
// Mixed ways to read stdin: prompt reads a line when stdin is no terminal, then raw bytes, then the rest.
const buf = new Uint8Array(6);
const n = Deno.stdin.readSync(buf);
console.log(n, new TextDecoder().decode(buf.subarray(0, n ?? 0)));
const reader = Deno.stdin.readable.pipeThrough(new TextDecoderStream()).getReader();
let text = "";
for (let r = await reader.read(); !r.done; r = await reader.read()) text += r.value;
const numbers = text.trim().split(/\s+/).map(Number);
const stack: number[] = [];
for (const [i, x] of numbers.entries()) {
  if (Number.isNaN(x)) throw new SyntaxError(`token ${i} is not a number`);
  stack.push(x);
}
console.log(stack.length, stack.reduce((a, b) => a + b), Math.max(...stack));
