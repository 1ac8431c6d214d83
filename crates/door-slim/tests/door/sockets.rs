//! WebSockets.

use door_slim::Options;
use futures_util::{SinkExt, StreamExt};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::support::*;

async fn socket(
    served: &Served,
    path: &str,
) -> Result<tokio_tungstenite::WebSocketStream<tokio::net::TcpStream>, tokio_tungstenite::tungstenite::Error> {
    let stream = tokio::net::TcpStream::connect(served.address).await.unwrap();
    let url = format!("ws://{}{path}", served.address);
    tokio_tungstenite::client_async(url, stream).await.map(|(socket, _)| socket)
}

#[tokio::test]
async fn a_websocket_carries_the_same_messages() {
    let served = serve(Options { require_header_mac: false, ..Options::default() }).await;
    let mut grpc = Client::open(served.address).await;
    grpc.subscribe(any(3)).await;
    let mut socket = socket(&served, "/any/path").await.unwrap();
    socket.send(Message::Binary(negotiation("ws", &[], 2).0.into())).await.unwrap();
    let reply = timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap();
    assert!(matches!(door_slim::codec::read(&reply.into_data()), Ok(door_slim::codec::Message::Negotiate(_))));
    let bare = Client::silent(served.address, None).await;
    for _ in 0..3 {
        let message = bare.published(&Head::to(any(3)), b"by websocket");
        socket.send(Message::Binary(message.0.into())).await.unwrap();
        grpc.gets(b"by websocket").await;
    }
    socket.send(Message::Binary(bare.change(1, &Head::to(any(4)), 1, false).0.into())).await.unwrap();
    let ack = timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap();
    assert!(matches!(door_slim::codec::read(&ack.into_data()), Ok(door_slim::codec::Message::Ack)));
    for _ in 0..3 {
        grpc.publish(&Head::to(any(4)), b"to websocket").await;
    }
    for _ in 0..3 {
        let message = timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap().into_data();
        assert!(message.windows(12).any(|window| window == b"to websocket"));
    }
    socket.send(Message::Text("text".into())).await.unwrap();
    let closed = timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap();
    assert!(matches!(closed, Message::Close(Some(frame)) if u16::from(frame.code) == 1003));
}

#[tokio::test]
async fn a_page_of_another_host_may_not_use_an_open_door() {
    let served = serve(Options::default()).await;
    for (origin, taken) in [(format!("http://{}", served.address), true), (String::from("http://elsewhere"), false)] {
        let stream = tokio::net::TcpStream::connect(served.address).await.unwrap();
        let mut request = format!("ws://{}/", served.address).into_client_request().unwrap();
        request.headers_mut().insert("origin", origin.parse().unwrap());
        assert_eq!(tokio_tungstenite::client_async(request, stream).await.is_ok(), taken, "{origin}");
    }
}

#[tokio::test]
async fn a_websocket_is_taken_at_its_path_alone() {
    let served = serve(Options { path: Some("/slim".into()), ..Options::default() }).await;
    assert!(socket(&served, "/slim").await.is_ok());
    assert!(socket(&served, "/").await.is_err());
}
