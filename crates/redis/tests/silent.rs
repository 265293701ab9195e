//! How many workers are silent, if there are too many to look at all.
#![recursion_limit = "256"]

use milepost_protocol::{JobId, Timestamp, Update};
use milepost_redis::{Address, Client, Retention};
use milepost_redis_servers::{Reply, Server};

#[tokio::test]
async fn a_sample_of_many_workers_is_random() {
    let server = Server::start();
    let client = Client::new(Address::parse(&server.url()).expect("a URL"), Retention::default());
    let job = JobId::parse("a").expect("a job id");
    let update = Update::parse(Some(&job), br#"{"heartbeat":10}"#).expect("an update");
    let now = Timestamp::from_micros(1_700_000_000_000_000);
    client.report(&update, now).await.expect("an answer");
    // 600 workers are silent, and their jobs are due next; 900 were heard just now.
    let copy = "local meta = {cmsgpack.unpack(redis.call('HGET', 'job_meta:a', 'meta'))} \
                local seen = meta[25] \
                redis.call('DEL', '{milepost}:clocks') \
                for n = 1, 1500 do \
                  meta[25] = n <= 600 and seen - 25000 or seen + 60000 \
                  redis.call('HSET', 'job_meta:j' .. n, 'meta', cmsgpack.pack(unpack(meta, 1, 34))) \
                  redis.call('ZADD', '{milepost}:clocks', meta[25] + 30000, 'j' .. n) \
                end \
                return 1";
    assert_eq!(server.answer(&["EVAL", copy, "0"]), Reply::Integer(1));
    let (known, silent) = client.silent(0).await.expect("an answer");
    assert_eq!(known, 1_024);
    // 410 on average; one sample in 10^9 is beyond these bounds.
    assert!((340..480).contains(&silent), "{silent}");
}
