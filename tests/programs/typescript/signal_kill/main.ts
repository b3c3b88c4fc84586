// SPDX-License-Identifier: Apache-2.0
console.log("nothing can catch this");
Deno.kill(Deno.pid, "SIGKILL");
await new Promise((r) => setTimeout(r, 20_000));
