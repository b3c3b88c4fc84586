// SPDX-License-Identifier: Apache-2.0
const fine: number = 1;
console.log("never printed", fine);
function broken(: number {
  return 1;
}
