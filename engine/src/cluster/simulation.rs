//! Plays the protocol of a cluster in simulated time: the state machines of the program ([`Coordinator`], [`Membership`], [`spread`] and
//! the catalog's `apply`), with coordinators, workers, connections and a catalog around them that fail as a seed says.
//!
//! Processes die, hang and start again; connections break, stand still and lose what was under way; answers of the catalog get lost;
//! clocks of machines differ by seconds. At any moment must hold:
//! - no epoch is committed twice, and none is left out: what a commit adds begins where the last one ended;
//! - once an attempt to run the job has committed, no earlier one does;
//! - when faults stop, commits go on.
//!
//! `FRAZIL_SIMULATIONS=10000 cargo test --workspace --lib simulation` plays so many seeds.

mod catalog;
mod coordinator;
mod worker;
mod world;

use world::World;

/// Seeds in CI.
const SEEDS: u64 = 300;

#[test]
fn nothing_is_lost_or_doubled_whatever_fails() {
    let seeds = std::env::var("FRAZIL_SIMULATIONS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(SEEDS);
    let first = std::env::var("FRAZIL_SIMULATION_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0);
    let (mut commits, mut attempts, mut leaders) = (0, 0, 0);
    for seed in first..first + seeds {
        let world = World::play(seed);
        if let Err(what) = &world.verdict {
            panic!("seed {seed}: {what}\nlast events:\n{}", world.trace());
        }
        commits += world.catalog.log.len();
        attempts += world.catalog.attempts();
        leaders += world.catalog.leaders;
    }
    println!("{seeds} seeds: {commits} commits by {attempts} attempts under {leaders} leaders");
    // Faults that disturb nothing would prove nothing.
    assert!(attempts as u64 > 3 * seeds && leaders > seeds, "{attempts} attempts, {leaders} leaders");
}
