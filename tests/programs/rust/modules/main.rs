// SPDX-License-Identifier: Apache-2.0
mod geometry;
mod util;

use geometry::{Shape, shapes::{Circle, Rectangle}};

fn main() {
    let shapes: Vec<Box<dyn Shape>> = vec![
        Box::new(Circle { radius: 1.5 }),
        Box::new(Rectangle::new(3.0, 4.0)),
        Box::new(Rectangle::square(2.5)),
    ];
    for s in &shapes {
        println!("{:<28} area {:>8.3}", util::text::title(&s.name()), s.area());
    }
    println!("total {:.3}", geometry::total(shapes.iter().map(|s| s.as_ref())));
    println!("{} {}", util::text::title("élan vital"), util::VERSION);
    println!("{:?}", std::env::args().skip(1).collect::<Vec<_>>());
    print!("{}", include_str!("data/poem.txt"));
    println!("{} {}", module_path!(), file!());
}
