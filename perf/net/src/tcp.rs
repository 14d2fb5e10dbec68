//! tokio: the same frames over plain TCP, a runtime of one thread at each end.

use super::{Way, decode, frame_of};
use std::sync::mpsc::{Sender, channel};
use throng::wire::{FrameReader, Message, PEER_FRAME_BYTES_MAX};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};

/// Bytes that one write takes, as the engine seals ahead.
const WRITE_BYTES: usize = 256 << 10;

pub struct Tokio {
    go: Sender<(Vec<u8>, usize)>,
    runtime: Runtime,
    stream: TcpStream,
    buffer: Vec<u8>,
}

pub fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Frames gathered to about one write.
pub fn gathered(frame: &[u8], left: usize) -> (Vec<u8>, usize) {
    let some = (WRITE_BYTES / frame.len()).clamp(1, left);
    (frame.repeat(some), some)
}

impl Tokio {
    pub fn new() -> Tokio {
        let runtime = runtime();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let address = listener.local_addr().expect("its address");
        let (go, going) = channel::<(Vec<u8>, usize)>();
        std::thread::spawn(move || {
            let runtime = self::runtime();
            let mut stream = runtime.block_on(TcpStream::connect(address)).expect("loopback");
            stream.set_nodelay(true).expect("a socket");
            for (frame, mut left) in going {
                runtime.block_on(async {
                    while left > 0 {
                        let (bytes, some) = gathered(&frame, left);
                        stream.write_all(&bytes).await.expect("loopback");
                        left -= some;
                    }
                });
            }
        });
        let stream = runtime.block_on(listener.accept()).expect("it dials").0;
        Tokio { go, runtime, stream, buffer: vec![0; 256 << 10] }
    }
}

impl Way for Tokio {
    fn name(&self) -> &'static str {
        "tokio, plain"
    }

    fn run(&mut self, message: &Message, count: usize) {
        self.go.send((frame_of(message), count)).expect("it waits");
        let Tokio { runtime, stream, buffer, .. } = self;
        let mut reader = FrameReader::new(PEER_FRAME_BYTES_MAX);
        runtime.block_on(async {
            let mut came = 0;
            while came < count {
                let length = stream.read(buffer).await.expect("loopback");
                came += decode(&mut reader, &buffer[..length]);
            }
        });
    }
}
