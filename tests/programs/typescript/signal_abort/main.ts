// SPDX-License-Identifier: Apache-2.0
await Deno.stdout.write(new TextEncoder().encode("before the abort\n"));
await Deno.stderr.write(new TextEncoder().encode("on stderr too\n"));
Deno.kill(Deno.pid, "SIGABRT");
await new Promise((r) => setTimeout(r, 20_000));
