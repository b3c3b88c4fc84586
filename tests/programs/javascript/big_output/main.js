// SPDX-License-Identifier: Apache-2.0
let s = "";
for (let i = 0; s.length < 200_000; i++) s += `${i}: ${"*".repeat(i % 61)} ✓\n`;
console.log(s);
console.log(s.length);
