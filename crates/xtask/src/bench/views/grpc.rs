//! Subscriptions over gRPC, many on one connection: as much of HTTP/2 (RFC 9113) and its header compression (RFC 7541)
//! as that takes, by hand.

use super::crowd::find;

/// Bytes of a frame's head: length, type, flags, stream.
const HEAD_BYTES: usize = 9;
/// The largest window there is (RFC 9113, 6.9.1): nobody waits for ours.
const WINDOW_MAX: u32 = (1 << 31) - 1;
/// The window of a connection at first.
const WINDOW_FIRST: u32 = 65_535;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// What a client begins with.
pub fn preface() -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let window = [&4_u16.to_be_bytes()[..], &WINDOW_MAX.to_be_bytes()].concat();
    bytes.extend(frame(SETTINGS, 0, 0, &window));
    bytes.extend(frame(WINDOW_UPDATE, 0, 0, &(WINDOW_MAX - WINDOW_FIRST).to_be_bytes()));
    bytes
}

/// The number of the nth stream of a connection, from zero up.
pub fn stream(number: usize) -> u32 {
    u32::try_from(number * 2 + 1).unwrap_or(u32::MAX)
}

/// A text as HPACK writes it: shorter than 127 bytes.
fn text(text: &str) -> Vec<u8> {
    let mut bytes = vec![u8::try_from(text.len()).unwrap_or(0)];
    bytes.extend(text.as_bytes());
    bytes
}

/// Subscribes to the health of a service.
pub fn subscribe(stream: u32, service: &str) -> Vec<u8> {
    let path = text("/subscribe.StateChangeSubscription/Subscribe");
    // POST and http by their places in the static table; names by place where there is one; nothing is to be kept.
    let head = [
        &[0x83, 0x86, 0x04][..],
        &path,
        &[0x01],
        &text("bench"),
        &[0x0f, 0x10],
        &text("application/grpc"),
        &[0x00],
        &text("te"),
        &text("trailers"),
    ];
    // Topic 1, ServiceHealth; field 10, the subject, with its field 1, the key.
    let key = [&[0x0a][..], &text(service)].concat();
    let subject = [&[0x08, 0x01, 0x52, u8::try_from(key.len()).unwrap_or(0)][..], &key].concat();
    let length = u32::try_from(subject.len()).unwrap_or(0).to_be_bytes();
    let message = [&[0][..], &length, &subject].concat();
    let mut bytes = frame(HEADERS, END_HEADERS, stream, &head.concat());
    bytes.extend(frame(DATA, END_STREAM, stream, &message));
    bytes
}

/// What one connection has read.
#[derive(Debug)]
pub struct Reader {
    kept: Vec<u8>,
    /// Messages of each stream, by its place.
    pub messages: Vec<u64>,
    /// The places of streams that were told of a change, with its mark, not yet taken.
    pub told: Vec<(usize, u64)>,
}

impl Reader {
    /// For so many streams.
    pub fn new(streams: usize) -> Reader {
        Reader { kept: Vec::new(), messages: vec![0; streams], told: Vec::new() }
    }

    /// Takes what was read; gives what is to be sent back.
    pub fn take(&mut self, bytes: &[u8]) -> Result<Option<Vec<u8>>, String> {
        self.kept.extend_from_slice(bytes);
        let (mut at, mut answer) = (0, Vec::new());
        while let Some(head) = self.kept.get(at..at + HEAD_BYTES) {
            let &[a, b, c, kind, flags, s0, s1, s2, s3] = head else { break };
            let length = usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap_or(usize::MAX);
            let stream = u32::from_be_bytes([s0, s1, s2, s3]);
            let Some(payload) = self.kept.get(at + HEAD_BYTES..at + HEAD_BYTES + length) else { break };
            match kind {
                DATA if !payload.is_empty() => {
                    let place = usize::try_from(stream / 2).unwrap_or(usize::MAX);
                    *self.messages.get_mut(place).ok_or("a stream that nobody asked for")? += 1;
                    self.told.extend(mark(payload).map(|mark| (place, mark)));
                }
                SETTINGS if flags & ACK == 0 => answer.extend(frame(SETTINGS, ACK, 0, &[])),
                PING if flags & ACK == 0 => answer.extend(frame(PING, ACK, 0, payload)),
                HEADERS if flags & END_STREAM != 0 => return Err(format!("stream {stream} has ended")),
                RST_STREAM | GOAWAY => return Err(format!("frame {kind} of stream {stream}: {payload:?}")),
                _ => {}
            }
            at += HEAD_BYTES + length;
        }
        self.kept.drain(..at);
        Ok((!answer.is_empty()).then_some(answer))
    }
}

/// The mark of a registration in a message: an entry of a map, its key and its value each with a length before it.
fn mark(message: &[u8]) -> Option<u64> {
    const ENTRY: &[u8] = b"\x0a\x04mark\x12\x08";
    let at = find(message, ENTRY)? + ENTRY.len();
    std::str::from_utf8(message.get(at..at + 8)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_by_stream_and_signs_of_life_are_answered() {
        let mut reader = Reader::new(2);
        let all = [frame(SETTINGS, 0, 0, &[]), frame(DATA, 0, 3, b"x"), frame(PING, 0, 0, &[7; 8])].concat();
        let (first, second) = all.split_at(12);
        assert_eq!(reader.take(first).unwrap(), Some(frame(SETTINGS, ACK, 0, &[])));
        assert_eq!(reader.take(second).unwrap(), Some(frame(PING, ACK, 0, &[7; 8])));
        assert_eq!(reader.messages, [0, 1]);
        let change = frame(DATA, 0, 1, b"..\x0a\x04mark\x12\x0800000012..");
        assert_eq!(reader.take(&change).unwrap(), None);
        assert_eq!(reader.told, [(0, 12)]);
        assert!(reader.take(&frame(GOAWAY, 0, 0, &[])).is_err());
    }
}
