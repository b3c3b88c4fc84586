// SPDX-License-Identifier: Apache-2.0
import { greet, count } from "./lib/greet.js";
import data from "./lib/data.json" with { type: "json" };

console.log(import.meta.main, import.meta.url, Deno.args);
for (const name of data.names) console.log(greet(name));
console.log(count, await import("./lib/greet.js").then((m) => m.count));
export const unused = 1;
greet(null);
