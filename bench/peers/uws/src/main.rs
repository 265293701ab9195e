//! `milepost-bench-uws PORT [IDLE_SECONDS]`: uWebSockets as a bare publish/subscribe server on 127.0.0.1.

use std::process::ExitCode;

unsafe extern "C" {
    fn serve(port: i32, idle_seconds: u16) -> i32;
}

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let port = args.next().and_then(|port| port.parse::<u16>().ok());
    let idle_seconds = args.next().map_or(Some(0), |seconds| seconds.parse::<u16>().ok());
    let (Some(port), Some(idle_seconds)) = (port, idle_seconds) else {
        eprintln!("usage: milepost-bench-uws PORT [IDLE_SECONDS]");
        return ExitCode::from(2);
    };
    // SAFETY: the function takes two numbers and keeps nothing of ours.
    if unsafe { serve(i32::from(port), idle_seconds) } == 0 {
        ExitCode::SUCCESS
    } else {
        eprintln!("milepost-bench-uws: cannot listen on port {port}");
        ExitCode::FAILURE
    }
}
