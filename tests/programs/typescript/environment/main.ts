// SPDX-License-Identifier: Apache-2.0
console.log(Deno.args, Deno.args.length);
for (const k of ["PLAIN", "SPACES", "UNICODE", "EMPTY", "EQUALS", "ABSENT"]) console.log(k, Deno.env.get(k), Deno.env.has(k));
Deno.env.set("SET_HERE", "seen by a child");
const child = await new Deno.Command("sh", { args: ["-c", 'echo "$SET_HERE/$PLAIN/$UNICODE"'] }).output();
console.log(new TextDecoder().decode(child.stdout).trim());
Deno.env.delete("PLAIN");
console.log(Deno.env.get("PLAIN"), "PLAIN" in Deno.env.toObject());
console.log(Deno.build.os, Deno.build.arch, typeof Deno.version.deno, import.meta.main);
console.log(Deno.stdin.isTerminal(), Deno.stdout.isTerminal(), await Deno.permissions.query({ name: "run" }).then((p) => p.state));
console.log(typeof require, typeof globalThis.window, typeof document, typeof localStorage, Object.keys(globalThis).length);
try {
  eval("let z = 1; undefinedName + z");
} catch (e) {
  console.log(String(e));
}
console.log(new Function("a", "b", "return a ** b")(2, 10), this === undefined);
