// SPDX-License-Identifier: Apache-2.0
function* fib() { let [a, b] = [0n, 1n]; for (;;) { yield a; [a, b] = [b, a + b]; } }
console.log(fib().drop(90).take(3).toArray(), fib().filter((n) => n % 2n).map(Number).take(6).reduce((a, b) => a + b));
class Tree {
  constructor(value, left, right) { Object.assign(this, { value, left, right }); }
  *[Symbol.iterator]() { if (this.left) yield* this.left; yield this.value; if (this.right) yield* this.right; }
  static from(values) {
    const sorted = [...values].sort((a, b) => a - b);
    const build = (lo, hi) => { if (lo >= hi) return undefined; const m = (lo + hi) >> 1; return new Tree(sorted[m], build(lo, m), build(m + 1, hi)); };
    return build(0, sorted.length);
  }
}
const tree = Tree.from([5, 2, 8, 1, 9, 3]);
console.log([...tree], Math.max(...tree), tree);
const it = fib();
console.log(it.next(), it.return(7n), it.next());
const lazy = { from: 1, to: 4, [Symbol.iterator]() { let n = this.from; return { next: () => n <= this.to ? { value: n++, done: false } : { value: undefined, done: true }, return() { console.log("closed early"); return {}; } }; } };
for (const n of lazy) { if (n === 3) break; console.log(n); }
const [x, , y = "default", ...z] = lazy;
console.log(x, y, z, Object.fromEntries(new Map(Object.entries({ a: 1, b: 2 }).map(([k, v]) => [v, k]))));
const curry = (f, ...a) => f.length <= a.length ? f(...a) : (...b) => curry(f, ...a, ...b);
console.log(curry((a, b, c) => a + b * c)(1)(2)(3), [1, 2, 3].reduceRight((f, n) => (x) => f(x * n), (x) => x)(1));
const memo = (f, seen = new Map()) => (n) => seen.get(n) ?? (seen.set(n, f(n)), seen.get(n));
const paths = memo(([...s]) => s.length < 2 ? 1 : paths(s.slice(1).join("")) + (+s.slice(0, 2).join("") < 27 ? paths(s.slice(2).join("")) : 0));
console.log(paths("1123581321"), `${[1, [2, 3]]}`, String({}), [] + {}, [10, 1, 3].sort(), typeof null, (0 || null) ?? "nullish");
