//! What a report costs Redis: its own processor time for each, over one pipelined connection, beside a script that does
//! nothing. `cargo run --release -p milepost-redis --example report_cost [rounds]`
#![recursion_limit = "256"]
#![expect(clippy::print_stdout, reason = "a program that prints figures")]

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use futures_util::FutureExt;
use futures_util::future::join_all;
use milepost_protocol::{Timestamp, Update};
use milepost_redis::{Address, Call, Client, Names, Report, Retention, ServerId, Source};
use milepost_redis_servers::Server;

const JOBS: usize = 1_000;
/// Reports for each job in a round.
const REPORTS: usize = 20;
const DEPTH: usize = 64;

struct Connection {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Connection {
    fn run(&mut self, command: &[u8]) -> io::Result<Vec<u8>> {
        self.stream.write_all(command)?;
        self.answer()
    }

    fn answer(&mut self) -> io::Result<Vec<u8>> {
        let mut line = String::new();
        self.reader.read_line(&mut line)?;
        let number = || line[1..].trim().parse::<i64>().unwrap_or(-1);
        match line.as_bytes().first() {
            Some(b'$') => {
                let mut text = vec![0; usize::try_from(number() + 2).unwrap_or(0)];
                self.reader.read_exact(&mut text)?;
                Ok(text)
            }
            Some(b'*') => {
                let parts: io::Result<Vec<_>> = (0..number()).map(|_| self.answer()).collect();
                Ok(parts?.concat())
            }
            Some(b'-') | None => Err(io::Error::other(line)),
            Some(_) => Ok(line.into_bytes()),
        }
    }

    /// Seconds of the processor that the server has used.
    fn used(&mut self) -> io::Result<f64> {
        let info = self.run(&redis::cmd("INFO").arg("cpu").get_packed_command())?;
        let info = String::from_utf8_lossy(&info);
        let field = |name: &str| {
            let value = info.lines().find_map(|line| line.strip_prefix(name));
            value.and_then(|value| value.trim().parse::<f64>().ok()).unwrap_or_default()
        };
        Ok(field("used_cpu_user:") + field("used_cpu_sys:"))
    }

