// SPDX-License-Identifier: Apache-2.0
const order = [];
Deno.addSignalListener("SIGUSR2", () => { order.push("usr2"); Deno.kill(Deno.pid, "SIGINT"); });
Deno.addSignalListener("SIGINT", () => { console.log(order, "caught SIGINT"); Deno.kill(Deno.pid, "SIGHUP"); });
Deno.kill(Deno.pid, "SIGUSR2");
setTimeout(() => {}, 20_000);
