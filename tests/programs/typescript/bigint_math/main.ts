// SPDX-License-Identifier: Apache-2.0
const isPrime = (n: bigint): boolean => {
  if (n < 2n) return false;
  for (const p of [2n, 3n, 5n, 7n, 11n, 13n, 17n, 19n, 23n, 29n, 31n, 37n]) if (n % p === 0n) return n === p;
  let d = n - 1n, s = 0;
  while (!(d & 1n)) { d >>= 1n; s++; }
  const pow = (b: bigint, e: bigint) => { let r = 1n; for (b %= n; e; e >>= 1n, b = b * b % n) if (e & 1n) r = r * b % n; return r; };
  next: for (const w of [2n, 3n, 5n, 7n, 11n, 13n, 17n, 19n, 23n, 29n, 31n, 37n]) {
    let x = pow(w, d);
    if (x === 1n || x === n - 1n) continue;
    for (let i = 1; i < s; i++) { x = x * x % n; if (x === n - 1n) continue next; }
    return false;
  }
  return true;
};
let f = 1n;
for (let i = 2n; i <= 50n; i++) f *= i;
console.log(f, f.toString(36), typeof f, -7n / 2n, -7n % 2n, 2n ** 200n, BigInt.asIntN(8, 255n), BigInt.asUintN(64, -1n));
console.log(Array.from({ length: 90 }, (_, i) => i).filter((p) => isPrime(2n ** BigInt(p) - 1n)), isPrime(10n ** 18n + 9n));
const pi = (digits: number) => {
  const unity = 10n ** BigInt(digits + 10);
  const arctan = (x: bigint) => { let t = unity / x, sum = t, k = 3n, sign = -1n; while (t) { t /= x * x; sum += sign * (t / k); k += 2n; sign = -sign; } return sum; };
  return 4n * (4n * arctan(5n) - arctan(239n)) / 10n ** 10n;
};
console.log(String(pi(150)));
console.log(0.1 + 0.2, 1 / 3, 1e21, 1e-7, -0, 5 % -3, 2 ** 53 + 1, (25).toString(2), (0.1).toFixed(20), (1234.5678).toExponential(2), Number.MAX_SAFE_INTEGER, NaN);
console.log(Math.hypot(3, 4), Math.clz32(1), Math.fround(5.5), Math.imul(0xffffffff, 5), Math.trunc(-4.7), Math.sign(-3), 7 >>> 1, -7 >> 1, ~5, 0b101 ^ 0o17, 1_000_000);
console.log(new Intl.NumberFormat("de-CH", { style: "currency", currency: "CHF" }).format(1234567.891), (123456.789).toLocaleString("en-US"), parseInt("12px"), Number(""), Number("0x1f"), [10, 9, 1].sort());
try { console.log(1n + (1 as unknown as bigint)); } catch (e) { console.log(String(e)); }
try { console.log(1n / 0n); } catch (e) { console.log(String(e)); }
