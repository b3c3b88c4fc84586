// SPDX-License-Identifier: Apache-2.0
use std::process::{ExitCode, Termination};

struct Guard;

impl Drop for Guard {
    fn drop(&mut self) {
        println!("guard dropped: main returned properly");
    }
}

enum Outcome {
    Fine,
    Partial(u8),
}

impl Termination for Outcome {
    fn report(self) -> ExitCode {
        match self {
            Outcome::Fine => ExitCode::SUCCESS,
            Outcome::Partial(missing) => ExitCode::from(40 + missing),
        }
    }
}

fn main() -> Outcome {
    let _g = Guard;
    let missing = ["a", "", "b", ""].iter().filter(|s| s.is_empty()).count();
    eprintln!("{missing} missing");
    if missing == 0 { Outcome::Fine } else { Outcome::Partial(missing as u8) }
}
