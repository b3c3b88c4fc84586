// SPDX-License-Identifier: Apache-2.0
import { area, type Shape, shapes } from "./geometry/shapes.ts";
import * as text from "./text.ts";
import Counter, { instances } from "./counter.ts";
import config from "./config.json" with { type: "json" };
import "./side_effect.ts";

console.log("main:", import.meta.main, import.meta.url, import.meta.filename, import.meta.dirname);
console.log("args:", Deno.args, "main module:", Deno.mainModule);
for (const s of shapes as Shape[]) console.log(s.kind.padEnd(9), area(s).toFixed(3));
console.log(text.titleCase("a tale of two cities"), Object.keys(text).sort());
new Counter().bump().bump();
console.log(instances, new Counter().bump().value, (globalThis as Record<string, unknown>).fromSideEffect);
console.log(config.name, config.nested.list.map((n: number) => n * 2));
const late = await import("./late.ts");
console.log(late.default(6), (await import("./late.ts")) === late);
try {
  await import("./absent.ts");
} catch (e) {
  console.log((e as Error).name, (e as Error).message);
}
console.log(await Deno.readTextFile(new URL("./config.json", import.meta.url)).then((t) => t.length));
text.fail();
