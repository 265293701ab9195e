//! A server that accepts no writes: its connection is replaced, and the next one may lead to a server that has lost states.
#![recursion_limit = "256"]

use std::net::SocketAddr;

use milepost_protocol::{JobId, Timestamp, Update};
use milepost_redis::{Accepted, Address, Client, Reply, Retention};
use milepost_redis_servers::Server;
use tokio::net::{TcpListener, TcpStream};

/// Forwards connections to a server. Before the second one, it promotes the server, as if the connection led to another one.
async fn forward(listener: TcpListener, server: &Server, address: SocketAddr) {
    for number in 0.. {
        let (mut client, _) = listener.accept().await.expect("a connection");
        if number == 1 {
            server.answer(&["REPLICAOF", "NO", "ONE"]);
        }
        let mut redis = TcpStream::connect(address).await.expect("a server");
        tokio::spawn(async move { tokio::io::copy_bidirectional(&mut client, &mut redis).await });
    }
}

#[tokio::test]
async fn a_report_that_finds_another_server_begins_a_new_epoch() {
    let server = Server::start();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let redis = server.address();
    let client = Client::new(
        Address::parse(&format!("redis://127.0.0.1:{port}")).expect("an address"),
        Retention::default(),
    );
    let job = JobId::parse("a").expect("a job id");
    let epoch = async |json: &str| {
        let update = Update::parse(Some(&job), json.as_bytes()).expect("an update");
        match client.report(&update, Timestamp::now()).await.expect("an answer") {
            Reply::Accepted(Accepted { state, .. }) => state.position().epoch,
            reply => panic!("{reply:?}"),
        }
    };
    let test = async {
        let before = epoch("{}").await;
        assert_eq!(epoch(r#"{"stage":"a"}"#).await, before);
        // The server's identity is known, and now it accepts no writes.
        server.answer(&["REPLICAOF", "127.0.0.1", "1"]);
        assert_ne!(epoch(r#"{"stage":"b"}"#).await, before);
    };
    tokio::select! {
        () = test => {}
        () = forward(listener, &server, redis) => {}
    }
}
