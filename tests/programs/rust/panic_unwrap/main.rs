// SPDX-License-Identifier: Apache-2.0
use std::num::ParseIntError;

fn parse(list: &str) -> Result<Vec<i32>, ParseIntError> {
    list.split(',').map(str::trim).map(str::parse).collect()
}

fn main() {
    println!("{:?}", parse("1, 2,3"));
    println!("{:?}", parse("4,five").map_err(|e| e.to_string()));
    let caught = std::panic::catch_unwind(|| {
        let none: Option<u8> = None;
        none.expect("a value was promised")
    });
    println!("caught: {}", caught.is_err());
    parse("6,,7").unwrap();
}
