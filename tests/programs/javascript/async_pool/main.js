// SPDX-License-Identifier: Apache-2.0
const sleep = (ms) => new Promise((r) => setTimeout(r, ms));
async function pool(limit, tasks) {
  const results = [];
  let next = 0, active = 0, peak = 0;
  await Promise.all(Array.from({ length: limit }, async () => {
    while (next < tasks.length) {
      const i = next++;
      peak = Math.max(peak, ++active);
      results[i] = await tasks[i]().catch((e) => `failed: ${e.message}`);
      active--;
    }
  }));
  return { results, peak };
}
console.log(await pool(3, Array.from({ length: 9 }, (_, i) => async () => {
  await sleep((i * 7) % 4);
  if (i % 4 === 3) throw new Error(`task ${i}`);
  return i * i;
})));
class Channel {
  #values = []; #waiting = [];
  send(v) { this.#waiting.length ? this.#waiting.shift()(v) : this.#values.push(v); }
  receive() { return this.#values.length ? Promise.resolve(this.#values.shift()) : new Promise((r) => this.#waiting.push(r)); }
}
const [left, right] = [new Channel(), new Channel()];
(async () => { for (let n = await left.receive(); n !== null; n = await left.receive()) right.send(n * 2 + 1); right.send(null); })();
[1, 2, 3, null].forEach((v) => left.send(v));
for (let v = await right.receive(); v !== null; v = await right.receive()) console.log(v);
const retry = async (f, times) => { try { return await f(times); } catch (e) { if (times <= 1) throw e; return retry(f, times - 1); } };
console.log(await retry(async (n) => { if (n > 2) throw new Error("again"); return `worked with ${n} left`; }, 5));
await retry(async () => { await sleep(1); throw new EvalError("gave up"); }, 3);
