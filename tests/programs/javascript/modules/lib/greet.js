// SPDX-License-Identifier: Apache-2.0
import { upper } from "./upper.js";
export let count = 0;
export function greet(name) {
  count++;
  return `Hello, ${upper(name)}!`;
}
