//! Whether measuring distorts: `outlive rehearse` and wrk take turns at nginx, for longer than in tests/overhead.rs.
//!
//!     cargo bench --bench rehearse
//!
//! Needs nginx, wrk and taskset. Prints a table; exits with 1 if the best p99 is more than 0.2 ms above wrk's.

use std::process::ExitCode;

#[path = "../tests/support/beside_wrk.rs"]
mod beside_wrk;

use beside_wrk::{Figures, MOST, Nginx};

/// Pairs of runs.
const TURNS: usize = 16;

fn main() -> ExitCode {
    let nginx = Nginx::start(env!("CARGO_BIN_EXE_outlive"));
    let turns: Vec<_> = (0..TURNS).map(|_| (nginx.wrk(), nginx.rehearse())).collect();
    println!("| | requests/s | p50 | p99 |\n|---|---:|---:|---:|");
    for (wrk, rehearse) in &turns {
        println!("| wrk | {wrk} |\n| outlive rehearse | {rehearse} |");
    }
    let [of_wrk, of_rehearse] =
        [Figures::best(turns.iter().map(|turn| &turn.0)), Figures::best(turns.iter().map(|turn| &turn.1))];
    println!(
        "\nBest p99: wrk {of_wrk:.2} ms, outlive rehearse {of_rehearse:.2} ms; more than {MOST} ms above is too much."
    );
    if of_rehearse - of_wrk < MOST { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