    /// Microseconds of the server's for each command.
    fn measure(&mut self, commands: &[Vec<u8>]) -> io::Result<f64> {
        let before = self.used()?;
        let mut count = 0.0;
        for commands in commands.chunks(DEPTH) {
            self.stream.write_all(&commands.concat())?;
            for _ in commands {
                self.answer()?;
                count += 1.0;
            }
        }
        Ok((self.used()? - before) / count * 1e6)
    }
}

fn update(job: usize, frame: usize) -> String {
    format!(
        r#"{{"job_id":"job_{job}","stage":"rendering","progress":0.75,"message":"Rendering frame {frame}/2000","timestamp":"2024-01-01T00:00:00Z","metadata":{{"current_frame":{frame},"total_frames":2000}}}}"#
    )
}

fn commands(
    names: Names,
    job_offset: usize,
    server: Option<&ServerId>,
    legacy: bool,
) -> Result<Vec<Vec<u8>>, Box<dyn std::error::Error>> {
    let mut commands = Vec::new();
    for frame in 0..REPORTS {
        for job in 0..JOBS {
            let update = Update::parse(None, update(job_offset + job, frame).as_bytes())?;
            let left = legacy.then_some(Source::Publish(u64::MAX >> 11));
            let server = server.cloned();
            let report = Report { server, ..Report::new(&update, left, Timestamp::from_micros(1)) };
            let call = Call::report(names, &report, &Retention::default());
            commands.push(call.command().get_packed_command());
        }
    }
    Ok(commands)
}

/// What a report has to do at least, without a fold: read what is known of the job, store that and the state, keep a history, and
/// publish. The goal for a report was set where this took 7.7 µs: 12 µs.
const LEAST: &str = "redis.call('GET', KEYS[2]) redis.call('SET', KEYS[1], ARGV[1]) redis.call('SET', KEYS[2], ARGV[2]) \
    redis.call('LPUSH', KEYS[3], ARGV[1]) redis.call('LTRIM', KEYS[3], 0, 31) redis.call('PEXPIRE', KEYS[1], 86400000) \
    redis.call('PUBLISH', ARGV[3], ARGV[1]) return 1";

fn least(hash: &str, job: usize, frame: usize) -> Vec<u8> {
    let state = update(job, frame);
    let mut command = redis::cmd("EVALSHA");
    command.arg(hash).arg(3);
    command.arg(format!("least_status:{job}")).arg(format!("least_meta:{job}"));
    command.arg(format!("least_states:{job}")).arg(&state).arg(&state);
    command.arg(format!("least_progress:{job}"));
    command.get_packed_command()
}

fn least_commands() -> Vec<Vec<u8>> {
    let script = redis::Script::new(LEAST);
    let hash = script.get_hash();
    (0..REPORTS).flat_map(|frame| (0..JOBS).map(move |job| least(hash, job, frame))).collect()
}

/// Microseconds of the server's for each report of a client that remembers its jobs, and how many of them it folds itself.
async fn measure_client(
    it: &mut Connection,
    client: &Client,
) -> Result<(f64, f64), Box<dyn std::error::Error>> {
    let (used, swaps) = (it.used()?, client.swaps());
    let jobs: Vec<_> = (3 * JOBS..4 * JOBS).collect();
    for frame in 0..REPORTS {
        for jobs in jobs.chunks(DEPTH) {
            let reports = jobs.iter().map(|job| {
                async move {
                    let update = Update::parse(None, update(*job, frame).as_bytes())
                        .map_err(|error| error.to_string())?;
                    let reply = client.report(&update, Timestamp::now()).await;
                    reply.map(drop).map_err(|failure| failure.to_string())
                }
                .boxed_local()
            });
            join_all(reports).await.into_iter().collect::<Result<Vec<_>, _>>()?;
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "counts of a benchmark")]
    let [count, swaps] = [(JOBS * REPORTS) as f64, (client.swaps() - swaps) as f64];
    Ok(((it.used()? - used) / count * 1e6, swaps / count))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let rounds = std::env::args().nth(1).map_or(Ok(5), |rounds| rounds.parse::<usize>())?;
    let server = Server::start();
    let client = Client::new(Address::parse(&server.url())?, Retention::default());
    let names = client.names();
    let stream = TcpStream::connect(server.address())?;
    let mut it = Connection { reader: BufReader::new(stream.try_clone()?), stream };

    let update = Update::parse(None, update(0, 0).as_bytes())?;
    for legacy in [None, Some(Source::Publish(0))] {
        let report = Report::new(&update, legacy, Timestamp::from_micros(1));
        it.run(
            &Call::report(names, &report, &Retention::default())
                .script()
                .load()
                .get_packed_command(),
        )?;
    }
    let info = it.run(&redis::cmd("INFO").arg("replication").get_packed_command())?;
    let info = String::from_utf8(info)?;
    let id = info.lines().find_map(|line| line.strip_prefix("master_replid:"));
    let id = ServerId::new(id.ok_or("no replication id")?.trim(), i64::MAX / 2);

    it.run(&redis::cmd("SCRIPT").arg("LOAD").arg(LEAST).get_packed_command())?;
    let nothing = redis::cmd("EVAL").arg("return 1").arg(0).get_packed_command();
    let figures = [
        ("a script that does nothing", vec![nothing; JOBS * REPORTS]),
        ("a script that does what a report has to, without a fold", least_commands()),
        ("a report", commands(names, 0, Some(&id), false)?),
        ("a report, the server asked who it is", commands(names, JOBS, None, false)?),
        ("a legacy publish", commands(names, 2 * JOBS, None, true)?),
    ];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let client = client.remembering(16 << 20);
    let mut by_client = Vec::new();
    let mut measured = vec![Vec::new(); figures.len()];
    // The first round fills the histories.
    for round in 0..=rounds {
        for ((_, commands), measured) in figures.iter().zip(&mut measured) {
            let micros = it.measure(commands)?;
            if round > 0 {
                measured.push(micros);
            }
        }
        let figures = runtime.block_on(measure_client(&mut it, &client))?;
        if round > 0 {
            by_client.push(figures);
        }
    }
    println!("µs of Redis' processor, median of {rounds} rounds of {} each", JOBS * REPORTS);
    for ((name, _), mut measured) in figures.into_iter().zip(measured) {
        measured.sort_by(f64::total_cmp);
        println!("{:6.2}  {name}", measured[measured.len() / 2]);
    }
    by_client.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    let (micros, share) = by_client[by_client.len() / 2];
    println!("{micros:6.2}  a report of a client that folds {:.0} % itself", 100.0 * share);
    Ok(())
}
