// SPDX-License-Identifier: Apache-2.0
// Deno.Command in every way: output, pipes, environment, codes, signals.
const decode = (b: Uint8Array) => new TextDecoder().decode(b);
const run = async (cmd: string, args: string[], options: Deno.CommandOptions = {}) => {
  const r = await new Deno.Command(cmd, { args, ...options }).output();
  return { code: r.code, signal: r.signal, success: r.success, out: decode(r.stdout), err: decode(r.stderr) };
};
console.log(await run("sh", ["-c", "echo out; echo err >&2; exit 9"]));
console.log(await run("sh", ["-c", "kill -TERM $$"]));
console.log(await run("sh", ["-c", 'echo "$A-$B"'], { env: { A: "ä", B: "from env" } }));
console.log((await run("pwd", [], { cwd: "/tmp" })).out.trim());
const cat = new Deno.Command("tr", { args: ["a-z", "A-Z"], stdin: "piped", stdout: "piped" }).spawn();
const writer = cat.stdin.getWriter();
for (const w of ["alpha ", "beta ", "gamma"]) await writer.write(new TextEncoder().encode(w));
await writer.close();
console.log(decode((await cat.output()).stdout));
const sleeper = new Deno.Command("sleep", { args: ["30"] }).spawn();
sleeper.kill("SIGKILL");
console.log(await sleeper.status);
const seq = new Deno.Command("seq", { args: ["30000"], stdout: "piped" }).spawn();
let sum = 0, rest = "";
for await (const text of seq.stdout.pipeThrough(new TextDecoderStream())) {
  const parts = (rest + text).split("\n");
  rest = parts.pop()!;
  for (const p of parts) sum += +p;
}
console.log(sum, (await seq.status).code);
console.log(new Deno.Command("echo", { args: ["sync"] }).outputSync().stdout.length);
await new Deno.Command("sh", { args: ["-c", "read x; echo inherited: $x; echo to stderr >&2"], stdin: "inherit", stdout: "inherit", stderr: "inherit" }).spawn().status;
console.log(await Promise.all([1, 2, 3].map((n) => run("sh", ["-c", `exit ${n}`]).then((r) => r.code))));
try {
  await run("/no/such/binary", []);
} catch (e) {
  console.log(e instanceof Deno.errors.NotFound, (e as Error).name);
}
