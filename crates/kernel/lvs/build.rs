//! Compiles the BPF programs. With clang at hand they are compiled afresh; without it the committed object serves, as
//! long as it was made from these very sources. `SHOAL_LVS_COMMIT_OBJECT=1` also writes the object to commit.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

#[path = "bpf/sources.rs"]
mod sources;

const COMMIT_VARIABLE: &str = "SHOAL_LVS_COMMIT_OBJECT";

fn main() -> Result<(), Box<dyn Error>> {
    let directory = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("bpf");
    println!("cargo:rerun-if-changed=bpf");
    println!("cargo:rerun-if-env-changed={COMMIT_VARIABLE}");
    let object = PathBuf::from(env::var("OUT_DIR")?).join("shoal_lvs.o");
    let committed = directory.join("shoal_lvs.o");
    let digest = sources::digest(&directory)?;
    let committed_digest = fs::read_to_string(directory.join("shoal_lvs.digest")).unwrap_or_default();
    match compile(&directory, &object) {
        Ok(()) if env::var_os(COMMIT_VARIABLE).is_some() => {
            fs::copy(&object, &committed)?;
            fs::write(directory.join("shoal_lvs.digest"), format!("{digest}\n"))?;
        }
        Ok(()) => {}
        Err(reason) if committed_digest.trim() == digest => {
            println!("cargo:warning=BPF programs not compiled ({reason}); using the committed object");
            fs::copy(&committed, &object)?;
        }
        Err(reason) => return Err(format!("the BPF sources changed and need clang: {reason}").into()),
    }
    Ok(())
}

/// Compiles the one translation unit; debug information is needed for BTF, which describes the maps.
fn compile(directory: &Path, object: &Path) -> Result<(), String> {
    let mut clang = Command::new("clang");
    clang.args(["-target", "bpf", "-mcpu=v3", "-O2", "-g", "-Wall", "-Werror", "-Wextra"]);
    // Where Debian keeps the headers of one architecture; clang looks there only when it compiles for that one.
    for architecture in ["x86_64", "aarch64"] {
        let multiarch = PathBuf::from(format!("/usr/include/{architecture}-linux-gnu"));
        if multiarch.join("asm/types.h").exists() {
            clang.arg("-I").arg(multiarch);
        }
    }
    clang.arg(format!("-ffile-prefix-map={}=bpf", directory.display()));
    clang.arg(format!("-fdebug-compilation-dir={}", "bpf"));
    clang.arg("-c").arg(directory.join("shoal_lvs.c")).arg("-o").arg(object);
    let output = clang.output().map_err(|e| format!("clang cannot be run: {e}"))?;
    if !output.status.success() {
        return Err(format!("clang failed:\n{}", String::from_utf8_lossy(&output.stderr)));
    }
    // Line tables triple the size and nobody reads them; BTF stays. Without the tool the object is merely larger.
    let _ = Command::new("llvm-strip").arg("-g").arg(object).output();
    Ok(())
}
