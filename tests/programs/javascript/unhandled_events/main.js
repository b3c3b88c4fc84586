// SPDX-License-Identifier: Apache-2.0
// Each step starts the next: how long a step takes changes nothing.
globalThis.addEventListener("unhandledrejection", (e) => { e.preventDefault(); console.log("rejection handled:", e.reason.message);
  setTimeout(() => { throw new Error("from a timer"); }, 1);
});
globalThis.addEventListener("error", (e) => { e.preventDefault(); console.log("error handled:", e.message, e.lineno);
  setTimeout(() => { console.log("still alive"); talk(); }, 10);
});
Promise.reject(new Error("nobody waits"));
const target = new EventTarget();
target.addEventListener("ping", (e) => console.log("first", e.detail, e.cancelable), { once: true });
target.addEventListener("ping", { handleEvent: (e) => console.log("second", e.type) });
target.dispatchEvent(new CustomEvent("ping", { detail: [1, 2], cancelable: true }));
target.dispatchEvent(new CustomEvent("ping"));
function talk() {
  const channel = new MessageChannel();
  channel.port1.onmessage = (m) => { console.log("message", m.data); channel.port1.close(); };
  channel.port2.postMessage({ when: new Date(0), bytes: new Uint8Array(2) });
}
