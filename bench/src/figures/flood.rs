//! One address floods the server. Watchers of another address watch jobs that are reported all the time.

use super::{Load, Measures, beside, ms, number};
use crate::error::Error;
use crate::flood::{Attempts, Flood, Flooding};
use crate::server::Server;
use crate::update::Clock;

pub(crate) fn measure(server: &Server, load: &Load, clock: Clock) -> Result<Measures, Error> {
    let mut others = beside::Others::start(server, load, clock)?;
    let alone = others.watch()?;
    let mut measures = vec![("p99 ms without", ms(&alone, 0.99))];
    let mut worst = 0.0_f64;
    for flood in Flood::ALL {
        let (p99, attempts) = flooded(server, &mut others, &[flood])?;
        worst = worst.max(p99);
        let rate = number(attempts.made) / load.time.as_secs_f64();
        let (name, tried) = names(flood);
        measures.extend([(name, p99), (tried, rate)]);
        if let Some(refused) = refused_of(flood) {
            measures.push((refused, number(attempts.refused) / number(attempts.made.max(1))));
        }
    }
    let (all, _) = flooded(server, &mut others, &Flood::ALL)?;
    measures.extend([("p99 ms, all at once", all), ("delivered at least", others.least_delivered)]);
    measures.insert(0, ("p99 ms at worst", worst.max(all)));
    Ok(measures)
}

/// The delay that 99 of 100 updates stay below during these floods, and how often they tried.
fn flooded(
    server: &Server,
    others: &mut beside::Others<'_>,
    floods: &[Flood],
) -> Result<(f64, Attempts), Error> {
    let flooding: Vec<_> =
        floods.iter().map(|flood| Flooding::start(server.address.socket, *flood)).collect();
    let latency = others.watch()?;
    let mut all = Attempts::default();
    for one in flooding {
        let attempts = one.finish()?;
        all.made += attempts.made;
        all.refused += attempts.refused;
    }
    if all.made == all.refused {
        return Err(Error::Server("the server refused all of a flood from the start".into()));
    }
    Ok((ms(&latency, 0.99), all))
}

fn names(flood: Flood) -> (&'static str, &'static str) {
    match flood {
        Flood::Connects => ("p99 ms, connects", "connects/s"),
        Flood::Handshakes => ("p99 ms, handshakes", "handshakes/s"),
        Flood::Reports => ("p99 ms, reports", "reports/s"),
        Flood::UnknownJobs => ("p99 ms, unknown jobs", "reads/s"),
        Flood::Subscriptions => ("p99 ms, subscriptions", "subscriptions/s"),
    }
}

/// The share of refused attempts, where there is a limit to refuse them.
fn refused_of(flood: Flood) -> Option<&'static str> {
    match flood {
        Flood::Connects | Flood::UnknownJobs => None,
        Flood::Handshakes => Some("handshakes refused"),
        Flood::Reports => Some("reports refused"),
        Flood::Subscriptions => Some("subscriptions refused"),
    }
}
