//! The settlement record, and the committee, as a checkpoint block names them.
//!
//! ```text
//! version u8 · epoch u32 · seats u16 · leader (round u64 · author u16 · id) · time u64
//! output: rounds u32, then of each, lowest first, a bit per seat in whole bytes
//! of each seat: skips u8 · gives way until u64
//! of each seat: highest u64 · settled u64 · slots: count u32, then sequence u64 · ids: count u32, then
//!   id · acks: count u32, then (seat u16 · verdict u8)
//! committee: epoch u32 · count u32, then (key · fee account u32)
//! ```
//!
//! The roots are plain BLAKE3 of these bytes, so that they can be fetched and proved in pieces, as the account table.

use super::WireError;
use super::cursor::{Put, Reader};
use super::genesis::put_seats;
use crate::crypto;
use crate::types::params::{DEPTH_MAX, GIVE_WAY_STEPS_MAX, SEATS_MAX, VERSION, WINDOW_MAX};
use crate::types::{
    AuthorRecord, BatchId, Committee, Epoch, LeaderRef, Root, Round, Seat, SeatSet, Sequence,
    SettlementRecord, SlotRecord, Standing, Time, Verdict, VertexId,
};

const SLOT_BYTES_MIN: usize = 12;
const ID_BYTES_MIN: usize = 36;
const ACK_BYTES: usize = 3;
/// The most slots of an author that can have counted acks: as wide as its window.
const SLOTS_MAX: usize = 3 * WINDOW_MAX as usize;

/// The root of a record's canonical bytes.
pub fn record_root(bytes: &[u8]) -> Root {
    Root(crypto::plain(bytes))
}

/// The root of a committee: of its epoch, and of key and fee account of each seat.
pub fn committee_root(committee: &Committee) -> Root {
    let mut out = Vec::new();
    out.put_u32(committee.epoch.0);
    put_seats(&committee.seats, &mut out);
    Root(crypto::plain(&out))
}

/// The canonical bytes of a record. It has as many standings as authors, one of each seat.
pub fn encode_record(record: &SettlementRecord) -> Vec<u8> {
    let seats = record.standings.len();
    let mut out = Vec::new();
    out.put_u8(VERSION).put_u32(record.epoch.0).put_u16(seats as u16);
    out.put_u64(record.leader.round.0).put_u16(record.leader.author.0).put(&record.leader.id.0);
    out.put_u64(record.time.0).put_count(record.output.len());
    for authors in &record.output {
        let mut bits = vec![0u8; seats.div_ceil(8)];
        for seat in authors.iter().filter(|seat| seat.index() < seats) {
            bits[seat.index() / 8] |= 1 << (seat.index() % 8);
        }
        out.put(&bits);
    }
    for standing in &record.standings {
        out.put_u8(standing.skips as u8).put_u64(standing.until.0);
    }
    record.authors.iter().for_each(|author| put_author(author, &mut out));
    out
}

fn put_author(author: &AuthorRecord, out: &mut Vec<u8>) {
    out.put_u64(author.highest.0).put_u64(author.settled).put_count(author.slots.len());
    for slot in &author.slots {
        out.put_u64(slot.sequence.0).put_count(slot.acks.len());
        for (id, acks) in &slot.acks {
            out.put(&id.0).put_count(acks.len());
            for (seat, verdict) in acks {
                out.put_u16(seat.0).put_u8(*verdict as u8);
            }
        }
    }
}

/// The round of the leader of an encoded settlement record; `None` if that is not there to be read. Nothing else is looked at.
pub fn record_round(bytes: &[u8]) -> Option<Round> {
    let mut reader = Reader::new("record", bytes);
    reader.version().ok()?;
    reader.u32().ok()?;
    reader.u16().ok()?;
    reader.u64().ok().map(Round)
}

/// Decodes a record's canonical bytes. Checks form, order and limits; whether it fits a genesis is agreement's to say.
pub fn decode_record(bytes: &[u8]) -> Result<SettlementRecord, WireError> {
    let mut reader = Reader::new("record", bytes);
    reader.version()?;
    let epoch = Epoch(reader.u32()?);
    let seats = usize::from(reader.u16()?);
    if seats == 0 {
        return Err(WireError::Value("seats"));
    }
    if seats > SEATS_MAX {
        return Err(WireError::Limit { what: "seats", found: seats as u64, most: SEATS_MAX as u64 });
    }
    let leader =
        LeaderRef { round: Round(reader.u64()?), author: reader.seat()?, id: VertexId(reader.array()?) };
    let time = Time(reader.u64()?);
    let output = read_output(&mut reader, seats)?;
    let led = output.last().is_some_and(|authors| authors.contains(leader.author));
    if !led || output.len() as u64 > leader.round.0 {
        return Err(WireError::Value("output of the leader"));
    }
    let standings = (0..seats).map(|_| read_standing(&mut reader)).collect::<Result<_, _>>()?;
    let authors = (0..seats).map(|_| read_author(&mut reader, seats)).collect::<Result<_, _>>()?;
    reader.end()?;
    Ok(SettlementRecord { epoch, leader, time, output, standings, authors })
}

