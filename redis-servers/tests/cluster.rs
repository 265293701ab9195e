//! A Cluster of three primaries.

use std::thread::sleep;
use std::time::{Duration, Instant};

use milepost_redis_servers::{Cluster, Data, Error, Options, Reply};

#[test]
fn a_slot_moves_with_its_keys() {
    let options = Options { password: Some("secret".into()), ..Options::default() };
    let cluster = Cluster::with(0, &options);
    assert_eq!(cluster.addresses().len(), 3);
    let slot = cluster.slot("job_status:{a}");
    assert_eq!(slot, cluster.slot("{a}"));
    let from = cluster.owner(slot);
    let to = (from + 1) % 3;
    for key in 0..250 {
        let key = format!("{{a}}{key}");
        cluster.nodes[from].answer(&["SET", &key, "1"]);
    }
    cluster.migrate(slot, to);
    assert_eq!(cluster.owner(slot), to);
    assert_eq!(cluster.nodes[to].answer(&["GET", "{a}249"]), Reply::Text("1".into()));
    let counted = cluster.nodes[to].answer(&["CLUSTER", "COUNTKEYSINSLOT", &slot.to_string()]);
    assert_eq!(counted, Reply::Integer(250));
    match cluster.nodes[from].command(&["GET", "{a}1"]) {
        Err(Error::Refused(words)) => assert!(words.starts_with("MOVED "), "{words}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_replica_takes_over() {
    let mut cluster = Cluster::start(1);
    assert_eq!(cluster.nodes.len(), 6);
    let slot = cluster.slot("a");
    let before = cluster.owner(slot);
    cluster.nodes[before].answer(&["SET", "a", "1"]);
    let deadline = Instant::now() + Duration::from_secs(30);
    while cluster.nodes[before + 3].command(&["DBSIZE"]).is_ok_and(|keys| keys.integer() != Some(1))
    {
        assert!(Instant::now() < deadline, "the replica does not have it");
        sleep(Duration::from_millis(20));
    }
    let (from, to) = cluster.fail_over(slot);
    assert_eq!((from, to), (before, before + 3));
    assert_eq!(cluster.nodes[to].answer(&["GET", "a"]), Reply::Text("1".into()));
    cluster.nodes[from].restart(Data::Kept);
    cluster.settled();
    assert_eq!(cluster.owner(slot), to);
}
