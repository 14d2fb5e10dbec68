//! Frames from one thread to another over loopback, each thread with a core if there are two: the engine's connection
//! between validators, plain TCP under tokio with the same frames, and one stream of quinn (QUIC), in turns within one run.
//!
//! Every sender takes whole messages and coalesces what waits; every receiver cuts frames and decodes messages with the
//! engine's own code. tokio's connection is not encrypted; the other two are.

mod engine;
mod quic;
mod tcp;

use comfy_table::{CellAlignment, Table};
use std::time::{Duration, Instant};
use throng::crypto::signing_key_from_seed;
use throng::metrics::process_cpu;
use throng::types::{ChainId, Epoch, Round, Seat, Sequence};
use throng::wire::{FRAME_HEADER_BYTES, Frame, FrameReader, Gathered, Message, frame_header, seal_blobs};

/// Rounds of all of them; the median counts.
const ROUNDS: usize = 7;

/// One way for frames.
pub trait Way {
    /// Its name.
    fn name(&self) -> &'static str;
    /// Moves so many of a message, and returns when the last of them has been decoded at the other end.
    fn run(&mut self, message: &Message, count: usize);
}

/// The bytes of one frame.
pub fn frame_of(message: &Message) -> Vec<u8> {
    let payload = message.payload();
    [&frame_header(message.kind(), payload.len())[..], &payload].concat()
}

/// Cuts and decodes what came; how many messages it were.
pub fn decode(reader: &mut FrameReader, mut bytes: &[u8]) -> usize {
    let mut came = 0;
    while let Some(Frame { kind, payload }) = reader.read(&mut bytes).expect("whole frames") {
        Message::decode(Frame { kind, payload }).expect("encoded here");
        came += 1;
    }
    came
}

fn main() {
    let small =
        Message::Frontier { began: Round(0), rounds: vec![Round(5); (200 - FRAME_HEADER_BYTES - 12) / 8] };
    let mut blobs = Gathered::new(512);
    blobs.gather(&vec![5; 256 << 10]);
    let slot = (Epoch(0), Seat(0), Sequence(1));
    let chain = ChainId([7; 32]);
    let bulk = Message::Batch(seal_blobs(&signing_key_from_seed([1; 32]), &chain, slot, blobs));

    let mut ways: Vec<Box<dyn Way>> =
        vec![Box::new(engine::Engine::new()), Box::new(tcp::Tokio::new()), Box::new(quic::Quinn::new())];
    let mut table = Table::new();
    table.set_header(["frames", "way", "frames/s", "GB/s", "CPU µs/frame, both ends"]);
    (2..5).for_each(|column| {
        table.column_mut(column).expect("five columns").set_cell_alignment(CellAlignment::Right);
    });
    for (name, message, count) in [("200 B", &small, 400_000), ("256 KiB", &bulk, 2_000)] {
        let mut times: Vec<Vec<(Duration, Duration)>> = vec![Vec::new(); ways.len()];
        for round in 0..=ROUNDS {
            for (way, times) in ways.iter_mut().zip(&mut times) {
                let (start, cpu) = (Instant::now(), process_cpu());
                way.run(message, count);
                // The first round warms up.
                if round > 0 {
                    times.push((start.elapsed(), process_cpu() - cpu));
                }
            }
        }
        for (way, times) in ways.iter().zip(&mut times) {
            times.sort_unstable();
            let (time, cpu) = times[ROUNDS / 2];
            let rate = count as f64 / time.as_secs_f64();
            let bytes = frame_of(message).len() as f64;
            table.add_row([
                name.to_owned(),
                way.name().to_owned(),
                format!("{rate:.0}"),
                format!("{:.2}", rate * bytes / 1e9),
                format!("{:.2}", cpu.as_secs_f64() * 1e6 / count as f64),
            ]);
        }
    }
    println!("{table}");
}
