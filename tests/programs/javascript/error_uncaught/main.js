// SPDX-License-Identifier: Apache-2.0
function outer(x) { return inner(x).value.toFixed(2); }
function inner(x) { return x > 1 ? { value: x } : {}; }
console.log(outer(2));
console.log(outer(1));
