//! Compiles the C++ shim over libtorch and records where its libraries lie, so that the binary finds them
//! when it runs.
//!
//! Only with the `torch` feature; torch-sys tells the folder (`DEP_TCH_LIBTORCH_LIB`). One limit: Linux and
//! macOS only.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    #[cfg(feature = "torch")]
    torch();
}

#[cfg(feature = "torch")]
fn torch() {
    use std::path::PathBuf;

    println!("cargo:rerun-if-changed=src/shim/shim.cpp");
    println!("cargo:rerun-if-env-changed=DEP_TCH_LIBTORCH_LIB");
    let Some(lib) = std::env::var_os("DEP_TCH_LIBTORCH_LIB").map(PathBuf::from) else {
        println!("cargo:warning=torch-sys did not say where libtorch lies: set LIBTORCH to its folder");
        return;
    };
    let include = lib.parent().map(|root| root.join("include")).unwrap_or_default();
    cc::Build::new()
        .cpp(true)
        .std("c++20")
        .warnings(false)
        .include(&include)
        .include(include.join("torch/csrc/api/include"))
        .file("src/shim/shim.cpp")
        .compile("llmatic_shim");
    // Also for tests, examples and benches; the library itself is not linked.
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", lib.display());
    println!("cargo:rustc-env=LLMATIC_LIBTORCH_LIB={}", lib.display());
}
