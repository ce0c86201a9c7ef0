//! Builds the kernel programs, which the collector carries in itself.
//!
//! `WEIR_EBPF_OBJECT` names an object that is ready, for builds without that toolchain.

use std::{env, path::Path, process::Command};

fn main() {
    let ebpf = Path::new("../ebpf");
    for path in ["src", "abi/src", "build", "Cargo.toml", "Cargo.lock"] {
        println!("cargo:rerun-if-changed={}", ebpf.join(path).display());
    }
    println!("cargo:rerun-if-env-changed=WEIR_EBPF_OBJECT");

    let object = Path::new(&variable("OUT_DIR")).join("weir.o");
    if let Some(ready) = env::var_os("WEIR_EBPF_OBJECT") {
        println!("cargo:rerun-if-changed={}", Path::new(&ready).display());
        if let Err(error) = std::fs::copy(&ready, &object) {
            fail(&format!("WEIR_EBPF_OBJECT={}: {error}", Path::new(&ready).display()));
        }
        return;
    }
    // The script takes nothing from the environment that is meant for the host's code.
    match Command::new(ebpf.join("build")).arg(&object).output() {
        Err(error) => fail(&format!("ebpf/build does not run: {error}")),
        Ok(output) if !output.status.success() => {
            fail(&String::from_utf8_lossy(&output.stderr));
        }
        Ok(_) => {}
    }
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| fail(&format!("cargo sets {name}")))
}

fn fail(message: &str) -> ! {
    for line in message.lines() {
        println!("cargo:warning={line}");
    }
    println!("cargo:warning=the kernel programs could not be built, see above");
    std::process::exit(1)
}
