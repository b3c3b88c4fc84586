// SPDX-License-Identifier: Apache-2.0
Deno.addSignalListener("SIGUSR1", () => {
  console.log("SIGUSR1 handled");
  Deno.kill(Deno.pid, "SIGTERM");
});
console.log("sending signals");
Deno.kill(Deno.pid, "SIGUSR1");
setTimeout(() => console.log("never"), 20_000);
