// SPDX-License-Identifier: Apache-2.0
// What a Rust program can try. The first argument says which attempt; `probe` makes all those that
// end by themselves and prints a line `name value` for each.
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;
use std::{env, fs, io, thread};

unsafe extern "C" {
    fn fork() -> i32;
    fn setuid(uid: u32) -> i32;
    fn syscall(number: i64, ...) -> i64;
}

fn errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

fn code<T>(result: io::Result<T>) -> i32 {
    result.err().map_or(0, |e| e.raw_os_error().unwrap_or(-1))
}

// 0 when the call worked.
fn call(number: i64, a: i64, b: i64, c: i64) -> i32 {
    let result = unsafe { syscall(number, a, b, c, 0i64, 0i64) };
    if result < 0 { errno() } else { 0 }
}

fn probe() {
    println!("unshare_user {}", call(272, 0x1000_0000, 0, 0));
    println!("unshare_mount {}", call(272, 0x0002_0000, 0, 0));
    println!("mount {}", unsafe {
        let path = c"/mnt".as_ptr();
        if syscall(165, c"none".as_ptr(), path, c"tmpfs".as_ptr(), 0i64, 0i64) < 0 { errno() } else { 0 }
    });
    println!("ptrace_init {}", call(101, 16, 1, 0));
    println!("setuid {}", if unsafe { setuid(0) } < 0 { errno() } else { 0 });
    println!("io_uring {}", call(425, 8, 0, 0));
    println!("bpf {}", call(321, 0, 0, 0));
    println!("keyctl {}", call(250, 0, -3, 1));
    println!("x32 {}", call(0x4000_0000 | 39, 0, 0, 0));
    println!("packet {}", call(41, 17, 3, 0));
    println!("vsock {}", call(41, 40, 1, 0));
    let outside: SocketAddr = "1.1.1.1:443".parse().unwrap();
    println!("connect {}", code(TcpStream::connect_timeout(&outside, Duration::from_secs(5))));
    std::os::unix::fs::symlink("/etc/shadow", "out.txt").unwrap();
    println!("shadow {}", code(fs::read("out.txt")));
    println!("init_environ {}", code(fs::read("/proc/1/environ")));
    let mut names: Vec<String> = env::vars().map(|(name, _)| name).collect();
    names.sort();
    println!("env {}", names.join(","));
    let mut open = Vec::new();
    let full = loop {
        match fs::File::open("/dev/null") {
            Ok(file) => open.push(file),
            Err(error) => break error.raw_os_error().unwrap_or(-1),
        }
    };
    println!("files {} {}", full, open.len());
}

fn main() {
    match env::args().nth(1).unwrap().as_str() {
        "fork" => loop {
            unsafe { fork() };
        },
        "memory" => {
            let mut kept: Vec<Vec<u8>> = Vec::new();
            loop {
                kept.push(vec![1; 16 << 20]);
            }
        }
        "flood" => loop {
            let _ = io::stdout().write_all(&[b'y'; 65536]);
        },
        "sleep" => thread::sleep(Duration::from_secs(1_000_000)),
        "disk" => {
            let mut file = fs::File::create("fill").unwrap();
            let block = vec![7u8; 1 << 20];
            loop {
                if let Err(error) = file.write_all(&block) {
                    println!("{}", error.raw_os_error().unwrap_or(-1));
                    return;
                }
            }
        }
        _ => probe(),
    }
}
