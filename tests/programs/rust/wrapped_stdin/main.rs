// SPDX-License-Identifier: Apache-2.0
use std::io::Read;
let mut text = String::new();
std::io::stdin().read_to_string(&mut text).unwrap();
let mut counts = std::collections::BTreeMap::<char, usize>::new();
text.chars().filter(|c| c.is_alphabetic()).for_each(|c| *counts.entry(c).or_default() += 1);
for (c, n) in counts.iter().rev().take(5) {
    println!("{c} {}", "█".repeat(*n));
}
let s: String = counts.keys().collect();
println!("{s}")
