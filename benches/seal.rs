//! What sealing and opening a record costs: `cargo bench --bench seal`.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use baileys_vault::record::{Algorithm, Compression, KeyRing, MasterKey, RecordKey, SealOptions, Sealer};

/// Best of this many rounds: the least disturbed one says what the work costs.
const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_millis(60);

fn main() {
    let key = RecordKey::new("session", "5511987654321.0").expect("a good key");
    println!("| ns to seal / open | 100 B | 1 KB | 10 KB |\n| --- | --: | --: | --: |");
    for (name, encryption, compression) in [
        ("plain", None, None),
        ("secretbox", Some(Algorithm::SecretBox), None),
        ("aes-256-gcm", Some(Algorithm::Aes256Gcm), None),
        (
            "secretbox, snappy",
            Some(Algorithm::SecretBox),
            Some(Compression::Snappy),
        ),
        (
            "secretbox, gzip",
            Some(Algorithm::SecretBox),
            Some(Compression::Gzip),
        ),
    ] {
        let sealer = sealer(encryption, compression);
        print!("| {name} |");
        for size in [100, 1_024, 10_240] {
            // Half noise, half repetition, as records of keys and JSON-like text are.
            let plain: Vec<u8> = (0..size)
                .map(|at: u32| {
                    (at.wrapping_mul(2_654_435_761) >> 24) as u8 & if at % 64 < 32 { 0xff } else { 0x01 }
                })
                .collect();
            let stored = sealer.seal(&key, &plain).expect("sealed");
            let seal = measure(|| drop(black_box(sealer.seal(&key, black_box(&plain)))));
            let open = measure(|| drop(black_box(sealer.open(&key, black_box(&stored)))));
            print!(" {seal} / {open} |");
        }
        println!();
    }
    let sealer = sealer(Some(Algorithm::SecretBox), None);
    let draw = |records| measure(|| drop(black_box(sealer.draw(black_box(records)))));
    let (one, hundred) = (draw(1), draw(100));
    println!("\nOf it, the random numbers of a commit: {one} for one record, {hundred} for a hundred.");
}

fn sealer(encryption: Option<Algorithm>, compression: Option<Compression>) -> Sealer {
    let master = MasterKey::from_bytes("masterKey", &[7; 32]).expect("a good key");
    let options = SealOptions {
        encryption,
        compression,
        accept_plain: false,
    };
    Sealer::new(
        Arc::new(KeyRing::new(Some(master), vec![])),
        options,
        &"bench".into(),
    )
    .expect("a good ring")
}

/// Nanoseconds of one call.
fn measure(mut work: impl FnMut()) -> u128 {
    (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            let mut calls = 0;
            while start.elapsed() < ROUND {
                for _ in 0..50 {
                    work();
                }
                calls += 50;
            }
            start.elapsed().as_nanos() / calls
        })
        .min()
        .unwrap_or_default()
}
