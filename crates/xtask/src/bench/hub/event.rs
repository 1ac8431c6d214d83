//! The events of the load: v2 events of one size, with a number and a time in places of their own.

use std::time::Duration;

use super::frames;

/// Bytes of a body.
pub const BODY_BYTES: usize = 1024;
/// Digits of a number, and of a time in nanoseconds.
const DIGITS: usize = 16;
/// What stands behind the digits.
const TAIL: usize = "\"}".len();

/// A client's frame with an event, whose number and time are written anew each time.
#[derive(Debug, Clone)]
pub struct Event {
    frame: Vec<u8>,
}

impl Event {
    /// An event in a room.
    pub fn new(room: &str) -> Event {
        let before = format!(
            "{{\"generating-system\":\"{room}-CP1\",\"timestamp\":\"2026-11-21T12:00:00.123456789-07:00\",\
             \"event-tags\":[\"core-state\",\"auto-generated\"],\
             \"target-device\":{{\"buildingID\":\"ITB\",\"roomID\":\"{room}\",\"deviceID\":\"{room}-D1\"}},\
             \"affected-room\":{{\"buildingID\":\"ITB\",\"roomID\":\"{room}\"}},\"key\":\"power\",\"value\":\"on\",\
             \"user\":\""
        );
        let zeros = "0".repeat(DIGITS);
        let behind = format!("\",\"data\":\"{zeros}-{zeros}\"}}");
        let filling = "u".repeat(BODY_BYTES.saturating_sub(before.len() + behind.len()));
        Event { frame: frames::frame(frames::BINARY, format!("{room}\n{before}{filling}{behind}").as_bytes()) }
    }

    /// Writes a number and a time.
    pub fn stamped(&mut self, number: u64, time: Duration) -> &[u8] {
        let end = self.frame.len() - TAIL;
        write_digits(&mut self.frame[end - DIGITS..end], nanos(time));
        write_digits(&mut self.frame[end - 2 * DIGITS - 1..end - DIGITS - 1], number);
        &self.frame
    }
}

/// The number and the time of an event that came.
pub fn read(payload: &[u8]) -> Result<(u64, Duration), String> {
    let strange = || format!("no event of this load: {}", String::from_utf8_lossy(payload));
    let end = payload.len().checked_sub(TAIL).ok_or_else(strange)?;
    let at = end.checked_sub(2 * DIGITS + 1).ok_or_else(strange)?;
    let number = digits(&payload[at..at + DIGITS]).ok_or_else(strange)?;
    let time = digits(&payload[end - DIGITS..end]).ok_or_else(strange)?;
    Ok((number, Duration::from_nanos(time)))
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn write_digits(places: &mut [u8], number: u64) {
    let mut rest = number;
    for place in places.iter_mut().rev() {
        *place = b'0' + u8::try_from(rest % 10).unwrap_or_default();
        rest /= 10;
    }
}

fn digits(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_and_a_time_are_read_as_they_were_written() {
        let mut event = Event::new("ITB-0042");
        let frame = event.stamped(71, Duration::from_nanos(123_456_789_012)).to_vec();
        assert_eq!(read(&frame), Ok((71, Duration::from_nanos(123_456_789_012))));
        let body = &frame[8 + "ITB-0042\n".len()..];
        assert_eq!(body.len(), BODY_BYTES);
        let parsed: serde_json::Value = serde_json::from_slice(body).unwrap();
        assert_eq!(parsed["data"], "0000000000000071-0000123456789012");
        assert!(read(b"{}").is_err());
    }
}
