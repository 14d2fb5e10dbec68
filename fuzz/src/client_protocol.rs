//! A conversation over the client port: what a client says, and what a node answers, each through the limits of its side.

use super::{certificate, request};
use throng::types::Rules;
use throng::types::params::{SEATS_MAX, VERSION};
use throng::wire::client::{CLIENT_FRAME_BYTES_MAX, REFUSALS_MAX, Reply, Request};
use throng::wire::{CERTIFICATE_BYTES_MAX, Frame, FrameReader, frame_header};

/// The most bytes before the hello, as a node reads them.
const HELLO_BYTES_MAX: usize = 16;
/// The most bytes of an answer, as a client reads them.
const REPLY_BYTES_MAX: usize = CERTIFICATE_BYTES_MAX + (64 << 10);

/// The first byte says who speaks (odd: the node) and how the rest is cut.
pub fn client_protocol(bytes: &[u8]) -> bool {
    let Some((&first, stream)) = bytes.split_first() else { return false };
    let piece = usize::from(first >> 1).max(1);
    if first & 1 == 0 { node_hears(stream, piece) } else { client_hears(stream, piece) }
}

/// A node takes a hello first, and once; then anything else that decodes.
fn node_hears(stream: &[u8], piece: usize) -> bool {
    let (mut reader, mut welcomed, mut taken) = (FrameReader::new(HELLO_BYTES_MAX), false, false);
    for bytes in stream.chunks(piece) {
        reader.push(bytes);
        loop {
            let frame = match reader.next() {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(_) => return taken,
            };
            let most = if welcomed { CLIENT_FRAME_BYTES_MAX } else { HELLO_BYTES_MAX };
            assert!(frame.payload.len() <= most);
            let Ok(said) = Request::decode(frame.clone()) else { return taken };
            if welcomed == (said == Request::Hello) {
                return taken;
            }
            request(&said, &frame);
            if said == Request::Hello {
                assert_eq!(&frame.payload[..], [VERSION]);
                reader.set_payload_bytes_max(CLIENT_FRAME_BYTES_MAX);
            }
            // The whole frame, as a client writes it, decodes to the same again.
            let whole = said.frame();
            assert_eq!(whole[..5], frame_header(frame.kind, frame.payload.len()));
            if let Request::Submit { rows, .. } = &said {
                // Whatever rows come, their form has a verdict.
                let _ = rows.rows().check(&Rules::default(), 100);
            }
            (welcomed, taken) = (true, true);
        }
    }
    taken
}

fn client_hears(stream: &[u8], piece: usize) -> bool {
    let (mut reader, mut taken) = (FrameReader::new(REPLY_BYTES_MAX), false);
    for bytes in stream.chunks(piece) {
        reader.push(bytes);
        loop {
            let frame = match reader.next() {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(_) => return taken,
            };
            let Ok(said) = Reply::decode(&frame) else { return taken };
            let (kind, payload) = said.encode();
            assert_eq!((kind, &payload[..]), (frame.kind, &frame.payload[..]));
            assert_eq!(Reply::decode(&Frame { kind, payload: payload.into() }), Ok(said.clone()));
            match said {
                Reply::Welcome { seat, .. } => {
                    assert!(seat.taken().is_none_or(|seat| seat.index() < SEATS_MAX));
                }
                Reply::Submitted { refused, .. } => {
                    assert!(
                        refused.len() <= REFUSALS_MAX && refused.is_sorted_by(|one, next| one.0 < next.0)
                    );
                }
                Reply::Certificate(_, Some(found)) => certificate(&found),
                _ => {}
            }
            taken = true;
        }
    }
    taken
}
