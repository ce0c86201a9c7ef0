//! Has the crate built again when the pages were. The folder is always there, the pages in it need not be.

fn main() {
    println!("cargo::rerun-if-changed=dist");
}
