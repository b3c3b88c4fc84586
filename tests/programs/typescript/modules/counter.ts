// SPDX-License-Identifier: Apache-2.0
export let instances = 0;
export default class Counter {
  value = 0;
  constructor() { instances++; }
  bump(): this { this.value++; return this; }
}
