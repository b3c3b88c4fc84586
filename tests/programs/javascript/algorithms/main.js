// SPDX-License-Identifier: Apache-2.0
const sieve = (n) => { const s = new Uint8Array(n + 1), out = []; for (let i = 2; i <= n; i++) { if (s[i]) continue; out.push(i); for (let j = i * i; j <= n; j += i) s[j] = 1; } return out; };
console.log(sieve(100).join(" "), sieve(20000).length);
const lcs = (a, b) => { const t = Array.from({ length: a.length + 1 }, () => new Array(b.length + 1).fill("")); for (let i = 1; i <= a.length; i++) for (let j = 1; j <= b.length; j++) t[i][j] = a[i - 1] === b[j - 1] ? t[i - 1][j - 1] + a[i - 1] : t[i - 1][j].length >= t[i][j - 1].length ? t[i - 1][j] : t[i][j - 1]; return t[a.length][b.length]; };
console.log(lcs("the quick brown fox", "a thick crown of oxen"));
function sudoku(grid) {
  const fits = (i, d) => { const r = Math.floor(i / 9), c = i % 9; for (let k = 0; k < 9; k++) if (grid[r * 9 + k] === d || grid[k * 9 + c] === d || grid[(r - r % 3 + Math.floor(k / 3)) * 9 + c - c % 3 + k % 3] === d) return false; return true; };
  let best = -1, options = null;
  for (let i = 0; i < 81; i++) if (!grid[i]) { const o = []; for (let d = 1; d < 10; d++) if (fits(i, d)) o.push(d); if (!options || o.length < options.length) [best, options] = [i, o]; }
  if (best < 0) return true;
  for (const d of options) { grid[best] = d; if (sudoku(grid)) return true; }
  grid[best] = 0;
  return false;
}
const grid = [..."530070000600195000098000060800060003400803001700020006060000280000419005000080079"].map(Number);
console.log(sudoku(grid), grid.join("").match(/.{9}/g));
const permutations = (s) => s.length < 2 ? [s] : [...s].flatMap((c, i) => permutations(s.slice(0, i) + s.slice(i + 1)).map((p) => c + p));
console.log(permutations("abcd").length, permutations("abc"));
let state = 12345;
const rnd = () => (state = Math.imul(state, 1103515245) + 12345 >>> 0) / 2 ** 32;
const quick = ([p, ...r]) => p === undefined ? [] : [...quick(r.filter((x) => x < p)), p, ...quick(r.filter((x) => x >= p))];
console.log(quick(Array.from({ length: 12 }, () => Math.floor(rnd() * 100))));
console.log("the rain in Spain".replace(/(?<first>\w)(\w*)/g, (...m) => m.at(-1).first.toUpperCase() + m[2]), [..."a1b22c333".matchAll(/([a-z])(\d+)/g)].map((m) => [m.index, m[1], +m[2]]));
