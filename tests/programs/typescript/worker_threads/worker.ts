// SPDX-License-Identifier: Apache-2.0
/// <reference lib="deno.worker" />
function primes(below: number): number[] {
  const out: number[] = [];
  for (let n = 2; n < below; n++) if (out.every((p) => n % p)) out.push(n);
  return out;
}

self.onmessage = ({ data }) => {
  switch (data.op) {
    case "primes":
      return self.postMessage({ who: self.name, primes: primes(data.below) });
    case "sum":
      return self.postMessage(new Uint8Array(data.block).reduce((a, b) => a + b, 0));
    case "add":
      for (let i = 0; i < data.times; i++) Atomics.add(data.shared, 0, 1);
      return self.postMessage("added");
    case "clone":
      return self.postMessage(data.value);
    case "fail":
      try {
        return self.postMessage(JSON.parse(data.value));
      } catch (e) {
        return self.postMessage(String(e));
      }
    case "scope":
      return self.postMessage([typeof window, typeof self, import.meta.main, import.meta.url, self.name]);
  }
};
