// SPDX-License-Identifier: Apache-2.0
//
// Lets a started deno wait for its program: `deno run --preload wait.ts main.ts` finishes this
// module, top-level await and all, before it looks at main.ts. The other side is csb-agent
// (src/channel/agent_wire.h, "Prepared interpreters"). Without CSB_CONTROL_FD it does nothing.

const number = Deno.env.get("CSB_CONTROL_FD");

if (number !== undefined) {
  const fd = Number(number);
  Deno.env.delete("CSB_CONTROL_FD");

  // Deno reaches no inherited descriptor by its number; libc does. The read blocks, and so costs
  // nothing while the process waits.
  const libc = Deno.dlopen("libc.so.6", {
    read: { parameters: ["i32", "buffer", "usize"], result: "isize" },
    write: { parameters: ["i32", "buffer", "usize"], result: "isize" },
    close: { parameters: ["i32"], result: "i32" },
  });

  const readExactly = (length: number): Uint8Array<ArrayBuffer> => {
    const data = new Uint8Array(length);
    for (let got = 0; got < length;) {
      const n = Number(libc.symbols.read(fd, data.subarray(got), BigInt(length - got)));
      if (n <= 0) Deno.exit(125);
      got += n;
    }
    return data;
  };

  // The first module to be parsed, stripped of its types and run is slower than the next.
  await import("data:application/typescript,const n:number=1;export default n;");

  libc.symbols.write(fd, new Uint8Array([0x52]), 1n);
  const length = new DataView(readExactly(4).buffer).getUint32(0);
  const told = JSON.parse(new TextDecoder().decode(readExactly(length)));
  libc.symbols.close(fd);
  libc.close();

  for (const [name, value] of Object.entries(told.env as Record<string, string>)) {
    Deno.env.set(name, value);
  }
  if (told.args.length > 0) {
    // Node's process object is made when it is first touched, which takes longer than all the rest
    // of Deno's start: only for those who could miss it.
    const nodeArgv = (globalThis as unknown as { process: { argv: string[] } }).process.argv;
    // Deno.args is an accessor that may be replaced before the program sees it.
    const args: string[] = [...told.args];
    Object.defineProperty(Deno, "args", {
      ...Object.getOwnPropertyDescriptor(Deno, "args"),
      get: () => args,
    });
    nodeArgv.push(...args);
  }
}
