// SPDX-License-Identifier: Apache-2.0
use super::Shape;

pub struct Circle {
    pub radius: f64,
}

#[derive(Debug)]
pub struct Rectangle {
    w: f64,
    h: f64,
}

impl Rectangle {
    pub const fn new(w: f64, h: f64) -> Self {
        Self { w, h }
    }

    pub fn square(side: f64) -> Self {
        Self::new(side, side)
    }
}

impl Shape for Circle {
    fn area(&self) -> f64 {
        std::f64::consts::PI * self.radius.powi(2)
    }
}

impl Shape for Rectangle {
    fn area(&self) -> f64 {
        self.w * self.h
    }

    fn name(&self) -> String {
        format!("{self:?}").to_lowercase()
    }
}
