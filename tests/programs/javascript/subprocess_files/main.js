// SPDX-License-Identifier: Apache-2.0
import { strict as assert } from "node:assert";
const sh = (script, stdin = "null") => new Deno.Command("bash", { args: ["-c", script], stdin }).outputSync();
const text = (b) => new TextDecoder().decode(b);
await Deno.writeTextFile("numbers.txt", Array.from({ length: 100 }, (_, i) => `${(i * 37) % 101}\n`).join(""));
const r = sh("sort -n numbers.txt | tail -n 3; wc -l < numbers.txt >&2; exit 12");
console.log(r.code, text(r.stdout), text(r.stderr).trim());
await Deno.writeTextFile("/tmp/script.sh", "for i in 1 2 3; do echo $((i * $1)); done\n");
console.log(text(sh("bash /tmp/script.sh 11").stdout).split("\n"));
assert.equal(sh("kill -SEGV $$").signal, "SIGSEGV");
console.log(text(sh("cat", "inherit").stdout));
console.log((await Promise.all(["a", "b"].map((x) => new Deno.Command("echo", { args: [x] }).output()))).map((o) => text(o.stdout)));
Deno.stdout.writeSync(new TextEncoder().encode("no newline"));
Deno.exit(200);
