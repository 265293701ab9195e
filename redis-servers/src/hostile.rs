//! What no worker writes: bytes and types at random, under one job's keys and on its channel.

/// A command of Redis, encoded, that writes or publishes something at random under one of the job's names.
pub fn hostile_command(job: &str) -> Vec<u8> {
    let keys = ["job_status:", "job_meta:", "job_open_children:"];
    let key = format!("{}{job}", keys[fastrand::usize(..keys.len())]).into_bytes();
    let channel = format!("job_progress:{job}").into_bytes();
    let value = value(job);
    match fastrand::u8(..10) {
        0 | 1 => encode(&[b"DEL".to_vec(), key]),
        2 => encode(&[b"SETEX".to_vec(), key, b"3600".to_vec(), value]),
        3 | 4 => encode(&[b"HSET".to_vec(), key, field(), value]),
        5 => encode(&[b"RPUSH".to_vec(), key, value]),
        6 => encode(&[b"ZADD".to_vec(), key, b"1".to_vec(), value]),
        _ => encode(&[b"PUBLISH".to_vec(), channel, value]),
    }
}

/// A field of the hash that scripts keep, or another one.
fn field() -> Vec<u8> {
    let fields = ["meta", "0", "1", "timeline", "log", "l1", "totals", "cchild", "x"];
    fields[fastrand::usize(..fields.len())].into()
}

/// What a state or an update might be taken for, or not at all.
fn value(job: &str) -> Vec<u8> {
    let forged = |job: &str, position: &str| {
        format!(r#"{{"job_id":"{job}","status":"completed","attempt":1,"position":"{position}"}}"#)
    };
    match fastrand::u8(..9) {
        0 => (0..fastrand::usize(..200)).map(|_| fastrand::u8(..)).collect(),
        1 => b"\x80\x04\x95\x10\x00\x00\x00".to_vec(),
        2 => [b"[".repeat(100_000), b"]".repeat(100_000)].concat(),
        3 => vec![b'x'; 300_000],
        4 => forged(job, "1-1").into_bytes(),
        5 => forged("another", "ffffffffffffffff-18446744073709551615").into_bytes(),
        6 => br#"{"status":"running","progress":"50","timestamp":1}"#.to_vec(),
        7 => format!(r#"{{"job_id":"{job}","status":"processing","progress":NaN}}"#).into_bytes(),
        _ => br#"{"message":"\ud800","status":"processing"}"#.to_vec(),
    }
}

fn encode(words: &[Vec<u8>]) -> Vec<u8> {
    let mut command = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        command.extend(format!("${}\r\n", word.len()).into_bytes());
        command.extend(word);
        command.extend(b"\r\n");
    }
    command
}
