//! quinn: the same frames over one stream of QUIC, a runtime of one thread at each end.

use super::tcp::{gathered, runtime};
use super::{Way, decode, frame_of};
use quinn::{ClientConfig, Endpoint, RecvStream, ServerConfig};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use throng::wire::{FrameReader, Message, PEER_FRAME_BYTES_MAX};
use tokio::runtime::Runtime;

pub struct Quinn {
    go: Sender<(Vec<u8>, usize)>,
    runtime: Runtime,
    stream: RecvStream,
    /// They end with their handles.
    _endpoint: Endpoint,
}

impl Quinn {
    pub fn new() -> Quinn {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = runtime();
        let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
        let certificate = own.cert.der().clone();
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(own.signing_key.serialize_der());
        let config =
            ServerConfig::with_single_cert(vec![certificate.clone()], key.into()).expect("its key fits");
        let inside = runtime.enter();
        let endpoint = Endpoint::server(config, "127.0.0.1:0".parse().expect("an address")).expect("a port");
        let address = endpoint.local_addr().expect("its address");
        drop(inside);
        let (go, going) = channel::<(Vec<u8>, usize)>();
        std::thread::spawn(move || {
            let runtime = self::runtime();
            runtime.block_on(async {
                let mut roots = rustls::RootCertStore::empty();
                roots.add(certificate).expect("a certificate");
                let mut dialer =
                    Endpoint::client("127.0.0.1:0".parse().expect("an address")).expect("a port");
                let config = ClientConfig::with_root_certificates(Arc::new(roots)).expect("a configuration");
                dialer.set_default_client_config(config);
                let connection =
                    dialer.connect(address, "localhost").expect("a dial").await.expect("a handshake");
                let mut stream = connection.open_uni().await.expect("a stream");
                // A stream is not seen before its first bytes.
                stream.write_all(&[0]).await.expect("loopback");
                loop {
                    // Orders come from another thread; a short sleep lets the connection breathe meanwhile.
                    let Ok((frame, mut left)) = going.try_recv() else {
                        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                        continue;
                    };
                    while left > 0 {
                        let (bytes, some) = gathered(&frame, left);
                        stream.write_all(&bytes).await.expect("loopback");
                        left -= some;
                    }
                }
            });
        });
        let stream = runtime.block_on(async {
            let connection = endpoint.accept().await.expect("it dials").await.expect("a handshake");
            let mut stream = connection.accept_uni().await.expect("a stream");
            stream.read_exact(&mut [0]).await.expect("its first byte");
            stream
        });
        Quinn { go, runtime, stream, _endpoint: endpoint }
    }
}

impl Way for Quinn {
    fn name(&self) -> &'static str {
        "quinn, TLS 1.3"
    }

    fn run(&mut self, message: &Message, count: usize) {
        self.go.send((frame_of(message), count)).expect("it waits");
        let Quinn { runtime, stream, .. } = self;
        let mut reader = FrameReader::new(PEER_FRAME_BYTES_MAX);
        runtime.block_on(async {
            let mut came = 0;
            while came < count {
                let chunk = stream.read_chunk(256 << 10, true).await.expect("loopback").expect("more comes");
                came += decode(&mut reader, &chunk.bytes);
            }
        });
    }
}
