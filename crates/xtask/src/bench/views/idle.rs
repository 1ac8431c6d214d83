//! What a subscription costs that hears nothing: streams of gRPC, a thousand on each connection, so that it is the
//! subscription that is measured and not the connection.

use std::time::{Duration, Instant};

use super::grpc::Reader;
use super::service::{self, PATIENCE};
use super::site::{Site, register, registration};
use super::{Bench, streams};
use crate::bench::spread::Spread;

/// Connections, and subscriptions on each.
const CONNECTIONS: usize = 10;
const STREAMS: usize = 1_000;
const STREAMS_QUICK: usize = 200;
/// Instances of the service that they follow.
const INSTANCES: usize = 10;
/// How long the node rests before its memory is read.
const REST: Duration = Duration::from_secs(2);
/// What the memory of one is held to, in bytes.
const BYTES_MAX: f64 = 1024.0;

/// Measures and prints.
pub fn run(bench: &Bench) -> Result<(), String> {
    let each_has = bench.count(STREAMS, STREAMS_QUICK);
    let [mut memory, mut told] = [(); 2].map(|()| Spread::default());
    for _ in 0..bench.rounds {
        let site = Site::start(&bench.binary, &bench.folder)?;
        let each = round(&site, each_has, &mut told).map_err(|said| site.told(&said))?;
        memory.add(each);
    }
    let count = CONNECTIONS * each_has;
    memory.print_bytes(&format!("memory of an idle subscription, of {count}"), Some(BYTES_MAX));
    told.print_time("until all of them had read of a change", None);
    Ok(())
}

fn round(site: &Site, count: usize, told: &mut Spread) -> Result<f64, String> {
    let mut conn = site.connect()?;
    service::fill(&mut conn, INSTANCES)?;
    let (mut crowd, mut readers) = streams::connect(site, CONNECTIONS, count)?;
    streams::subscribe(&mut crowd, &mut readers, 0..1)?;
    streams::quiet(&mut crowd, &mut readers, 1, REST)?;
    let before = site.resident()?;
    streams::subscribe(&mut crowd, &mut readers, 1..count)?;
    streams::quiet(&mut crowd, &mut readers, count, REST)?;
    let each = (site.resident()? - before) / (CONNECTIONS * (count - 1)) as f64;
    let had: Vec<Vec<u64>> = readers.iter().map(|reader| reader.messages.clone()).collect();
    let begun = Instant::now();
    register(&mut conn, &registration(service::NAME, 0, 1))?;
    let mut left = CONNECTIONS * count;
    while left > 0 {
        streams::turn(&mut crowd, &mut readers)?;
        let told = |(reader, had): (&Reader, &Vec<u64>)| {
            reader.messages.iter().zip(had).filter(|(now, had)| now > had).count()
        };
        left = CONNECTIONS * count - readers.iter().zip(&had).map(told).sum::<usize>();
        if begun.elapsed() > PATIENCE {
            return Err(format!("{left} subscriptions were not told of a change"));
        }
    }
    told.add(begun.elapsed().as_secs_f64());
    Ok(each)
}
