//! Measuring must not distort: what `outlive rehearse` adds to the latencies that it measures, beside wrk's.
//!
//! It measures microseconds, so nothing else of the tests may run meanwhile, and the program must be optimized: tests/run
//! sees to the first, and names in `OUTLIVE_TEST_PROGRAM` the one that was built for the packages.

#[path = "support/beside_wrk.rs"]
mod beside_wrk;

use beside_wrk::{Figures, MOST, Nginx};

/// Pairs of runs, three seconds each: so many at least, and further ones while the machine is too busy to tell.
const TURNS: std::ops::RangeInclusive<usize> = 3..=8;

/// The p99 of wrk's, in ms, up to which three turns are enough: above it, the machine has much else to do.
const QUIET: f64 = 2.0;

/// What rehearse must reach of wrk's rate, or it was another load that was compared.
const RATE: f64 = 0.75;

#[test]
fn latencies_are_as_wrk_sees_them() {
    let program = std::env::var_os("OUTLIVE_TEST_PROGRAM").unwrap_or_else(|| {
        if cfg!(debug_assertions) {
            panic!("unoptimized, it would measure itself: cargo test --release --test overhead");
        }
        env!("CARGO_BIN_EXE_outlive").into()
    });
    let nginx = Nginx::start(program);
    let (mut of_wrk, mut of_rehearse) = (Vec::new(), Vec::new());
    loop {
        of_wrk.push(nginx.wrk());
        of_rehearse.push(nginx.rehearse());
        let turns = of_wrk.len();
        println!("wrk: {}; rehearse: {}", of_wrk[turns - 1], of_rehearse[turns - 1]);
        let quiet = Figures::best(of_wrk.iter());
        let overhead = Figures::best(of_rehearse.iter()) - quiet;
        let fastest = |of: &[Figures]| of.iter().map(|turn| turn.rate).fold(0.0, f64::max);
        let rate = fastest(&of_rehearse) / fastest(&of_wrk);
        let enough = if quiet < QUIET { *TURNS.start() } else { *TURNS.end() };
        if turns >= enough && overhead < MOST && rate > RATE {
            return;
        }
        assert!(turns < *TURNS.end(), "p99 is {overhead:.2} ms above wrk's, at {rate:.2} times its rate");
    }
}
