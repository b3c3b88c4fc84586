// SPDX-License-Identifier: Apache-2.0
console.log("%s is %d years and %i, %f, %o %j %c styled", "Bob", 42.5, 42.9, 1.5, { a: 1 }, 1, "color: red");
console.info("info"), console.debug("debug"), console.warn("warn"), console.error("error %s", "formatted");
console.group("group");
console.log("indented\nlines");
console.group();
console.warn("deeper");
console.groupEnd();
console.groupEnd();
console.count(), console.count(), console.count("named"), console.countReset(), console.count();
console.assert(1 > 2, "assertion text", { x: 1 });
console.table([{ a: 1, b: "ü" }, { a: 2, c: true }]);
console.table(new Map([["k", [1, 2]]]));
console.dir({ deep: { er: { est: { bottom: [1, 2, 3] } } } });
console.log([..."abcdefghij"].map((c, i) => ({ [c]: i })), Array.from({ length: 120 }, (_, i) => i));
console.log({ f() {}, g: () => 1, s: Symbol("y"), d: new Date(0), r: /x/gi, n: null, u: undefined, e: [], o: {}, p: Promise.resolve(4), w: new WeakMap() });
console.log("x".repeat(200), ["long strings in arrays are cut or not".repeat(4)], new Uint8Array(3), [[[[[1]]]]], -0, [-0], "q'\"`", ["q'\"`"]);
console.log(Object.create(null), Object.create({ inherited: 1 }), new (class Point { x = 1; #y = 2; get z() { return this.#y; } })(), [undefined, , null]);
console.trace("trace");
