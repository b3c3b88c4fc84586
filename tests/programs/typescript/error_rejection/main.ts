// SPDX-License-Identifier: Apache-2.0
async function worker(n: number): Promise<number> {
  await new Promise((r) => setTimeout(r, n));
  if (n === 2) throw new RangeError(`rejected by worker ${n}`);
  return n;
}

setTimeout(() => console.log("never: the rejection ends the program"), 5000);
console.log(await worker(1));
worker(2);
console.log("not awaited");
