// SPDX-License-Identifier: Apache-2.0
use std::collections::HashMap;

fn longest(words: &[String]) -> &str {
    words.iter().max_by_key(|w| w.len()).unwrap()
}

fn main() {
    let words = vec!["a".to_string(), "bcd".to_string()];
    let best = longest(&words);
    drop(words);
    println!("{best}");
    let n: u32 = "text";
    let _: HashMap<String, u32> = HashMap::from([("n", n)]);
}
