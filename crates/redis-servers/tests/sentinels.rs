//! A primary under three Sentinels.

use milepost_redis_servers::{Data, Options, Reply, Sentinels};

/// None while it does not say: Sentinels cut connections to a server whose role they change.
fn role(sentinels: &Sentinels, server: usize) -> Option<String> {
    let role = sentinels.servers[server].command(&["ROLE"]).ok()?;
    Some(role.items()[0].text().expect("a role is text"))
}

#[test]
fn a_replica_takes_over_and_the_old_primary_comes_back_as_its_replica() {
    let options = Options { password: Some("secret".into()), ..Options::default() };
    let mut sentinels = Sentinels::with(1, &options);
    assert_eq!(sentinels.primary(), 0);
    assert_eq!((sentinels.addresses().len(), sentinels.name()), (3, "milepost"));
    sentinels.servers[0].answer(&["SET", "a", "1"]);
    sentinels.servers[0].answer(&["WAIT", "1", "5000"]);
    assert!(sentinels.servers[1].command(&["SET", "a", "2"]).is_err(), "a replica takes a write");

    assert_eq!(sentinels.fail_over(), (0, 1));
    assert_eq!(sentinels.servers[1].answer(&["GET", "a"]), Reply::Text("1".into()));
    sentinels.servers[1].answer(&["SET", "a", "2"]);

    // It comes back as a primary, without data, until the Sentinels tell it.
    sentinels.servers[0].restart(Data::Lost);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while role(&sentinels, 0).as_deref() != Some("slave") {
        assert!(std::time::Instant::now() < deadline, "it stays a primary");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert_eq!(sentinels.primary(), 1);
}