fn read_output(reader: &mut Reader<'_>, seats: usize) -> Result<Vec<SeatSet>, WireError> {
    let bytes = seats.div_ceil(8);
    let count = reader.count("rounds of output", DEPTH_MAX as usize, bytes)?;
    let mut output = Vec::with_capacity(count);
    for _ in 0..count {
        let (bits, mut authors) = (reader.bytes(bytes)?, SeatSet::default());
        for seat in (0..bytes * 8).filter(|seat| bits[seat / 8] & (1 << (seat % 8)) != 0) {
            if seat >= seats {
                return Err(WireError::Value("output of a seat"));
            }
            authors.insert(Seat(seat as u16));
        }
        output.push(authors);
    }
    Ok(output)
}

fn read_standing(reader: &mut Reader<'_>) -> Result<Standing, WireError> {
    let (skips, until) = (u32::from(reader.u8()?), Round(reader.u64()?));
    if skips > GIVE_WAY_STEPS_MAX || (skips == 0) != (until.0 == 0) {
        return Err(WireError::Value("standing"));
    }
    Ok(Standing { skips, until })
}

fn read_author(reader: &mut Reader<'_>, seats: usize) -> Result<AuthorRecord, WireError> {
    let (highest, settled) = (Sequence(reader.u64()?), reader.u64()?);
    // The highest one is settled itself, and none below 1 is.
    let possible = 1u64.checked_shl(highest.0.min(64) as u32).map_or(u64::MAX, |bit| bit - 1);
    if settled & !possible != 0 || (settled & 1 == 0) != (highest.0 == 0) {
        return Err(WireError::Value("settled sequences"));
    }
    let count = reader.count("open slots", SLOTS_MAX, SLOT_BYTES_MIN)?;
    let mut slots: Vec<SlotRecord> = Vec::with_capacity(count);
    for _ in 0..count {
        let sequence = Sequence(reader.u64()?);
        let below = highest.0.checked_sub(sequence.0).filter(|below| *below < 64);
        let is_settled = below.is_some_and(|below| settled & (1 << below) != 0);
        if is_settled || sequence <= slots.last().map_or(Sequence(0), |last| last.sequence) {
            return Err(WireError::Value("order of open slots"));
        }
        slots.push(SlotRecord { sequence, acks: read_acks(reader, seats)? });
    }
    Ok(AuthorRecord { highest, settled, slots })
}

type Acks = Vec<(BatchId, Vec<(Seat, Verdict)>)>;

fn read_acks(reader: &mut Reader<'_>, seats: usize) -> Result<Acks, WireError> {
    let count = reader.count("ids of a slot", seats, ID_BYTES_MIN)?;
    let (mut ids, mut spoken): (Acks, _) = (Vec::with_capacity(count), SeatSet::default());
    for _ in 0..count {
        let id = BatchId(reader.array()?);
        let count = reader.count("acks of a batch", seats, ACK_BYTES)?;
        let mut acks: Vec<(Seat, Verdict)> = Vec::with_capacity(count);
        for _ in 0..count {
            let seat = reader.seat()?;
            let verdict = Verdict::from_byte(reader.u8()?).filter(|verdict| *verdict != Verdict::Invalid);
            let verdict = verdict.ok_or(WireError::Value("counted verdict"))?;
            let ascending = acks.last().is_none_or(|last| last.0 < seat);
            if seat.index() >= seats || !ascending || !spoken.insert(seat) {
                return Err(WireError::Value("order of counted acks"));
            }
            acks.push((seat, verdict));
        }
        if acks.is_empty() || ids.last().is_some_and(|last| last.0 >= id) {
            return Err(WireError::Value("order of ids"));
        }
        ids.push((id, acks));
    }
    if ids.is_empty() { Err(WireError::Value("acks of a slot")) } else { Ok(ids) }
}
