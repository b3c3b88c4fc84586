// SPDX-License-Identifier: Apache-2.0
//
// What `deno repl --json` lacks for a kernel: it says whether a line succeeded, and this writes its
// value or error, and what display() is given, as lines of the stream to descriptor 4. It is the
// first line that is evaluated. The server reaches it through a symbol, so that programs do not
// stumble on it.
(() => {
  const MIME = {
    "text/plain": "text", "text/html": "html", "text/markdown": "markdown",
    "image/svg+xml": "svg", "image/png": "png", "image/jpeg": "jpeg", "application/pdf": "pdf",
    "text/latex": "latex", "application/json": "json", "application/javascript": "javascript",
    "e2b/data": "data", "e2b/chart": "chart",
  };
  const SHOW = Symbol.for("Jupyter.display");
  const LINE_MAX = 40 << 20;
  // A program may redefine these two names; what they read stays.
  const lastValue = Object.getOwnPropertyDescriptor(globalThis, "_").get;
  const lastError = Object.getOwnPropertyDescriptor(globalThis, "_error").get;
  const { inspect, env } = Deno;
  const { stringify } = JSON;
  const encoder = new TextEncoder();
  const pipe = Deno.openSync("/proc/self/fd/4", { write: true });
  let restore = {};

  const write = (event) => {
    let data = encoder.encode(stringify(event) + "\n");
    if (data.length > LINE_MAX) {
      console.error(`a result of ${data.length} bytes was cut: the limit is ${LINE_MAX}`);
      const text = String(event.text ?? event.value ?? "").slice(0, 100000);
      data = encoder.encode(stringify({ type: "result", text, extra: {},
        is_main_result: event.is_main_result === true }) + "\n");
    }
    for (let at = 0; at < data.length;) at += pipe.writeSync(data.subarray(at));
  };

  const bundleOf = (value) => {
    if (typeof value === "string") return { "text/plain": value };
    const show = value !== null && (typeof value === "object" || typeof value === "function")
      ? value[SHOW] : undefined;
    if (typeof show === "function") {
      const bundle = show.call(value);
      if (bundle !== null && typeof bundle === "object" && typeof bundle.then !== "function") {
        return bundle;
      }
    }
    return { "text/plain": inspect(value, { colors: false, depth: 6 }) };
  };

  const show = (bundle, main) => {
    const event = { type: "result" };
    const extra = {};
    for (const [mime, value] of Object.entries(bundle)) {
      if (value === undefined || value === null) continue;
      if (Object.hasOwn(MIME, mime)) event[MIME[mime]] = value;
      else extra[mime] = value;
    }
    write({ ...event, extra, is_main_result: main });
  };

  const showError = (error) => {
    if (error !== null && typeof error === "object" && "stack" in error) {
      write({ type: "error", name: String(error.name ?? "Error"),
        value: String(error.message ?? ""),
        traceback: error.cause === undefined ? String(error.stack) : inspect(error) });
      return;
    }
    const text = typeof error === "string" ? error : inspect(error);
    write({ type: "error", name: "Error", value: text, traceback: `Uncaught ${text}` });
  };

  const setVariables = (variables) => {
    for (const [name, value] of Object.entries(variables)) env.set(name, value);
  };

  // One of many copies of a machine that was frozen with this process: nothing random may be left
  // of that time. Deno's generator takes new entropy after 64 KiB; V8's never does. UUIDs are made
  // 128 at a time.
  const freshen = () => {
    const words = new Uint32Array(4);
    for (let i = 0; i < 3; i++) crypto.getRandomValues(new Uint8Array(65536));
    crypto.getRandomValues(words);
    for (let i = 0; i < 128; i++) crypto.randomUUID();
    let [a, b, c, d] = words;
    const next = () => {
      const t = (((a + b) | 0) + d) | 0;
      d = (d + 1) | 0;
      a = b ^ (b >>> 9);
      b = (c + (c << 3)) | 0;
      c = ((c << 21) | (c >>> 11)) + t | 0;
      return t >>> 0;
    };
    const random = { random() { return ((next() >>> 5) * 67108864 + (next() >>> 6)) / 2 ** 53; } };
    Object.defineProperty(Math, "random",
      { ...Object.getOwnPropertyDescriptor(Math, "random"), value: random.random });
  };

  const undo = () => {
    for (const [name, value] of Object.entries(restore)) {
      if (value === undefined) env.delete(name);
      else env.set(name, value);
    }
    restore = {};
  };

  const kernel = {
    begin([fresh, variables, sandboxVariables]) {
      if (fresh) freshen();
      setVariables(sandboxVariables);
      for (const name of Object.keys(variables)) restore[name] = env.get(name);
      setVariables(variables);
      return lastValue();
    },
    // These return the last value so that `_` stays what it is.
    succeeded() {
      undo();
      const value = lastValue();
      if (value !== undefined) {
        try {
          show(bundleOf(value), true);
        } catch (error) {
          showError(error);
        }
      }
      return value;
    },
    failed() {
      undo();
      try {
        showError(lastError());
      } catch {
        write({ type: "error", name: "Error", value: "the error could not be shown",
          traceback: "" });
      }
      return lastValue();
    },
    refused(text) {
      undo();
      const [first] = text.split("\n");
      const at = first.indexOf(": ");
      const named = at > 0 && /^\w+Error$/.test(first.slice(0, at));
      write({ type: "error", name: named ? first.slice(0, at) : "SyntaxError",
        value: named ? first.slice(at + 2) : first, traceback: text });
      return lastValue();
    },
  };
  Object.defineProperty(globalThis, Symbol.for("csb.kernel"), { value: Object.freeze(kernel) });

  Object.defineProperty(globalThis, "display", {
    configurable: true, writable: true, enumerable: false,
    value: (value) => show(bundleOf(value), false),
  });
  const refuse = () => {
    throw new Error("prompt() is not available: the code runs without a terminal");
  };
  globalThis.prompt = globalThis.confirm = globalThis.alert = refuse;

  // Deno's prompt would wait for half a minute after an error that nobody catches.
  for (const kind of ["error", "unhandledrejection"]) {
    globalThis.addEventListener(kind, (event) => {
      event.preventDefault();
      console.error("Uncaught", event.error ?? event.reason);
    });
  }
})();
