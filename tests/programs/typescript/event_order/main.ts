// SPDX-License-Identifier: Apache-2.0
// The order of microtasks, timers, immediates and ticks.
import process from "node:process";
import { setImmediate } from "node:timers";

const log: string[] = [];
setTimeout(() => log.push("timeout 0"), 0);
Promise.resolve().then(() => log.push("promise 1")).then(() => log.push("promise 2"));
queueMicrotask(() => log.push("microtask"));
(async () => {
  log.push("async start");
  await null;
  log.push("async after await");
})();
log.push("sync end");
const controller = new AbortController();
const slow = new Promise((_, no) => controller.signal.addEventListener("abort", () => no(controller.signal.reason)));
setTimeout(() => controller.abort(new DOMException("stop it", "AbortError")), 5);
await slow.catch((e) => log.push(`${e.name}: ${e.message}`));
// Timers that are due at once on a slow machine still fire in the order of their times.
setTimeout(() => log.push("timeout 30"), 30);
setTimeout(() => log.push("timeout 20"), 20);
await new Promise((r) => setTimeout(r, 60));
const interval = await new Promise<number>((r) => {
  let n = 0;
  const id = setInterval(() => { if (++n === 3) { clearInterval(id); r(n); } }, 2);
});
log.push(`interval ${interval}`);
await new Promise<void>((r) => setImmediate(() => { log.push("immediate"); r(); }));
await new Promise<void>((r) => process.nextTick(() => { log.push("tick"); r(); }));
console.log(log.join("\n"));
console.log(await Promise.race([new Promise((r) => setTimeout(r, 500, "slow")), "fast"]));
const { promise, resolve } = Promise.withResolvers<string>();
setTimeout(resolve, 1, "resolved from outside");
console.log(await promise);
Deno.exit();
