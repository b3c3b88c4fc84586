// SPDX-License-Identifier: Apache-2.0
use std::env;

fn main() {
    for k in ["PLAIN", "SPACES", "UNICODE", "EMPTY", "EQUALS", "ABSENT"] {
        println!("{k} {:?}", env::var(k));
    }
    println!("{:?}", env::args().skip(1).collect::<Vec<_>>());
    println!("{:?}", env::var_os("UNICODE").map(|v| v.len()));
    let child = std::process::Command::new("sh").args(["-c", "echo \"$PLAIN|$EXTRA|$GONE\""]).env("EXTRA", "é").env_remove("SPACES").output().unwrap();
    print!("{}", String::from_utf8_lossy(&child.stdout));
    unsafe { env::set_var("PLAIN", "changed") };
    println!("{:?} {} {}", env::var("PLAIN"), env::consts::ARCH, env::consts::OS);
    use std::io::IsTerminal;
    println!("{} {}", std::io::stdin().is_terminal(), std::io::stdout().is_terminal());
    println!("{:?}", std::io::stdin().lines().count());
}
