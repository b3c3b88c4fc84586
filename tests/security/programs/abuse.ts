// SPDX-License-Identifier: Apache-2.0
// What a TypeScript program can try. The first argument says which attempt; `probe` makes all those
// that end by themselves and prints a line `name value` for each: 0 worked, anything else did not.

function outcome(name: string, attempt: () => unknown) {
  try {
    attempt();
    console.log(name, 0);
  } catch (error) {
    console.log(name, (error as Error).name);
  }
}

function systemCalls() {
  const libc = Deno.dlopen("libc.so.6", {
    syscall: { parameters: ["i64", "i64", "i64", "i64", "i64", "i64"], result: "i64" },
  });
  const call = (name: string, n: number, a: number, b = 0, c = 0) =>
    console.log(name, Number(libc.symbols.syscall(BigInt(n), BigInt(a), BigInt(b), BigInt(c), 0n, 0n)) < 0 ? -1 : 0);
  call("unshare_user", 272, 0x10000000);
  call("unshare_mount", 272, 0x00020000);
  call("mount", 165, 0, 0, 0);
  call("ptrace_init", 101, 16, 1);
  call("setuid", 105, 0);
  call("io_uring", 425, 8);
  call("bpf", 321, 0);
  call("keyctl", 250, 0, -3, 1);
  call("packet", 41, 17, 3);
  call("vsock", 41, 40, 1);
}

async function probe() {
  systemCalls();
  try {
    (await Deno.connect({ hostname: "1.1.1.1", port: 443 })).close();
    console.log("connect", 0);
  } catch (error) {
    console.log("connect", (error as Error).message.match(/os error (\d+)/)?.[1]);
  }
  Deno.symlinkSync("/etc/shadow", "out.txt");
  outcome("shadow", () => Deno.readFileSync("out.txt"));
  outcome("init_environ", () => Deno.readFileSync("/proc/1/environ"));
  console.log("env", Object.keys(Deno.env.toObject()).sort().join(","));
  const open = [];
  try {
    for (;;) open.push(Deno.openSync("/dev/null"));
  } catch (error) {
    console.log("files", (error as Error).message.match(/os error (\d+)/)?.[1], open.length);
  }
}

switch (Deno.args[0]) {
  case "fork": // there is no fork: children, as many as there may be
    for (;;) {
      try {
        new Deno.Command("sleep", { args: ["1000"] }).spawn();
      } catch { /* once more */ }
    }
  case "memory": {
    const kept = [];
    for (;;) kept.push(new Uint8Array(16 << 20).fill(1));
  }
  case "flood": {
    const block = new Uint8Array(65536).fill(121);
    for (;;) Deno.stdout.writeSync(block);
  }
  case "sleep":
    await new Promise((done) => setTimeout(done, 1e9));
    break;
  case "disk": {
    const file = Deno.createSync("fill");
    const block = new Uint8Array(1 << 20).fill(7);
    try {
      for (;;) file.writeSync(block);
    } catch (error) {
      console.log((error as Error).message.match(/os error (\d+)/)?.[1]);
    }
    break;
  }
  default:
    await probe();
}
