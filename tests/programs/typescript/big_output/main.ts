// SPDX-License-Identifier: Apache-2.0
const line = (i: number) => `${String(i).padStart(6, "0")} ${(i * 2654435761 % 2 ** 32).toString(16).padStart(8, "0")} ${"=".repeat(i % 37)}`;
for (let i = 0; i < 3000; i++) console.log(line(i));
const rest = Array.from({ length: 2800 }, (_, i) => line(i + 3000)).join("\n") + "\n";
const bytes = new TextEncoder().encode(rest);
let at = 0;
while (at < bytes.length) at += await Deno.stdout.write(bytes.subarray(at));
for (let i = 0; i < 400; i++) console.error(line(i));
