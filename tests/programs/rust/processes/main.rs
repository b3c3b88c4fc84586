// SPDX-License-Identifier: Apache-2.0
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

fn sh(script: &str) -> Command {
    let mut c = Command::new("sh");
    c.args(["-c", script]);
    c
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let out = sh("echo out; echo err >&2; exit 7").output()?;
    println!("{:?} {:?} {:?}", out.status.code(), String::from_utf8(out.stdout)?, String::from_utf8_lossy(&out.stderr));
    let status = sh("kill -ABRT $$").status()?;
    println!("{:?} {:?}", status.code(), status.signal());
    println!("{:?}", String::from_utf8(sh("echo $A-$B; pwd").env("A", "ä").env("B", "b b").current_dir("/tmp").output()?.stdout)?);
    let mut cat = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut pipe = cat.stdin.take().unwrap();
    let writer = std::thread::spawn(move || {
        for i in 0..5000 {
            writeln!(pipe, "line {i}").unwrap();
        }
    });
    let mut text = String::new();
    cat.stdout.take().unwrap().read_to_string(&mut text)?;
    writer.join().unwrap();
    println!("{} lines, {} bytes, {}", text.lines().count(), text.len(), cat.wait()?.success());
    let seq = Command::new("seq").arg("100").stdout(Stdio::piped()).spawn()?;
    let awk = Command::new("awk").arg("{s+=$1} END {print s}").stdin(seq.stdout.unwrap()).output()?;
    println!("{}", String::from_utf8(awk.stdout)?.trim());
    let mut sleeper = Command::new("sleep").arg("30").spawn()?;
    println!("{:?}", sleeper.try_wait()?);
    sleeper.kill()?;
    println!("{:?}", sleeper.wait()?.signal());
    let err = Command::new("/no/such/thing").spawn().unwrap_err();
    println!("{:?} {err}", err.kind());
    sh("read line; echo \"child read: $line\"; echo to stderr >&2").status()?;
    let codes: Vec<_> = (1..5).map(|n| sh(&format!("exit {n}")).spawn().unwrap()).map(|mut c| c.wait().unwrap().code().unwrap()).collect();
    println!("{codes:?}");
    let me = sh("exit 3").status()?;
    std::process::exit(me.code().unwrap() + 2)
}
