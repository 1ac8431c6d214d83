//! Prints the events of rooms: `cargo run -p client --example messenger -- ws://localhost:7100 ITB-1101 ITB-1108`.
//! Without rooms: of all.

use client::{Messenger, Options};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let address = words.next().ok_or("usage: messenger ADDRESS [ROOM...]")?;
    let rooms: Vec<String> = words.collect();
    let options = Options { keep_trying: true, ..Options::default() };
    let messenger = Messenger::connect(&address, options).await?;
    messenger.subscribe(if rooms.is_empty() { vec!["*".to_owned()] } else { rooms })?;
    eprintln!("{:?}", messenger.state());
    loop {
        tokio::select! {
            event = messenger.receive() => match event {
                Some(event) => println!("{}: {}", event.room, String::from_utf8_lossy(&event.trimmed())),
                None => return Ok(()),
            },
            stopped = tokio::signal::ctrl_c() => {
                stopped?;
                messenger.close().await;
                eprintln!("{:?}", messenger.counts());
                return Ok(());
            }
        }
    }
}
