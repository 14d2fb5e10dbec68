//! Every format: round trips, canonical form, truncation and mutation of samples, limits, golden vectors.

mod canonical;
mod evidence;
mod limits;
mod table;
mod values;

use super::client::{CLIENT_FRAME_BYTES_MAX, Reply, Request};
use super::*;
use crate::crypto::{PreparedKey, SigningKey, public_key, signing_key_from_seed, verify};
use crate::types::ChainId;
use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use values::{batch, block, certificate, genesis, message, record, reply, request, vertex};

const CHAIN: ChainId = ChainId([7; 32]);

fn signer() -> SigningKey {
    signing_key_from_seed([1; 32])
}

fn frame(kind: u8, payload: impl Into<Bytes>) -> Frame {
    Frame { kind, payload: payload.into() }
}

proptest! {
    #[test]
    fn a_genesis_decodes_to_itself(genesis in genesis()) {
        prop_assert_eq!(decode_genesis(&encode_genesis(&genesis)), Ok(genesis));
    }

    #[test]
    fn a_block_decodes_to_itself(block in block()) {
        prop_assert_eq!(decode_block(&encode_block(&block)), Ok(block));
    }

    #[test]
    fn a_vertex_decodes_to_itself_and_its_signature_holds(vertex in vertex()) {
        let signed = sign_vertex(&signer(), &CHAIN, vertex);
        let decoded = SignedVertex::decode(signed.bytes.clone());
        prop_assert_eq!(decoded.as_ref(), Ok(&signed));
        let key = PreparedKey::new(&public_key(&signer())).expect("a real key");
        prop_assert!(verify(&key, &signed.digest(&CHAIN), &signed.signature));
        prop_assert_ne!(signed.digest(&CHAIN), signed.digest(&ChainId([8; 32])));
    }

    #[test]
    fn a_batch_decodes_to_itself_and_its_signature_holds(batch in batch()) {
        let decoded = Batch::decode(batch.bytes().clone());
        prop_assert_eq!(decoded.as_ref(), Ok(&batch));
        prop_assert!(batch.roots_match());
        let key = PreparedKey::new(&public_key(&signer())).expect("a real key");
        prop_assert!(verify(&key, &batch.digest(&CHAIN), &batch.header.signature));
    }

    #[test]
    fn a_message_decodes_to_itself(message in message()) {
        prop_assert!(message.payload().len() <= PEER_FRAME_BYTES_MAX);
        prop_assert_eq!(Message::decode(frame(message.kind(), message.payload())), Ok(message));
    }

    #[test]
    fn a_record_decodes_to_itself(record in record()) {
        prop_assert_eq!(decode_record(&encode_record(&record)), Ok(record));
    }

    #[test]
    fn a_certificate_decodes_to_itself(certificate in certificate()) {
        let bytes = encode_certificate(&certificate);
        prop_assert!(bytes.len() <= CERTIFICATE_BYTES_MAX);
        prop_assert_eq!(decode_certificate(&bytes), Ok(certificate));
    }

    #[test]
    fn a_request_decodes_to_itself(request in request()) {
        let (kind, payload) = request.encode();
        prop_assert!(payload.len() <= CLIENT_FRAME_BYTES_MAX);
        prop_assert_eq!(request.frame(), [&frame_header(kind, payload.len())[..], &payload].concat());
        prop_assert_eq!(Request::decode(frame(kind, payload)), Ok(request));
    }

    #[test]
    fn a_reply_decodes_to_itself(reply in reply()) {
        let (kind, payload) = reply.encode();
        prop_assert!(payload.len() <= CLIENT_FRAME_BYTES_MAX);
        prop_assert_eq!(Reply::decode(&frame(kind, payload)), Ok(reply));
    }

    #[test]
    fn frames_come_out_as_they_went_in_however_the_stream_is_cut(
        frames in vec((any::<u8>(), vec(any::<u8>(), 0..40)), 0..8),
        cuts in vec(1..30usize, 1..40),
    ) {
        let sent: Vec<u8> =
            frames.iter().flat_map(|(kind, payload)| [&frame_header(*kind, payload.len())[..], payload].concat()).collect();
        let (mut taker, mut taken) = (FrameReader::new(40), Vec::new());
        let (mut reader, mut rest, mut came) = (FrameReader::new(40), &sent[..], Vec::new());
        for cut in cuts.iter().cycle() {
            let (head, tail) = rest.split_at(rest.len().min(*cut));
            reader.push(head);
            while let Some(frame) = reader.next().expect("within the limit") {
                came.push((frame.kind, frame.payload.to_vec()));
            }
            let mut bytes = head;
            while let Some(frame) = taker.read(&mut bytes).expect("within the limit") {
                taken.push((frame.kind, frame.payload.to_vec()));
            }
            prop_assert!(bytes.is_empty());
            rest = tail;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(&came, &frames);
        prop_assert_eq!(&taken, &frames);
        prop_assert_eq!((reader.waiting(), taker.waiting()), (0, 0));
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(kind in 0..9u8, bytes in vec(any::<u8>(), 0..300)) {
        for (name, _, recode) in canonical::samples() {
            if let Some(again) = recode(&bytes) {
                prop_assert_eq!(&again, &bytes, "{}", name);
            }
        }
        let payload = Bytes::from(bytes);
        if let Ok(message) = Message::decode(frame(kind, payload.clone())) {
            prop_assert_eq!((message.kind(), message.payload()), (kind, payload));
        }
    }
}
