// SPDX-License-Identifier: Apache-2.0
// A small grep, sort and wc driven by args, with a hand-made glob matcher.
use std::env;
use std::io::{self, BufRead, Write};
use std::process::ExitCode;

fn glob(pattern: &[char], text: &[char]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        (['*', rest @ ..], _) => (0..=text.len()).any(|i| glob(rest, &text[i..])),
        (['?', p @ ..], [_, t @ ..]) => glob(p, t),
        ([a, p @ ..], [b, t @ ..]) if a.to_lowercase().eq(b.to_lowercase()) => glob(p, t),
        _ => false,
    }
}

struct Options {
    pattern: Vec<char>,
    invert: bool,
    number: bool,
    max: Option<usize>,
}

fn options(mut args: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut o = Options { pattern: vec![], invert: false, number: false, max: None };
    while let Some(a) = args.next() {
        match a.as_str() {
            "-v" => o.invert = true,
            "-n" => o.number = true,
            "-m" => o.max = Some(args.next().ok_or("-m wants a number")?.parse().map_err(|e| format!("-m: {e}"))?),
            flag if flag.starts_with('-') => return Err(format!("unknown flag {flag}")),
            _ => o.pattern = a.chars().collect(),
        }
    }
    Ok(o)
}

fn main() -> ExitCode {
    let o = match options(env::args().skip(1)) {
        Ok(o) => o,
        Err(e) => {
            eprintln!("usage error: {e}");
            return ExitCode::from(2);
        }
    };
    let mut out = io::stdout().lock();
    let (mut hits, mut lines, mut words, mut widest) = (0, 0, 0, 0);
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        lines += 1;
        words += line.split_whitespace().count();
        widest = widest.max(line.chars().count());
        let chars: Vec<char> = line.chars().collect();
        if glob(&o.pattern, &chars) != o.invert && o.max.is_none_or(|m| hits < m) {
            hits += 1;
            let prefix = if o.number { format!("{lines:>3}: ") } else { String::new() };
            writeln!(out, "{prefix}{line}").unwrap();
        }
    }
    writeln!(out, "{hits} of {lines} lines, {words} words, widest {widest}").unwrap();
    if hits == 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
