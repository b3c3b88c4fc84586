// SPDX-License-Identifier: Apache-2.0
use std::fmt;

#[derive(Debug)]
enum AppError {
    Io(std::io::Error),
    Parse { line: usize, source: std::num::ParseFloatError },
}

impl fmt::Display for AppError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AppError::Io(e) => write!(f, "io: {e}"),
            AppError::Parse { line, source } => write!(f, "line {line}: {source}"),
        }
    }
}

impl std::error::Error for AppError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(match self {
            AppError::Io(e) => e,
            AppError::Parse { source, .. } => source,
        })
    }
}

impl From<std::io::Error> for AppError {
    fn from(e: std::io::Error) -> Self {
        AppError::Io(e)
    }
}

fn total(path: &str) -> Result<f64, AppError> {
    std::fs::read_to_string(path)?
        .lines()
        .enumerate()
        .map(|(i, l)| l.parse::<f64>().map_err(|source| AppError::Parse { line: i + 1, source }))
        .sum()
}

fn main() -> Result<(), AppError> {
    println!("{:.2}", total("good.txt")?);
    if let Err(e) = total("missing.txt") {
        println!("{e}, source: {}", std::error::Error::source(&e).unwrap());
    }
    total("bad.txt")?;
    println!("never");
    Ok(())
}
