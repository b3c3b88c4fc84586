// SPDX-License-Identifier: Apache-2.0
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

fn serve(stream: TcpStream) -> std::io::Result<()> {
    let mut out = stream.try_clone()?;
    for line in BufReader::new(stream).lines() {
        let line = line?;
        match line.split_once(' ') {
            Some(("rev", s)) => writeln!(out, "{}", s.chars().rev().collect::<String>())?,
            Some(("sum", s)) => writeln!(out, "{}", s.split(' ').filter_map(|n| n.parse::<i64>().ok()).sum::<i64>())?,
            Some(("big", n)) => writeln!(out, "{}", "z".repeat(n.parse().unwrap_or(0)))?,
            _ => writeln!(out, "?")?,
        }
    }
    Ok(())
}

fn main() -> std::io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let addr = listener.local_addr()?;
    let server = thread::spawn(move || {
        let clients: Vec<_> = listener.incoming().take(3).map(|s| thread::spawn(move || serve(s.unwrap()))).collect();
        clients.into_iter().map(|c| c.join().unwrap().is_ok()).collect::<Vec<_>>()
    });
    let clients: Vec<_> = ["rev héllo 🙂\nnope\n", "sum 1 2 x 39\nsum\n", "big 60000\n"]
        .map(|request| thread::spawn(move || -> std::io::Result<String> {
            let mut s = TcpStream::connect(addr)?;
            s.set_nodelay(true)?;
            s.write_all(request.as_bytes())?;
            s.shutdown(Shutdown::Write)?;
            let mut text = String::new();
            s.read_to_string(&mut text)?;
            Ok(text)
        }))
        .into_iter()
        .map(|h| h.join().unwrap())
        .collect();
    for c in clients {
        let text = c?;
        println!("{} {:?}", text.len(), text.chars().take(20).collect::<String>());
    }
    println!("{:?}", server.join().unwrap());
    println!("{:?}", TcpStream::connect(addr).map_err(|e| e.kind()).map(drop));
    let (a, b) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
    a.send_to(b"datagram", b.local_addr()?)?;
    let mut buf = [0; 32];
    let (n, from) = b.recv_from(&mut buf)?;
    println!("{:?} {}", std::str::from_utf8(&buf[..n]), from == a.local_addr()?);
    b.set_read_timeout(Some(Duration::from_millis(5)))?;
    println!("{:?}", b.recv(&mut buf).map_err(|e| e.kind()));
    let (mut left, mut right) = UnixStream::pair()?;
    left.write_all(&[1, 2, 255])?;
    drop(left);
    let mut got = vec![];
    right.read_to_end(&mut got)?;
    println!("{got:?} {}", addr.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST));
    println!("{:?} {:?}", "10.0.0.1:80".parse::<SocketAddr>(), "::ffff:1.2.3.4".parse::<IpAddr>().map(|i| i.to_canonical()));
    Ok(())
}
