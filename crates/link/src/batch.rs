//! A batch as it is received: unpacked, decoded, judged fact by fact, and answered in order.

use bytes::Bytes;
use event::Fact;
use federation::intake::{Binding, Reject};
use hyper::header::{CONTENT_ENCODING, HeaderMap};

use crate::limits::{ANSWER_ID_CHARS_MAX, BATCH_DECODED_BYTES_MAX, BATCH_FACTS_MAX, BODY_BYTES_MAX};
use crate::receive::{Intake, Noted, Taken, bound, decode as decode_fact};
use crate::wire::{self, Outcome, Results};

/// A batch that was answered.
pub(crate) struct Judged {
    pub results: Results,
    /// Every fact of it was taken.
    pub all: bool,
}

/// Whether a batch is compressed.
pub(crate) fn is_packed(headers: &HeaderMap) -> Result<bool, Reject> {
    match headers.get(CONTENT_ENCODING).map(hyper::header::HeaderValue::as_bytes) {
        None | Some(b"" | b"identity") => Ok(false),
        Some(b"zstd") => Ok(true),
        Some(_) => Err(Reject::BadBody),
    }
}

/// The bytes that a compressed batch says it has.
pub(crate) fn unpacked_bytes(body: &[u8]) -> Result<usize, Reject> {
    let said = zstd::zstd_safe::get_frame_content_size(body).map_err(|_| Reject::BadBody)?;
    match said.map_or(Ok(BATCH_DECODED_BYTES_MAX), usize::try_from) {
        Ok(bytes) if bytes <= BATCH_DECODED_BYTES_MAX => Ok(bytes),
        _ => Err(Reject::TooLarge),
    }
}

/// The facts of a batch, each decoded or refused.
pub(crate) fn decode(body: &Bytes, packed: bool) -> Result<Vec<Result<Fact, Reject>>, Reject> {
    let body = match packed {
        true => wire::unpack(body, unpacked_bytes(body)?).ok_or(Reject::BadBody)?,
        false => body.clone(),
    };
    let mut facts = Vec::new();
    for line in wire::lines(&body) {
        if facts.len() == BATCH_FACTS_MAX {
            return Err(Reject::TooLarge);
        }
        facts.push(if line.len() > BODY_BYTES_MAX { Err(Reject::TooLarge) } else { decode_fact(line) });
    }
    Ok(facts)
}

/// Hands facts to the intake, those of one key together, and gathers the answers.
pub(crate) async fn take(
    intake: &dyn Intake,
    bindings: &[Binding],
    facts: Vec<Result<Fact, Reject>>,
    replayed: bool,
) -> Judged {
    let mut results: Vec<Outcome> = Vec::with_capacity(facts.len());
    let mut of_key: Vec<(Vec<usize>, Vec<Fact>)> = bindings.iter().map(|_| Default::default()).collect();
    for fact in facts {
        let fact = match fact {
            Ok(fact) => fact,
            Err(reject) => {
                intake.note(Noted { via: bindings.first(), fact: None, reject: Some(&reject) });
                results.push(outcome(String::new(), &Err(reject)));
                continue;
            }
        };
        let id = fact.id.chars().take(ANSWER_ID_CHARS_MAX).collect();
        let answer = match bound(intake, bindings, &fact) {
            Err(reject) => {
                intake.note(Noted { via: bindings.first(), fact: Some(&fact), reject: Some(&reject) });
                Err(reject)
            }
            Ok(key) if replayed => {
                intake.note(Noted { via: bindings.get(key), fact: Some(&fact), reject: None });
                Ok(Taken { duplicate: true })
            }
            Ok(key) => {
                if let Some((places, facts)) = of_key.get_mut(key) {
                    places.push(results.len());
                    facts.push(fact);
                }
                // Until the intake has answered.
                Err(Reject::StoreError)
            }
        };
        results.push(outcome(id, &answer));
    }
    for (binding, (places, facts)) in bindings.iter().zip(of_key).filter(|(_, (places, _))| !places.is_empty()) {
        let answers = intake.take(binding, facts).await;
        for (place, answer) in places.into_iter().zip(answers) {
            if let Some(result) = results.get_mut(place) {
                *result = outcome(std::mem::take(&mut result.id), &answer);
            }
        }
    }
    let all = results.iter().all(|result| result.accepted == Some(true));
    Judged { results: Results { results }, all }
}

fn outcome(id: String, answer: &Result<Taken, Reject>) -> Outcome {
    match answer {
        Ok(taken) => Outcome { id, accepted: Some(true), duplicate: Some(taken.duplicate), error: None, status: None },
        Err(reject) => Outcome {
            id,
            accepted: None,
            duplicate: None,
            error: Some(reject.body().trim_end().to_owned()),
            status: Some(reject.status()),
        },
    }
}
