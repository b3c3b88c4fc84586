// SPDX-License-Identifier: Apache-2.0
use std::collections::HashMap;

fn edit(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let best = (row[j] + 1).min(row[j + 1] + 1).min(corner + usize::from(x != *y));
            corner = std::mem::replace(&mut row[j + 1], best);
        }
    }
    row[b.len()]
}

fn knapsack<'a>(items: &[(&'a str, usize, u32)], room: usize) -> (u32, Vec<&'a str>) {
    let mut best = vec![(0, vec![]); room + 1];
    for &(name, weight, value) in items {
        for r in (weight..=room).rev() {
            let (v, names) = &best[r - weight];
            if v + value > best[r].0 {
                best[r] = (v + value, names.iter().copied().chain([name]).collect());
            }
        }
    }
    best.pop().unwrap()
}

fn ways(stairs: u64, memo: &mut HashMap<u64, u64>) -> u64 {
    if stairs <= 1 {
        return 1;
    }
    if let Some(&w) = memo.get(&stairs) {
        return w;
    }
    let w = (1..=3.min(stairs)).map(|s| ways(stairs - s, memo)).sum();
    memo.insert(stairs, w);
    w
}

fn sudoku(grid: &mut [[u8; 9]; 9]) -> bool {
    let mut best: Option<(usize, usize, Vec<u8>)> = None;
    for r in 0..9 {
        for c in (0..9).filter(|&c| grid[r][c] == 0).collect::<Vec<_>>() {
            let free: Vec<u8> = (1..=9)
                .filter(|d| (0..9).all(|k| grid[r][k] != *d && grid[k][c] != *d && grid[r / 3 * 3 + k / 3][c / 3 * 3 + k % 3] != *d))
                .collect();
            if best.as_ref().is_none_or(|b| free.len() < b.2.len()) {
                best = Some((r, c, free));
            }
        }
    }
    let Some((r, c, free)) = best else { return true };
    for d in free {
        grid[r][c] = d;
        if sudoku(grid) {
            return true;
        }
    }
    grid[r][c] = 0;
    false
}

fn permutations(items: &mut Vec<char>, k: usize, out: &mut Vec<String>) {
    if k == items.len() {
        out.push(items.iter().collect());
        return;
    }
    for i in k..items.len() {
        items.swap(k, i);
        permutations(items, k + 1, out);
        items.swap(k, i);
    }
}

fn main() {
    println!("{} {}", edit("kitten", "sitting"), edit("größe", "grosse"));
    println!("{:?}", knapsack(&[("map", 9, 150), ("compass", 13, 35), ("water", 53, 200), ("glucose", 15, 60), ("banana", 27, 60)], 100));
    println!("{}", ways(60, &mut HashMap::new()));
    let mut grid = [[0u8; 9]; 9];
    for (i, b) in "530070000600195000098000060800060003400803001700020006060000280000419005000080079".bytes().enumerate() {
        grid[i / 9][i % 9] = b - b'0';
    }
    println!("{}", sudoku(&mut grid));
    for row in grid {
        println!("{}", row.map(|d| d.to_string()).join(" "));
    }
    let mut out = vec![];
    permutations(&mut "abcd".chars().collect(), 0, &mut out);
    out.sort();
    println!("{} {:?}", out.len(), &out[20..]);
    let mut pascal = vec![1u32];
    for _ in 0..8 {
        println!("{:^48}", pascal.iter().map(|n| format!("{n:>3}")).collect::<Vec<_>>().join(" "));
        pascal = [1].into_iter().chain(pascal.windows(2).map(|w| w[0] + w[1])).chain([1]).collect();
    }
}
