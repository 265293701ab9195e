//! What Redis answers and what is published there: any bytes are read or refused, and what is read is sound.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use milepost_protocol::{JobId, State};
use milepost_redis::{Address, Answer, Published, Read, Reply, Secret};
use redis_protocol::codec::Resp3;
use redis_protocol::resp3::types::BytesFrame;
use tokio_util::codec::Decoder;

fuzz_target!(|bytes: &[u8]| {
    let job = JobId::parse("j1").expect("a job id");
    // As the scripts' answers: parts of any bytes.
    read(bytes.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect(), &job);
    // As frames, with the same codec that the subscriber has.
    let (mut codec, mut received) = (Resp3::default(), BytesMut::from(bytes));
    while let Ok(Some(frame)) = codec.decode(&mut received) {
        if let BytesFrame::Array { data, .. } | BytesFrame::Push { data, .. } = frame {
            read(data.into_iter().filter_map(bytes_of).collect(), &job);
        }
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        if let Some(published) = Published::parse(text) {
            check(&published.state);
            assert!(!published.is_proven(&Secret::new("a secret that nobody knows")));
        }
        if let Ok(address) = Address::parse(text) {
            let _ = (address.to_string(), address.is_cluster());
        }
    }
});

fn read(parts: Vec<Vec<u8>>, job: &JobId) {
    for named in [None, Some(1)] {
        if let Ok(Reply::Accepted(taken)) = Reply::parse(Answer(parts.clone()), named) {
            let _ = format!("{taken:?}");
        }
    }
    if let Ok(read) = Read::parse(Answer(parts), job) {
        let _ = format!("{read:?}");
    }
}

fn check(state: &State) {
    assert_eq!(State::parse(state.json()).as_ref(), Ok(state), "{}", state.json());
}

fn bytes_of(frame: BytesFrame) -> Option<Vec<u8>> {
    match frame {
        BytesFrame::BlobString { data, .. } | BytesFrame::SimpleString { data, .. } => {
            Some(data.into())
        }
        BytesFrame::Number { data, .. } => Some(data.to_string().into_bytes()),
        _ => None,
    }
}
