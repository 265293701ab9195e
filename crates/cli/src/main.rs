//! The `milepost` binary. All of it is in the library beside it, where the fuzz targets reach it too.

use std::process::ExitCode;

/// An idle watcher costs less than with the system's allocator: `docs/decisions/0003-allocator.md`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    milepost_cli::main()
}
