// SPDX-License-Identifier: Apache-2.0
#[derive(Debug)]
struct Reading {
    celsius: Vec<f32>,
}

fn warmest(r: &Reading) -> f32 {
    r.celsius.iter().copied().fold(f32::MIN, f32::max)
}

fn pick(r: &Reading, i: usize) -> f32 {
    r.celsius[i]
}

struct Bomb(&'static str);

impl Drop for Bomb {
    fn drop(&mut self) {
        println!("dropped {} (panicking: {})", self.0, std::thread::panicking());
    }
}

fn main() {
    let _outer = Bomb("outer");
    let r = Reading { celsius: vec![1.5, 22.25, -3.0] };
    println!("{r:?} {}", warmest(&r));
    let _inner = Bomb("inner");
    println!("{}", pick(&r, 3));
}
