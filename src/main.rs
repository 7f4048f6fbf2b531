//! The `tagwarden` program.

fn main() {}
