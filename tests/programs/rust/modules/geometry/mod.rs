// SPDX-License-Identifier: Apache-2.0
pub mod shapes;

pub trait Shape {
    fn area(&self) -> f64;
    fn name(&self) -> String {
        "unnamed".into()
    }
}

pub fn total<'a>(shapes: impl Iterator<Item = &'a dyn Shape>) -> f64 {
    shapes.map(Shape::area).sum()
}
