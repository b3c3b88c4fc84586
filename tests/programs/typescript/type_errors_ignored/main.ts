// SPDX-License-Identifier: Apache-2.0
// `deno run` strips types without checking them.
const n: number = "not a number" as never;
// @ts-nocheck would be needed only for `deno check`
const s: string = (n as unknown as { toUpperCase(): string }).toUpperCase();
let wrong: boolean;
wrong = 5 as unknown as boolean;
console.log(s, wrong, typeof wrong);
