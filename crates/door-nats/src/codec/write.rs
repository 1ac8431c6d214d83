//! What a server sends, as bytes.

use door::Parcel;

use super::block::HEAD;

/// Appends a number in decimal.
pub fn push_number(out: &mut Vec<u8>, number: usize) {
    let mut digits = [0_u8; 20];
    let (mut rest, mut start) = (number, digits.len());
    loop {
        start -= 1;
        if let Some(digit) = digits.get_mut(start) {
            // A digit is less than ten.
            *digit = b'0' + u8::try_from(rest % 10).unwrap_or_default();
        }
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(start..).unwrap_or_default());
}

/// Bytes of a parcel's header block as it travels; 0: it has none.
pub fn header_bytes(parcel: &Parcel<'_>) -> usize {
    if parcel.headers.is_empty() && parcel.status.is_empty() {
        return 0;
    }
    let status = if parcel.status.is_empty() { 0 } else { 1 + parcel.status.len() };
    HEAD.len() + status + 2 + parcel.headers.len() + 2
}

/// Appends a parcel as `MSG`, or as `HMSG` where it has headers or a status and the client takes
/// them (`headed`).
pub fn push_message(out: &mut Vec<u8>, parcel: &Parcel<'_>, sid: &[u8], headed: bool) {
    let headers = if headed { header_bytes(parcel) } else { 0 };
    // Verb, spaces, two numbers and line ends take less than 64 bytes.
    out.reserve(64 + parcel.subject.len() + sid.len() + parcel.reply.len() + headers + parcel.payload.len());
    out.extend_from_slice(if headers > 0 { b"HMSG " } else { b"MSG " });
    out.extend_from_slice(parcel.subject.as_bytes());
    out.push(b' ');
    out.extend_from_slice(sid);
    out.push(b' ');
    if !parcel.reply.is_empty() {
        out.extend_from_slice(parcel.reply.as_bytes());
        out.push(b' ');
    }
    if headers > 0 {
        push_number(out, headers);
        out.push(b' ');
    }
    push_number(out, headers + parcel.payload.len());
    out.extend_from_slice(b"\r\n");
    if headers > 0 {
        out.extend_from_slice(HEAD);
        if !parcel.status.is_empty() {
            out.push(b' ');
            out.extend_from_slice(parcel.status.as_bytes());
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(parcel.headers);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(parcel.payload);
    out.extend_from_slice(b"\r\n");
}

/// An error line.
pub fn error_line(text: &str) -> Vec<u8> {
    format!("-ERR '{text}'\r\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(parcel: &Parcel<'_>, headed: bool, expected: &str) {
        let mut out = Vec::new();
        push_message(&mut out, parcel, b"7", headed);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn the_forms_of_a_message() {
        let plain = Parcel::new("a", b"hi");
        check(&plain, true, "MSG a 7 2\r\nhi\r\n");
        check(&Parcel { reply: "r", ..plain }, true, "MSG a 7 r 2\r\nhi\r\n");
        let headed = Parcel { headers: b"A: 1\r\n", ..plain };
        check(&headed, true, "HMSG a 7 18 20\r\nNATS/1.0\r\nA: 1\r\n\r\nhi\r\n");
        check(&headed, false, "MSG a 7 2\r\nhi\r\n");
        let status = Parcel { status: "503", payload: b"", ..plain };
        check(&status, true, "HMSG a 7 16 16\r\nNATS/1.0 503\r\n\r\n\r\n");
    }

    #[test]
    fn numbers() {
        for number in [0, 7, 10, 1_048_576, usize::MAX] {
            let mut out = Vec::new();
            push_number(&mut out, number);
            assert_eq!(out, number.to_string().as_bytes());
        }
    }
}
