// SPDX-License-Identifier: Apache-2.0
use std::collections::{BTreeSet, HashMap};
use std::iter;

struct Collatz(u64);

impl Iterator for Collatz {
    type Item = u64;
    fn next(&mut self) -> Option<u64> {
        let now = self.0;
        self.0 = match now {
            0 => return None,
            1 => 0,
            n if n % 2 == 0 => n / 2,
            n => 3 * n + 1,
        };
        Some(now)
    }
}

fn windows_of<'a>(s: &'a str, n: usize) -> impl Iterator<Item = &'a str> + 'a {
    let ends: Vec<_> = s.char_indices().map(|(i, _)| i).chain(iter::once(s.len())).collect();
    (0..ends.len().saturating_sub(n)).map(move |i| &s[ends[i]..ends[i + n]])
}

fn main() {
    println!("{:?}", Collatz(6).collect::<Vec<_>>());
    println!("{:?}", (1..30u64).max_by_key(|&n| Collatz(n).count()));
    println!("{:?}", windows_of("añb🙂c", 2).collect::<Vec<_>>());
    println!("{:?}", iter::successors(Some((0u128, 1u128)), |&(a, b)| Some((b, a + b))).map(|(a, _)| a).skip_while(|&n| n < 1000).step_by(10).take(4).collect::<Vec<_>>());
    let (even, odd): (Vec<i32>, Vec<i32>) = (1..10).partition(|n| n % 2 == 0);
    println!("{even:?} {odd:?} {:?}", even.iter().zip(&odd).map(|(a, b)| a * b).sum::<i32>());
    println!("{:?}", ["3", "x", "5"].iter().map(|s| s.parse::<i32>()).collect::<Result<Vec<_>, _>>().map_err(|e| e.to_string()));
    println!("{:?}", ["3", "x", "5"].iter().filter_map(|s| s.parse::<i32>().ok()).product::<i32>());
    println!("{:?}", [1, 2, 3, 4].iter().try_fold(0i8, |acc, &x| acc.checked_add(x * 30)));
    println!("{:?}", (1..=4).scan(1, |state, x| { *state *= x; Some(*state) }).collect::<Vec<_>>());
    println!("{:?}", vec![vec![1], vec![], vec![2, 3]].into_iter().flatten().rev().collect::<Vec<_>>());
    println!("{:?} {:?}", [1, 1, 2, 3, 3].chunk_by(|a, b| a == b).collect::<Vec<_>>(), [1, 2, 3, 4, 5].chunks(2).map(|c| c.len()).collect::<Vec<_>>());
    let mut it = (1..6).peekable();
    let mut groups = vec![];
    while let Some(x) = it.next() {
        let mut group = vec![x];
        while let Some(y) = it.next_if(|y| y % 3 != 0) {
            group.push(y);
        }
        groups.push(group);
    }
    println!("{groups:?}");
    let text = "the cat the dog the end";
    let counts = text.split(' ').fold(HashMap::new(), |mut m, w| { *m.entry(w).or_insert(0) += 1; m });
    let mut sorted: Vec<_> = counts.into_iter().collect();
    sorted.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    println!("{sorted:?}");
    let (a, b): (BTreeSet<_>, BTreeSet<_>) = ((1..6).collect(), (4..9).collect());
    println!("{:?} {:?} {:?}", &a & &b, &a ^ &b, a.is_subset(&b));
    println!("{} {:?} {:?}", (1..=5).map(|n| n.to_string()).collect::<Vec<_>>().join("+"), "abc".chars().cycle().skip(4).take(4).collect::<String>(), "a-b-c".rsplitn(2, '-').collect::<Vec<_>>());
    println!("{:?} {:?} {}", [3, 1, 2].iter().min(), [2.5, -1.0].iter().copied().fold(f64::NAN, f64::min), (1..4).eq([1, 2, 3]));
    let mut v = vec![5, 3, 8, 1, 9, 2];
    v.sort_unstable_by_key(|n| std::cmp::Reverse(*n));
    v.dedup_by_key(|n| *n / 4);
    println!("{v:?} {:?} {:?}", v.binary_search_by(|p| 5.cmp(p)), v.iter().rposition(|n| *n > 4));
    println!("{:?}", v.drain(1..).map(|n| n * 2).collect::<Vec<i32>>());
}
