// SPDX-License-Identifier: Apache-2.0
pub mod text;

pub const VERSION: &str = concat!("v", 1, ".", 2);
