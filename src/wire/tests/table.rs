//! Pieces of an account table, as they are proved, sent and taken.

use super::frame;
use crate::crypto::{ProofError, ProveError, plain};
use crate::types::params::ACCOUNTS_MAX;
use crate::types::{Account, Height, Root};
use crate::wire::{Message, PIECES_MAX, TABLE_PIECE_BYTES, TABLE_PROOF_BYTES_MAX, TablePiece, TablePieces};
use std::convert::Infallible;

#[test]
fn a_piece_is_proved_as_long_as_its_bytes_are_those_that_were_read() {
    for bytes in [64, 1024, TABLE_PIECE_BYTES as usize, (4 << 20) + 64, (9 << 20) - 64] {
        let table: Vec<u8> =
            (0..bytes as u32 / 4).flat_map(|word| word.wrapping_mul(0x9E37_79B9).to_le_bytes()).collect();
        let pieces = TablePieces::new(bytes, |at, out| {
            out.copy_from_slice(&table[at as usize..][..out.len()]);
            Ok::<(), Infallible>(())
        });
        let Ok(pieces) = pieces;
        assert_eq!(pieces.root().0, plain(&table));
        let (mut came, mut count) = (vec![0; bytes], 0);
        for number in (0..).take_while(|number| !pieces.place(*number).is_empty()) {
            let place = pieces.place(number);
            let mut part = table[place.start as usize..place.end as usize].to_vec();
            let piece = pieces.prove(Height(64), number, &part).unwrap();
            let message = Message::Piece(piece.clone());
            let sent = frame(message.kind(), message.payload().to_vec());
            assert_eq!(Message::decode(sent), Ok(message));
            piece.verify(&pieces.root(), bytes as u64).unwrap().put_into(&mut came);
            // The last one says where the table ends; the others are what they are in a longer one, too.
            match piece.verify(&pieces.root(), bytes as u64 + 64) {
                Ok(proven) => {
                    assert!(place.end < bytes as u64, "of another length");
                    let mut longer = vec![0; bytes + 64];
                    proven.put_into(&mut longer);
                    assert!(longer[place.start as usize..place.end as usize] == part);
                }
                Err(_) => assert!(place.end == bytes as u64),
            }
            assert!(
                TablePiece::of(Height(64), number + 1, piece.proof())
                    .verify(&pieces.root(), bytes as u64)
                    .is_err()
            );
            let stale = Err(ProveError::Stale);
            assert_eq!(pieces.prove(Height(64), number, &part[1..]), stale);
            let at = number as usize * 7919 % part.len();
            part[at] ^= 1 << (number % 8);
            assert_eq!(pieces.prove(Height(64), number, &part), stale);
            count += 1;
        }
        assert!(came == table);
        assert_eq!(pieces.prove(Height(64), count, &[]), Err(ProveError::EmptyRange), "beyond the end");
    }
}

#[test]
fn the_longest_proof_is_that_of_a_piece_of_the_longest_table() {
    let table_bytes = u64::from(ACCOUNTS_MAX) * size_of::<Account>() as u64;
    for number in [0, PIECES_MAX - 1] {
        // As long as it has to be: it comes to the hashes.
        let piece = TablePiece::of(Height(64), number, &[0; TABLE_PROOF_BYTES_MAX]);
        let found = piece.verify(&Root([0; 32]), table_bytes);
        assert!(matches!(found, Err(ProofError::Mismatch(_))), "{found:?}");
    }
}
