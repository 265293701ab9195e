//! A primary under three Sentinels.

use std::thread::sleep;
use std::time::{Duration, Instant};

use milepost_redis_servers::{Data, Error, Options, Reply, Sentinels};

/// The role that the server reports. An error while it reports none: Sentinels cut connections to a server whose role they change.
fn role(sentinels: &Sentinels, server: usize) -> Result<String, Error> {
    let role = sentinels.servers[server].command(&["ROLE"])?;
    Ok(role.items()[0].text().expect("a role is text"))
}

#[test]
fn a_replica_takes_over_and_in_the_end_there_is_one_primary() {
    let options = Options { password: Some("secret".into()), ..Options::default() };
    let mut sentinels = Sentinels::with(1, &options);
    assert_eq!(sentinels.primary(), 0);
    assert_eq!((sentinels.addresses().len(), sentinels.name()), (3, "milepost"));
    sentinels.servers[0].answer(&["SET", "a", "1"]);
    let deadline = Instant::now() + Duration::from_secs(30);
    while sentinels.servers[1].command(&["DBSIZE"]).is_ok_and(|keys| keys.integer() != Some(1)) {
        assert!(Instant::now() < deadline, "the replica does not have it");
        sleep(Duration::from_millis(20));
    }
    assert!(sentinels.servers[1].command(&["SET", "a", "2"]).is_err(), "a replica takes a write");

    assert_eq!(sentinels.fail_over(), (0, 1));
    assert_eq!(sentinels.servers[1].answer(&["GET", "a"]), Reply::Text("1".into()));
    sentinels.servers[1].answer(&["SET", "a", "2"]);

    // It comes back as a primary without data, until the Sentinels make it a replica. If one Sentinel did not notice the first
    // failover and starts another one, they may also keep it as the primary.
    sentinels.servers[0].restart(Data::Lost);
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let now = [role(&sentinels, 0), role(&sentinels, 1)];
        let is = |wanted: &str| now.iter().flatten().any(|role| role == wanted);
        if is("master") && is("slave") {
            break;
        }
        assert!(Instant::now() < deadline, "{now:?}\n{}", sentinels.sentinels[0].log());
        sleep(Duration::from_millis(50));
    }
    let primary = sentinels.primary();
    assert_eq!(role(&sentinels, primary).as_deref().ok(), Some("master"));
}
